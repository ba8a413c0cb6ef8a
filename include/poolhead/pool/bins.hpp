// Grids of adaptive bins, which the spatial pyramid and the adaptive pools are made of.
#pragma once

#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/global_max.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Bin i of n over a length covers [begin, end) = [floor(i length / n), ceil((i + 1) length / n)), PyTorch's
/// rule. Products are split, so that they fit wherever the result does.
inline Index bin_begin(Index i, Index n, Index length) { return i * (length / n) + i * (length % n) / n; }
inline Index bin_end(Index i, Index n, Index length) {
  return (i + 1) * (length / n) + ((i + 1) * (length % n) + n - 1) / n;
}

struct Grid {
  Index rows;
  Index columns;

  Index bins() const { return rows * columns; }
  Window window(Index bin, const FeatureShape& shape) const {
    const Index i = bin / columns;
    const Index j = bin % columns;
    const Index top = bin_begin(i, rows, shape.height());
    const Index left = bin_begin(j, columns, shape.width());
    Window window{top * shape.width() + left, bin_end(i, rows, shape.height()) - top,
                  bin_end(j, columns, shape.width()) - left, shape.width()};
    if (window.columns == window.step) window = {window.first, 1, window.size(), 0};  // rows without a gap
    return window;
  }
};

/// The grids of one pool: one per level of a pyramid, or one alone.
struct Grids {
  const Index* levels;  // of a pyramid; null for `one`
  Index count;
  Grid one;

  Grid operator[](Index k) const { return levels == nullptr ? one : Grid{levels[k], levels[k]}; }
  Index bins() const {
    Index sum = 0;
    for (Index k = 0; k < count; ++k) sum += (*this)[k].bins();
    return sum;
  }
  /// Throws ValueError for a grid without bins, ShapeError where there are more features than an Index counts
  /// or x is no map of two spatial axes.
  void check(std::string_view type, std::string_view call, const FeatureShape& shape) const {
    if (count == 0) fail<ValueError>(type, call, ": there are no levels, expected at least one");
    Index total = 0;
    for (Index k = 0; k < count; ++k) {
      const Grid grid = (*this)[k];
      if (grid.rows < 1 || grid.columns < 1)
        fail<ValueError>(type, call, ": a grid has ", grid.rows, " x ", grid.columns,
                         " bins, expected at least 1 x 1");
      const Index size = checked_size(std::array{std::max<Index>(shape.batch, 1),
                                                 std::max<Index>(shape.channels, 1), grid.rows, grid.columns},
                                      call);
      if (__builtin_add_overflow(total, size, &total))
        fail<ShapeError>(type, call, ": there are 2^63 features and more");
    }
    if (shape.rank != 4)
      fail<ShapeError>(type, call, ": x is of rank ", static_cast<Index>(shape.rank),
                       ", expected 4: bins need two spatial axes");
  }
};

/// One bin's place in the output, or in the argmax; a null pointer takes nothing.
template <class T>
struct BinOutput {
  T* data;  // of sample 0, channel 0
  Index row_stride;
  Index channel_stride;
};
template <class T, class A, int N>
POOLHEAD_INLINE void put(const BinOutput<T>& y, Index n, Index c, const simd::Vec<A, N>& value, int count) {
  if (y.data == nullptr) return;
  T* const to = y.data + n * y.row_stride + c * y.channel_stride;
  if (y.channel_stride == 1) {
    simd::store_first(to, value, count);
    return;
  }
  A each[N];
  std::memcpy(each, &value, sizeof each);
  for (int i = 0; i < count; ++i) to[i * y.channel_stride] = static_cast<T>(each[i]);
}

/// The features of one grid: bin b of channel c of sample n.
template <class T>
struct GridRows {
  T* data = nullptr;
  Index row_stride = 0;
  Index channel_stride = 0;
  Index bin_stride = 0;

  BinOutput<T> bin(Index b) const {
    return {data == nullptr ? nullptr : data + b * bin_stride, row_stride, channel_stride};
  }
  T& operator()(Index n, Index c, Index b) const {
    return data[n * row_stride + c * channel_stride + b * bin_stride];
  }
};

/// The features of grid k in rows: grids one after another, in each of them channel by channel.
template <class T>
GridRows<T> grid_rows(const Rows<T>& rows, const Grids& grids, Index channels, Index k) {
  Index first = 0;
  for (Index level = 0; level < k; ++level) first += channels * grids[level].bins();
  return {rows.data() == nullptr ? nullptr : rows.data() + first, rows.stride(), grids[k].bins(), 1};
}
/// An adaptive pool's feature map is one grid.
template <class T>
GridRows<T> grid_rows(const GridRows<T>& map, const Grids&, Index, Index) {
  return map;
}

/// Reduces every bin of a block of channels, which the first bin brings into the cache.
template <class X, class Y, class I>
struct BinHead {
  static constexpr bool has_blocks = true;
  using T = typename X::Scalar;

  Grids grids;
  bool max;
  Y y;
  Rows<Index> argmax;  // without data where nobody asks

  void reduce_block(const X& x, Index n, Index c, Index end) const {
    for (Index k = 0; k < grids.count; ++k) {
      const Grid grid = grids[k];
      const GridRows<T> out = grid_rows(y, grids, x.channels(), k);
      const GridRows<Index> positions = grid_rows(argmax, grids, x.channels(), k);
      for (Index b = 0; b < grid.bins(); ++b) {
        const Window window = grid.window(b, x.shape());
        if (max) {
          using Reduction = MaxReduction<X, BinOutput<T>, BinOutput<Index>, I>;
          reduce_window(Reduction(x, out.bin(b), positions.bin(b), window), x, window, n, c, end);
        } else {
          using Reduction = AverageReduction<X, BinOutput<T>, I>;
          reduce_window(Reduction(x, out.bin(b), window), x, window, n, c, end);
        }
      }
    }
  }
};

/// Adds the gradients of the bins to one row of dx.
template <class T, class DY>
struct BinGradient {
  static constexpr bool has_rows = true;

  Grids grids;
  bool max;
  FeatureShape shape;
  DY dy;
  Rows<const Index> argmax;

  template <class A>
  void add_row(A* row, Index stride, Index n, Index c, Index channels, Index h) const {
    constexpr Index most = 8 * simd::lanes<A>;  // channels at a time: see channel_block
    A share[most];
    const Index width = shape.width();
    for (Index k = 0; k < grids.count; ++k) {
      const Grid grid = grids[k];
      const GridRows<const T> g = grid_rows(dy, grids, shape.channels, k);
      const GridRows<const Index> at = grid_rows(argmax, grids, shape.channels, k);
      // The rows of bins that cover h: the same rule with bins and positions in each other's place.
      const Index last = bin_end(h, shape.height(), grid.rows);
      for (Index i = bin_begin(h, shape.height(), grid.rows); i < last; ++i) {
        for (Index j = 0; j < grid.columns; ++j) {
          const Index b = i * grid.columns + j;
          if (max) {
            for (Index q = 0; q < channels; ++q) {
              const Index w = at(n, c + q, b) - h * width;
              if (w >= 0 && w < width) row[w * stride + q] += static_cast<A>(g(n, c + q, b));
            }
            continue;
          }
          const Index left = bin_begin(j, grid.columns, width);
          const Index right = bin_end(j, grid.columns, width);
          const Index height = bin_end(i, grid.rows, shape.height()) - bin_begin(i, grid.rows, shape.height());
          const auto area = static_cast<A>(height * (right - left));
          for (Index q = 0; q < channels; ++q) share[q] = static_cast<A>(g(n, c + q, b)) / area;
          for (Index w = left; w < right; ++w)
            for (Index q = 0; q < channels; ++q) row[w * stride + q] += share[q];
        }
      }
    }
  }
};

/// Throws ValueError where a maximum is said to stand outside of its bin.
inline void check_bin_argmax(std::string_view type, const Grids& grids, const ArgmaxCache& cache) {
  const Index width = cache.shape.width();
  for (Index k = 0; k < grids.count; ++k) {
    const GridRows<const Index> argmax = grid_rows(cache.rows(), grids, cache.shape.channels, k);
    for (Index b = 0; b < grids[k].bins(); ++b) {
      const Index top = bin_begin(b / grids[k].columns, grids[k].rows, cache.shape.height());
      const Index bottom = bin_end(b / grids[k].columns, grids[k].rows, cache.shape.height());
      const Index left = bin_begin(b % grids[k].columns, grids[k].columns, width);
      const Index right = bin_end(b % grids[k].columns, grids[k].columns, width);
      for (Index n = 0; n < cache.shape.batch; ++n)
        for (Index c = 0; c < cache.shape.channels; ++c) {
          const Index position = argmax(n, c, b);
          const bool inside = position >= top * width && position < bottom * width &&
                              position % width >= left && position % width < right;
          if (!inside)
            fail<ValueError>(type, "::backward: argmax of bin ", b, " of plane ", n * cache.shape.channels + c,
                             " is ", position, ", expected a position in rows ", top, "..", bottom - 1,
                             " and columns ", left, "..", right - 1);
        }
    }
  }
}

/// What the spatial pyramid and the adaptive pools share; Derived has grids() and is_max().
template <class Derived>
class BinPool : public PoolCalls<Derived> {
 public:
  static constexpr bool uses_positions = true;
  static constexpr bool takes_mask = false;
  template <Scalar T>
  struct Cache : ArgmaxCache {};  // argmax is empty where the bins are averaged

  Index features(Index channels) const { return channels * grids().bins(); }

  // The protocol of PoolCalls.
  void check_parameters(std::string_view call, const FeatureShape& shape) const {
    grids().check(Derived::name, call, shape);
  }
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    if (is_max()) cache.argmax.resize(cache.shape.batch, features(cache.shape.channels));
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    if (is_max()) cache.ArgmaxCache::check_size(Derived::name, call, features(cache.shape.channels));
  }
  template <Scalar T>
  void check_contents(const Cache<T>& cache) const {
    if (is_max()) check_bin_argmax(Derived::name, grids(), cache);
  }
  template <class I, class X, class Y>
  auto inference(const X& x, const Y& y) const {
    return bind<I>(x, y, Rows<Index>{});
  }
  template <class I, class X, class Y, Scalar T>
  auto training(const X& x, const Y& y, Cache<T>& cache) const {
    return bind<I>(x, y, is_max() ? cache.rows() : Rows<Index>{});
  }
  template <class I, class X, class Y, Scalar T>
  auto gradient(const X& x, const Y&, const Y& dy, const Cache<T>& cache, Derived*) const {
    return BinGradient<T, Y>{grids(), is_max(), x.shape(), dy, cache.rows()};
  }

 private:
  Grids grids() const { return static_cast<const Derived&>(*this).grids(); }
  bool is_max() const { return static_cast<const Derived&>(*this).is_max(); }

  template <class I, class X, class Y>
  auto bind(const X&, const Y& y, const Rows<Index>& argmax) const {
    static_assert(!is_masked<X>, "poolhead: pools of bins take no mask: a bin may have no valid position");
    return BinHead<X, Y, I>{grids(), is_max(), y, argmax};
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
