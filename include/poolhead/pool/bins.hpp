// Grids of adaptive bins, which the spatial pyramid and the adaptive pools are made of.
#pragma once

#include "poolhead/core/tile.hpp"
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
                                      type, call);
      if (__builtin_add_overflow(total, size, &total))
        fail<ShapeError>(type, call, ": there are 2^63 features and more");
    }
    if (shape.rank != 4)
      fail<ShapeError>(type, call, ": x is of rank ", static_cast<Index>(shape.rank),
                       ", expected 4: bins need two spatial axes");
  }
};

/// Grids over maps of one size. The edges of their bins stand in a table, as divisions cost more than a small
/// bin does; where it is too small for them, they are computed each time.
class GridEdges {
 public:
  struct Range {
    Index begin, end;
    Index size() const { return end - begin; }
  };

  GridEdges(const Grids& grids, const FeatureShape& shape)
      : grids_(grids), height_(shape.height()), width_(shape.width()) {
    Index rows = 0;
    Index columns = 0;
    tabled_ = grids.count <= most_grids && height_ <= most_length && width_ <= most_length;
    for (Index k = 0; k < grids.count && tabled_; ++k) {
      const Grid grid = grids[k];
      tabled_ = rows + grid.rows <= most_edges && columns + grid.columns <= most_edges;
      if (!tabled_) break;
      first_row_[k] = rows;
      first_column_[k] = columns;
      for (Index i = 0; i < grid.rows; ++i) rows_[rows++] = narrow(range(i, grid.rows, height_));
      for (Index j = 0; j < grid.columns; ++j) columns_[columns++] = narrow(range(j, grid.columns, width_));
    }
  }

  Index count() const { return grids_.count; }
  Grid operator[](Index k) const { return grids_[k]; }
  const Grids& grids() const { return grids_; }
  /// The rows (columns) of the plane that row (column) i of grid k covers.
  Range rows(Index k, Index i) const {
    return tabled_ ? wide(rows_[first_row_[k] + i]) : range(i, grids_[k].rows, height_);
  }
  Range columns(Index k, Index j) const {
    return tabled_ ? wide(columns_[first_column_[k] + j]) : range(j, grids_[k].columns, width_);
  }
  /// The rows of grid k that cover row h of the plane: the same rule, with bins and positions in each other's
  /// place.
  Range covering(Index k, Index h) const { return range(h, height_, grids_[k].rows); }

  Window window(Index k, Index i, Index j) const {
    const Range down = rows(k, i);
    const Range across = columns(k, j);
    // Rows without a gap between them are one.
    if (across.size() == width_) return {down.begin * width_, 1, down.size() * width_, 0};
    return {down.begin * width_ + across.begin, down.size(), across.size(), width_};
  }

 private:
  static constexpr Index most_grids = 8;
  static constexpr Index most_edges = 32;
  static constexpr Index most_length = std::numeric_limits<std::int32_t>::max();
  struct Narrow {
    std::int32_t begin, end;
  };

  static Range range(Index i, Index n, Index length) {
    return {bin_begin(i, n, length), bin_end(i, n, length)};
  }
  static Narrow narrow(const Range& wide) {
    return {static_cast<std::int32_t>(wide.begin), static_cast<std::int32_t>(wide.end)};
  }
  static Range wide(const Narrow& narrow) { return {narrow.begin, narrow.end}; }

  Grids grids_;
  Index height_, width_;
  bool tabled_;
  Index first_row_[most_grids], first_column_[most_grids];
  Narrow rows_[most_edges], columns_[most_edges];
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
  using A = Accumulator<T>;

  GridEdges grids;
  bool max;
  Y y;
  Rows<Index> argmax;  // without data where nobody asks
  Index channels;      // of x

  void reduce_block(const X& x, Index n, Index c, Index end) const {
    if constexpr (std::same_as<typename X::Layout, ChannelsFirst>) {
      if (turned_planes<A>(x.positions()) > 0) {
        struct Tile;
        constexpr int N = simd::lanes<A>;
        A* const tile = workspace<Tile, A>(N * x.positions());
        turn_planes(x.sample(n) + c * x.positions(), x.positions(), static_cast<int>(end - c), tile, N);
        FeatureShape shape = x.shape();
        shape.batch = 1;
        shape.channels = N;
        reduce_bins(FeatureMap<const A, ChannelsLast>(tile, shape), n, c, 0, 0, end - c);
        return;
      }
    }
    reduce_bins(x, 0, 0, n, c, end);
  }

  /// Channels c .. end - 1 of sample n of a map whose sample 0, channel 0 is (first_sample, first_channel) of
  /// x.
  template <class Map>
  void reduce_bins(const Map& map, Index first_sample, Index first_channel, Index n, Index c, Index end) const {
    const auto place = [&](const auto& rows, Index k, Index b) {
      auto out = grid_rows(rows, grids.grids(), channels, k).bin(b);
      if (out.data != nullptr) out.data += first_sample * out.row_stride + first_channel * out.channel_stride;
      return out;
    };
    for (Index k = 0; k < grids.count(); ++k) {
      Index b = 0;
      for (Index i = 0; i < grids[k].rows; ++i) {
        for (Index j = 0; j < grids[k].columns; ++j, ++b) {
          const Window window = grids.window(k, i, j);
          if (max) {
            using Reduction = MaxReduction<Map, BinOutput<T>, BinOutput<Index>, I>;
            reduce_window(Reduction(map, place(y, k, b), place(argmax, k, b), window), map, window, n, c, end);
          } else {
            using Reduction = AverageReduction<Map, BinOutput<T>, I>;
            reduce_window(Reduction(map, place(y, k, b), window), map, window, n, c, end);
          }
        }
      }
    }
  }
};

/// Adds the gradients of the bins to planes, or to one row of them.
template <class T, class DY>
struct BinGradient {
  static constexpr bool has_rows = true;

  GridEdges grids;
  bool max;
  FeatureShape shape;
  DY dy;
  Rows<const Index> argmax;

  template <class A>
  void add_plane(A* tile, Index stride, Index n, Index c, Index channels) const {
    for (Index k = 0; k < grids.count(); ++k) {
      for (Index i = 0; i < grids[k].rows; ++i) {
        const auto rows = grids.rows(k, i);
        for (Index j = 0; j < grids[k].columns; ++j) add_bin(tile, stride, n, c, channels, k, i, j, 0, rows);
      }
    }
  }
  template <class A>
  void add_row(A* row, Index stride, Index n, Index c, Index channels, Index h) const {
    for (Index k = 0; k < grids.count(); ++k) {
      const auto covering = grids.covering(k, h);
      for (Index i = covering.begin; i < covering.end; ++i)
        for (Index j = 0; j < grids[k].columns; ++j)
          add_bin(row, stride, n, c, channels, k, i, j, h, {h, h + 1});
    }
  }

 private:
  /// Adds bin (i, j) of grid k to some rows of the planes at tile, which begins with row `first`.
  template <class A>
  void add_bin(A* tile, Index stride, Index n, Index c, Index channels, Index k, Index i, Index j, Index first,
               const GridEdges::Range& rows) const {
    const Index width = shape.width();
    const Index b = i * grids[k].columns + j;
    const GridRows<const T> g = grid_rows(dy, grids.grids(), shape.channels, k);
    if (max) {
      const GridRows<const Index> at = grid_rows(argmax, grids.grids(), shape.channels, k);
      for (Index q = 0; q < channels; ++q) {
        const Index s = at(n, c + q, b);
        if (s >= rows.begin * width && s < rows.end * width)
          tile[(s - first * width) * stride + q] += static_cast<A>(g(n, c + q, b));
      }
      return;
    }
    constexpr Index most = 8 * simd::lanes<A>;  // channels at a time: see channel_block and turned_planes
    A share[most];
    const auto across = grids.columns(k, j);
    const auto area = static_cast<A>(grids.rows(k, i).size() * across.size());
    for (Index q = 0; q < channels; ++q) share[q] = static_cast<A>(g(n, c + q, b)) / area;
    for (Index h = rows.begin - first; h < rows.end - first; ++h)
      for (Index w = across.begin; w < across.end; ++w)
        for (Index q = 0; q < channels; ++q) tile[(h * width + w) * stride + q] += share[q];
  }
};

/// Throws ValueError where a maximum is said to stand outside of its bin.
inline void check_bin_argmax(std::string_view type, const Grids& grids, const ArgmaxCache& cache) {
  const GridEdges edges(grids, cache.shape);
  const Index width = cache.shape.width();
  for (Index k = 0; k < grids.count; ++k) {
    const GridRows<const Index> argmax = grid_rows(cache.rows(), grids, cache.shape.channels, k);
    for (Index b = 0; b < grids[k].bins(); ++b) {
      const auto rows = edges.rows(k, b / grids[k].columns);
      const auto columns = edges.columns(k, b % grids[k].columns);
      for (Index n = 0; n < cache.shape.batch; ++n)
        for (Index c = 0; c < cache.shape.channels; ++c) {
          const Index position = argmax(n, c, b);
          const Index row = position / width;
          const Index column = position - row * width;
          const bool inside = position >= 0 && row >= rows.begin && row < rows.end && column >= columns.begin &&
                              column < columns.end;
          if (!inside)
            fail<ValueError>(type, "::backward: argmax of bin ", b, " of plane ", n * cache.shape.channels + c,
                             " is ", position, ", expected a position in rows ", rows.begin, "..", rows.end - 1,
                             " and columns ", columns.begin, "..", columns.end - 1);
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
    return detail::BinGradient<T, Y>{{grids(), x.shape()}, is_max(), x.shape(), dy, cache.rows()};
  }

 private:
  Grids grids() const { return static_cast<const Derived&>(*this).grids(); }
  bool is_max() const { return static_cast<const Derived&>(*this).is_max(); }

  template <class I, class X, class Y>
  auto bind(const X& x, const Y& y, const Rows<Index>& argmax) const {
    static_assert(!is_masked<X>, "poolhead: pools of bins take no mask: a bin may have no valid position");
    return BinHead<X, Y, I>{{grids(), x.shape()}, is_max(), y, argmax, x.channels()};
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
