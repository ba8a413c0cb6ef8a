// Pools over bins of adaptive grids, which the spatial pyramid and the adaptive pools are.
#pragma once

#include "poolhead/pool/bin_gradient.hpp"
#include "poolhead/pool/bin_reduction.hpp"
#include "poolhead/pool/global_max.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Whether bit positions[b] of inside[b] is set for all b < count: without branches, as most always are right.
inline bool all_inside(const Index* positions, const std::uint64_t* inside, Index count) {
  constexpr Index together = simd::register_bytes / static_cast<Index>(sizeof(std::uint64_t));
  typedef std::uint64_t Words __attribute__((vector_size(together * sizeof(std::uint64_t))));
  const auto outside = [](const auto& s, const auto& bits) { return (s >> 6) | (~(bits >> (s & 63)) & 1); };
  Words some{};
  Index b = 0;
  for (; b + together <= count; b += together) {
    Words s, bits;
    std::memcpy(&s, positions + b, sizeof s);
    std::memcpy(&bits, inside + b, sizeof bits);
    some |= outside(s, bits);
  }
  std::uint64_t any = 0;
  for (Index i = 0; i < together; ++i) any |= some[i];
  for (; b < count; ++b) any |= outside(static_cast<std::uint64_t>(positions[b]), inside[b]);
  return any == 0;
}

/// Throws ValueError where a maximum is said to stand outside of its bin.
inline void check_bin_argmax(std::string_view type, const Grids& grids, const ArgmaxCache& cache) {
  const GridEdges edges(grids, cache.shape);
  const Index width = cache.shape.width();
  const Index size = cache.shape.positions();
  // A bit for each position of each bin, where it has it: a division for each maximum would take longer than
  // backward does.
  struct Bits;
  constexpr Index bits = 64;
  const Index words = (size + bits - 1) / bits;
  const Index most = std::max<Index>(32768 / words, 1);  // bins at a time
  for (Index k = 0; k < grids.count; ++k) {
    const GridRows<const Index> argmax = grid_rows(cache.rows(), grids, cache.shape.channels, k);
    const Grid grid = grids[k];
    for (Index first = 0; first < grid.bins(); first += most) {
      const Index count = std::min(most, grid.bins() - first);
      auto* const inside = workspace<Bits, std::uint64_t>(count * words);
      std::fill_n(inside, count * words, 0);
      for (Index b = 0; b < count; ++b) {
        const auto rows = edges.rows(k, (first + b) / grid.columns);
        const auto columns = edges.columns(k, (first + b) % grid.columns);
        for (Index h = rows.begin; h < rows.end; ++h)
          for (Index s = h * width + columns.begin; s < h * width + columns.end; ++s)
            inside[b * words + s / bits] |= std::uint64_t{1} << (s % bits);
      }
      for (Index n = 0; n < cache.shape.batch; ++n) {
        for (Index c = 0; c < cache.shape.channels; ++c) {
          const Index* const positions = &argmax(n, c, first);
          const auto stands_inside = [&](Index b) {
            const auto s = static_cast<std::uint64_t>(positions[b]);
            return s < static_cast<std::uint64_t>(size) &&
                   (inside[b * words + static_cast<Index>(s / bits)] >> (s % bits) & 1) != 0;
          };
          if (words == 1 && all_inside(positions, inside, count)) [[likely]]
            continue;
          Index b = 0;
          while (b < count && stands_inside(b)) ++b;
          if (b == count) continue;
          const auto rows = edges.rows(k, (first + b) / grid.columns);
          const auto columns = edges.columns(k, (first + b) % grid.columns);
          fail<ValueError>(type, "::backward: argmax of bin ", first + b, " of plane ",
                           n * cache.shape.channels + c, " is ", positions[b], ", expected a position in rows ",
                           rows.begin, "..", rows.end - 1, " and columns ", columns.begin, "..",
                           columns.end - 1);
        }
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
