// The averages and maxima of the usual pyramid over small planes. Lanes are channels. Of each row, the columns
// of all levels are folded together; the bins that it belongs to are in registers.
#pragma once

#include "poolhead/pool/bin_states.hpp"
#include "poolhead/pool/usual_pyramid.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Where columns begin .. end - 1 are cut in two: at the multiple of the largest power of 2, so that bins that
/// overlap share parts.
constexpr int cut_columns(int begin, int end) {
  int cut = begin + 1;
  for (int at = cut; at < end; ++at)
    if ((at & -at) > (cut & -cut)) cut = at;
  return cut;
}
/// merge(.., ..) of columns begin .. end - 1 of a row.
template <int begin, int end, class V, int width, class Merge>
POOLHEAD_INLINE V merge_columns(const V (&row)[width], const Merge& merge) {
  if constexpr (end - begin == 1) {
    return row[begin];
  } else {
    constexpr int cut = cut_columns(begin, end);
    return merge(merge_columns<begin, cut>(row, merge), merge_columns<cut, end>(row, merge));
  }
}

/// The averages of its bins.
class PyramidMeans : UsualPyramid {
 public:
  /// How many vectors of channels may be taken together, where there are registers for their bins.
  static constexpr int most_together = simd::register_bytes == 64 ? 2 : 1;

  /// grids: such as suit.
  explicit PyramidMeans(const GridEdges& grids) : grids_(grids), ends_(grids) {
    float* share = shares_;
    for (Index k = 0; k < 3; ++k)
      for (Index i = 0; i < levels[k]; ++i)
        for (Index j = 0; j < levels[k]; ++j)
          *share++ = 1.0F / static_cast<float>(grids.rows(k, i).size() * grids.columns(k, j).size());
  }

  /// means[(b * K + v) * N] = the mean of bin b of vector v < K of channels, whose positions are `step` apart
  /// from p on, an Index or an integral constant. Returns whether all of them are finite.
  template <int K, class Step>
  bool put_means(const float* p, Step step, float* means) const {
    bool are_finite = false;
    with_width(grids_, [&](auto width) { are_finite = put_means_of<width, K>(p, step, means); });
    return are_finite;
  }

 private:
  static constexpr int N = simd::lanes<float>;
  using V = simd::Vec<float, N>;

  template <int width, int K, class Step>
  [[gnu::noinline]] bool put_means_of(const float* p, Step step, float* means) const {
    const auto add = [](const V& a, const V& b) __attribute__((always_inline)) { return a + b; };
    const V nothing = simd::splat<float, N>(-0.0F);  // added to it, any number is itself, -0 too
    V sums[columns][K];  // of the bins that the row belongs to, or of the first where it belongs to two
    unroll<columns * K>([&](auto i) __attribute__((always_inline)) { sums[i / K][i % K] = nothing; });
    float* to[] = {means, means + K * N, means + 5 * K * N};
    const float* share[] = {shares_, shares_ + 1, shares_ + 5};
    auto check = simd::zero<simd::Mask<float, N>>();
    for (Index h = 0; h < grids_.height(); ++h, p += width * step) {
      V row[K][width];
      unroll<width>([&](auto w) __attribute__((always_inline)) {
        unroll<K>([&](auto v)
                      __attribute__((always_inline)) { row[v][w] = simd::load<float>(p + w * step + v * N); });
      });
      unroll<3>([&](auto k) __attribute__((always_inline)) {
        constexpr int n = static_cast<int>(levels[k]);
        constexpr int first = n - 1;
        V own[n][K];
        unroll<n>([&](auto j) __attribute__((always_inline)) {
          unroll<K>([&](auto v) __attribute__((always_inline)) {
            own[j][v] = merge_columns<j * width / n, ((j + 1) * width + n - 1) / n>(row[v], add);
            sums[first + j][v] = sums[first + j][v] + own[j][v];
          });
        });
        if (!ends_.ends(k, h)) return;
        const bool is_shared = ends_.is_shared(k, h);
        unroll<n>([&](auto j) __attribute__((always_inline)) {
          const V factor = simd::splat<float, N>(share[k][j]);
          unroll<K>([&](auto v) __attribute__((always_inline)) {
            const V mean = sums[first + j][v] * factor;
            check = check | simd::bit_cast<std::int32_t>(mean - mean);  // 0 of what is finite
            simd::store(to[k] + (j * K + v) * N, mean);
            sums[first + j][v] = is_shared ? own[j][v] : nothing;
          });
        });
        to[k] += n * K * N;
        share[k] += n;
      });
    }
    return !simd::any(check != simd::zero<simd::Mask<float, N>>());
  }

  const GridEdges& grids_;
  RowEnds ends_;
  float shares_[bins];  // the mean of a bin is its sum times this
};

/// Their maxima and where these stand, of what holds no NaN.
class PyramidMaxima : UsualPyramid {
 public:
  using Bins = BinMaxima<float, std::int32_t>;
  using State = Bins::State;

  /// grids: such as suit.
  explicit PyramidMaxima(const GridEdges& grids) : grids_(grids), ends_(grids) {}

  /// tops[b] = the maxima of bin b of a vector of channels, whose positions are `step` apart from p on. Returns
  /// what the bins' note says of all positions.
  template <class Step>
  Bins::Note put_maxima(const float* p, Step step, State* tops) const {
    Bins::Note note{};
    with_width(grids_, [&](auto width) { note = put_maxima_of<width>(p, step, tops); });
    return note;
  }

 private:
  using I = std::int32_t;
  static constexpr int N = simd::lanes<float>;

  template <int width, class Step>
  [[gnu::noinline]] Bins::Note put_maxima_of(const float* p, Step step, State* tops) const {
    const auto later_wins = [](const State& a, const State& b) __attribute__((always_inline)) {
      return Bins::append(a, b);
    };
    Bins::Note note{};
    State states[columns];  // of the bins that the row belongs to, or of the first where it belongs to two
    State* to[] = {tops, tops + 1, tops + 5};
    for (Index h = 0; h < grids_.height(); ++h, p += width * step) {
      const auto start = simd::splat<I, N>(static_cast<I>(h * width));
      State row[width];
      unroll<width>([&](auto w) __attribute__((always_inline)) {
        row[w] = {simd::in_register(simd::load<float>(p + w * step)), start + simd::splat<I, N>(w)};
        note = note + row[w].value;
      });
      unroll<3>([&](auto k) __attribute__((always_inline)) {
        constexpr int n = static_cast<int>(levels[k]);
        constexpr int first = n - 1;
        State own[n];
        unroll<n>([&](auto j) __attribute__((always_inline)) {
          own[j] = merge_columns<j * width / n, ((j + 1) * width + n - 1) / n>(row, later_wins);
        });
        if (ends_.begins(k, h))
          unroll<n>([&](auto j) __attribute__((always_inline)) { states[first + j] = own[j]; });
        else
          unroll<n>([&](auto j) __attribute__((always_inline)) {
            states[first + j] = Bins::append(states[first + j], own[j]);
          });
        if (!ends_.ends(k, h)) return;
        unroll<n>([&](auto j) __attribute__((always_inline)) {
          to[k][j] = states[first + j];
          states[first + j] = own[j];  // where the next bins begin with the row, too
        });
        to[k] += n;
      });
    }
    return note;
  }

  const GridEdges& grids_;
  RowEnds ends_;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
