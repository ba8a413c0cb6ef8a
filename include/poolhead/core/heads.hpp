// One pass for several heads. A pool binds itself to its arguments and hands back a head; there are three
// kinds.
//   forward:  a reduction (core/reduce.hpp); a block head: reduce_block(x, n, c, end) for a block of channels,
//             or with a fifth argument, whether a reduction has just read them; whole: run(x, device), over the
//             whole map
//   backward: a gradient (core/spread.hpp); a row gradient (there, too); whole: run(x, dx, adds, device),
//             where adds says whether to add to dx or to overwrite it
// Reductions walk together; block heads then find the block of planes in the cache (NCHW; rows of NHWC are
// faster read whole, and again); dx is written once.
#pragma once

#include "poolhead/core/fused_gradient.hpp"
#include "poolhead/core/fused_reduction.hpp"
#include "poolhead/core/spread.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Heads side by side.
template <class... Members>
struct Heads {
  std::tuple<Members...> members;
};

template <class H>
auto flatten(const H& head) {
  return std::tuple<H>(head);
}
template <class... Members>
auto flatten(const Heads<Members...>& heads) {
  return std::apply([](const auto&... head) { return std::tuple_cat(flatten(head)...); }, heads.members);
}

template <class H>
inline constexpr bool is_reduction = requires {
  typename H::State;
};
template <class H>
inline constexpr bool is_gradient = requires {
  typename H::Coefficients;
};
template <class H>
inline constexpr bool has_blocks = requires {
  requires H::has_blocks;
};
template <class H>
inline constexpr bool has_rows = requires {
  requires H::has_rows;
};

/// The members of a tuple for which Kind says true.
template <class Kind, class... Members>
auto filter(Kind kind, const std::tuple<Members...>& members) {
  return std::apply(
      [&](const auto&... member) {
        const auto keep = [&](const auto& one) {
          if constexpr (decltype(kind(one))::value)
            return std::tuple(one);
          else
            return std::tuple<>();
        };
        return std::tuple_cat(keep(member)...);
      },
      members);
}

/// Runs heads forward over x. The shape has been checked: at least one channel and one position.
template <class X, class H, Device D>
void run_forward(const X& x, const H& head, const D& device) {
  using T = typename X::Scalar;
  constexpr int N = simd::lanes<Accumulator<T>>;
  constexpr bool planes = std::same_as<typename X::Layout, ChannelsFirst>;
  const auto heads = flatten(head);
  const auto reductions =
      filter([]<class M>(const M&) { return std::bool_constant<is_reduction<M>>{}; }, heads);
  const auto block_heads = filter([]<class M>(const M&) { return std::bool_constant<has_blocks<M>>{}; }, heads);
  const auto wholes = filter(
      []<class M>(const M&) { return std::bool_constant < !is_reduction<M> && !has_blocks < M >> {}; }, heads);
  constexpr bool any_reduction = std::tuple_size_v < std::remove_const_t < decltype(reductions) >>> 0;
  constexpr bool any_blocks = std::tuple_size_v < std::remove_const_t < decltype(block_heads) >>> 0;

  if constexpr (any_reduction || any_blocks) {
    std::apply(
        [&]<class... R>(const R&... reduction) {
          // Block heads compute for longer than they read.
          const double bytes =
              static_cast<double>(x.size()) * static_cast<double>((any_blocks ? 2 : 1) * sizeof(T));
          ChannelBlocks blocks = short_blocks<N>(x.shape());
          if constexpr (planes && any_blocks)
            blocks = plane_blocks<Accumulator<T>>(x.shape());
          else if constexpr (!planes)
            blocks = channel_blocks<N>(x.shape(), (std::size_t{64} + ... + sizeof(typename R::State)),
                                       most_kept_bytes(bytes, 20480), 0, bytes, device);
          const Index items = x.batch() * blocks.count;
          parallel_for(device, items, bytes / static_cast<double>(items), [&](Index begin, Index end) {
            for (Index item = begin; item < end; ++item) {
              const Index n = item / blocks.count;
              const Index c = item % blocks.count * blocks.channels;
              const Index last = std::min(c + blocks.channels, x.channels());
              if constexpr (sizeof...(R) == 1) {
                (reduce(reduction, x, n, c, last), ...);
              } else if constexpr (any_reduction) {
                reduce(FusedReduction<R...>::make(reduction...), x, n, c, last);
              }
              const auto reduce_block = [&](const auto& block) {
                if constexpr (requires { block.reduce_block(x, n, c, last, any_reduction); })
                  block.reduce_block(x, n, c, last, any_reduction);
                else
                  block.reduce_block(x, n, c, last);
              };
              std::apply([&](const auto&... block) { (reduce_block(block), ...); }, block_heads);
            }
          });
        },
        reductions);
  }
  std::apply([&](const auto&... whole) { (whole.run(x, device), ...); }, wholes);
}

/// Runs heads backward: dx, a pointer or Nowhere, becomes the sum of their gradients; with on_top, that is
/// added to it.
template <class I, bool on_top = false, class X, class DX, class H, Device D>
void run_backward(const X& x, DX dx, const H& head, const D& device) {
  using A = Accumulator<typename X::Scalar>;
  const auto heads = flatten(head);
  const auto gradients = filter([]<class M>(const M&) { return std::bool_constant<is_gradient<M>>{}; }, heads);
  const auto rows = filter([]<class M>(const M&) { return std::bool_constant<has_rows<M>>{}; }, heads);
  const auto wholes = filter(
      []<class M>(const M&) { return std::bool_constant < !is_gradient<M> && !has_rows < M >> {}; }, heads);
  constexpr bool any_whole = std::tuple_size_v < std::remove_const_t < decltype(wholes) >>> 0;
  constexpr auto others = std::tuple_size_v<std::remove_const_t<decltype(gradients)>> +
                          std::tuple_size_v<std::remove_const_t<decltype(rows)>>;

  bool adds = on_top;
  const auto run_whole = [&](const auto& whole) {
    whole.run(x, dx, adds, device);
    adds = true;
  };
  std::apply([&](const auto&... whole) { (run_whole(whole), ...); }, wholes);
  if constexpr (others > 0) {
    std::apply(
        [&]<class... G>(const G&... gradient) {
          std::apply(
              [&]<class... R>(const R&... row) {
                using Fused = FusedGradient<A, I, G...>;
                const Spread<on_top || any_whole, Fused, R...> spread{Fused{{gradient...}}, {row...}};
                spread.run(x, dx, device);
              },
              rows);
        },
        gradients);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
