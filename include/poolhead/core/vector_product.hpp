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
  Index ahead = 0;  ///< how far behind an element that which is wanted next in its place lies; 0: nothing is

  /// Asks for what is wanted next in the place of p, in the second-level cache: the first has no room for it.
  POOLHEAD_INLINE void fetch_next(const A* p) const {
    if (ahead != 0) __builtin_prefetch(p + ahead, 0, 2);
  }
};

/// The first `own` of a vector of Sum at p.
template <class Sum, class A>
POOLHEAD_INLINE auto load_as(const A* p, int own) {
  constexpr int N = simd::lanes<Sum>;
  return simd::convert<Sum>(own == N ? simd::load_array<N>(p) : simd::load_array<N>(p, own));
}

/// How many loads of a vector of Sum take a line of a cache.
template <class Sum, class A>
inline constexpr int of_line = std::max(64 / static_cast<int>(sizeof(A)) / simd::lanes<Sum>, 1);

/// add(x, i, sum) is sum and what element (i, k) of the rows gives it, for vectors x of k: adds the sums over
/// all i to to[k].
template <class Sum, class A, class Add>
POOLHEAD_INLINE void add_down(const ContiguousRows<A>& rows, double* to, const Add& add) {
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
          const auto add_all = [&](auto whole) __attribute__((always_inline)) {
            for (Index i = 0; i < rows.count; ++i, row += rows.stride)
              unroll<K>([&](auto v) __attribute__((always_inline)) {
                if (v % of_line<Sum, A> == 0) rows.fetch_next(row + v * N);
                sums[v] = add(load_as<Sum>(row + v * N, whole || v + 1 < K ? N : last), i, sums[v]);
              });
          };
          if (last == N)
            add_all(std::true_type{});
          else
            add_all(std::false_type{});
          unroll<K>([&](auto v) __attribute__((always_inline)) {
            double* const p = to + k + v * N;
            const int own = v + 1 < K ? N : last;
            simd::store_first(p, simd::load_array<N>(p, own) + simd::convert<double>(sums[v]), own);
          });
        });
  }
}

/// add(k, own) gives the function that adds what vectors of elements (i, k), their first `own` lanes, give a
/// sum: adds the sums over all k to to[i].
template <class Sum, class A, class Add>
POOLHEAD_INLINE void add_across(const ContiguousRows<A>& rows, double* to, const Add& add) {
  constexpr int N = simd::lanes<Sum>;
  using V = simd::Vec<Sum, N>;
  for (Index i = 0; i < rows.count; i += N) {
    const auto count = static_cast<int>(std::min<Index>(N, rows.count - i));
    V sums[N];
    // A few rows at a time: memory is read more or less as it lies.
    constexpr int few = std::min(N, 4);
    unroll<N / few>([&](auto group) __attribute__((always_inline)) {
      constexpr int first = group * few;
      const A* row[few];
      unroll<few>([&](auto r) __attribute__((always_inline)) {
        row[r] =
            rows.data + std::min<Index>(i + first + r, rows.count - 1) * rows.stride;  // beyond: not stored
        sums[first + r] = simd::zero<V>();
      });
      if (first >= count) return;
      const auto add_vectors = [&](Index k, int own) __attribute__((always_inline)) {
        const auto add_one = add(k, own);
        unroll<few>([&](auto r) __attribute__((always_inline)) {
          rows.fetch_next(row[r] + k);
          sums[first + r] = add_one(load_as<Sum>(row[r] + k, own), sums[first + r]);
        });
      };
      Index k = 0;
      for (; k + N <= rows.length; k += N) add_vectors(k, N);
      if (k < rows.length) add_vectors(k, static_cast<int>(rows.length - k));
    });
    double* const p = to + i;
    const auto sum = simd::convert<double>(simd::totals<N / 2>(sums));
    simd::store_first(p, simd::load_array<N>(p, count) + sum, count);
  }
}

/// to[k] += sum over i of factors[i] rows(i, k). Sums are of the type Sum, as they are in the others.
template <class Sum, class A>
[[gnu::noinline]] void add_weighted_rows(const Sum* factors, const ContiguousRows<A>& rows, double* to) {
  add_down<Sum>(
      rows, to, [&](const auto& x, Index i, const auto& sum) __attribute__((always_inline)) {
        return simd::multiply_add(simd::splat<Sum, simd::lanes<Sum>>(factors[i]), x, sum);
      });
}
/// to[k] += sum over i of rows(i, k)^2.
template <class Sum, class A>
[[gnu::noinline]] void add_squares_down(const ContiguousRows<A>& rows, double* to) {
  add_down<Sum>(
      rows, to, [&](const auto& x, Index, const auto& sum) __attribute__((always_inline)) {
        return simd::multiply_add(x, x, sum);
      });
}

/// to[i] += sum over k of factors[k] rows(i, k).
template <class Sum, class A>
[[gnu::noinline]] void add_row_products(const Sum* factors, const ContiguousRows<A>& rows, double* to) {
  add_across<Sum>(
      rows, to, [&](Index k, int own) __attribute__((always_inline)) {
        return [factor = load_as<Sum>(factors + k, own)](const auto& x, const auto& sum)
            __attribute__((always_inline)) {
          return simd::multiply_add(factor, x, sum);
        };
      });
}
/// to[i] += sum over k of rows(i, k)^2.
template <class Sum, class A>
[[gnu::noinline]] void add_squares_across(const ContiguousRows<A>& rows, double* to) {
  add_across<Sum>(
      rows, to, [](Index, int) __attribute__((always_inline)) {
        return [](const auto& x, const auto& sum) __attribute__((always_inline)) {
          return simd::multiply_add(x, x, sum);
        };
      });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
