// Products of a vector and a matrix whose rows are contiguous, from either side.
#pragma once

#include "poolhead/core/simd_lanes.hpp"
#include "poolhead/core/walk.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Rows `stride` apart.
template <class A>
struct ContiguousRows {
  const A* data;
  Index stride;
  Index count;
  Index length;
};

/// The first `own` of a vector of Sum at p.
template <class Sum, class A>
POOLHEAD_INLINE auto load_as(const A* p, int own) {
  constexpr int N = simd::lanes<Sum>;
  return simd::convert<Sum>(own == N ? simd::load_array<N>(p) : simd::load_array<N>(p, own));
}

/// to[k] += sum over i of factors[i] rows(i, k), or of their squares where there are no factors. Sums are of
/// the type Sum.
template <class Sum, class A>
[[gnu::noinline]] void add_weighted_rows(const Sum* factors, const ContiguousRows<A>& rows, double* to) {
  constexpr int N = simd::lanes<Sum>;
  constexpr int most = 8;
  using V = simd::Vec<Sum, N>;
  for (Index k = 0; k < rows.length; k += most * N) {
    const Index left = std::min<Index>(rows.length - k, most * N);
    with_number<most>(
        static_cast<int>((left + N - 1) / N), [&](auto vectors) __attribute__((always_inline)) {
          constexpr int K = vectors;
          const auto last = static_cast<int>(left - (K - 1) * N);
          V sums[K];
          unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v] = simd::zero<V>(); });
          const A* row = rows.data + k;
          const auto add = [&](auto whole) __attribute__((always_inline)) {
            for (Index i = 0; i < rows.count; ++i, row += rows.stride)
              unroll<K>([&](auto v) __attribute__((always_inline)) {
                const V x = load_as<Sum>(row + v * N, whole || v + 1 < K ? N : last);
                sums[v] =
                    simd::multiply_add(factors == nullptr ? x : simd::splat<Sum, N>(factors[i]), x, sums[v]);
              });
          };
          if (last == N)
            add(std::true_type{});
          else
            add(std::false_type{});
          unroll<K>([&](auto v) __attribute__((always_inline)) {
            double* const p = to + k + v * N;
            const int own = v + 1 < K ? N : last;
            simd::store_first(p, simd::load_array<N>(p, own) + simd::convert<double>(sums[v]), own);
          });
        });
  }
}

/// to[i] += sum over k of factors[k] rows(i, k), or of their squares where there are no factors. Sums are of
/// the type Sum.
template <class Sum, class A>
[[gnu::noinline]] void add_row_products(const Sum* factors, const ContiguousRows<A>& rows, double* to) {
  constexpr int N = simd::lanes<Sum>;
  using V = simd::Vec<Sum, N>;
  for (Index i = 0; i < rows.count; i += N) {
    const auto count = static_cast<int>(std::min<Index>(N, rows.count - i));
    const A* row[N];
    V sums[N];
    unroll<N>([&](auto r) __attribute__((always_inline)) {
      row[r] = rows.data + std::min<Index>(i + r, rows.count - 1) * rows.stride;  // those beyond are not stored
      sums[r] = simd::zero<V>();
    });
    // A few rows at a time: memory is read more or less as it lies.
    constexpr int few = std::min(N, 4);
    unroll<N / few>([&](auto group) __attribute__((always_inline)) {
      const auto add = [&](Index k, int own) __attribute__((always_inline)) {
        const V factor = factors == nullptr ? simd::zero<V>() : load_as<Sum>(factors + k, own);
        unroll<few>([&](auto r) __attribute__((always_inline)) {
          constexpr int at = group * few + r;
          const V x = load_as<Sum>(row[at] + k, own);
          sums[at] = simd::multiply_add(factors == nullptr ? x : factor, x, sums[at]);
        });
      };
      Index k = 0;
      for (; k + N <= rows.length; k += N) add(k, N);
      if (k < rows.length) add(k, static_cast<int>(rows.length - k));
    });
    double* const p = to + i;
    const auto sum = simd::convert<double>(simd::totals<N / 2>(sums));
    simd::store_first(p, simd::load_array<N>(p, count) + sum, count);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
