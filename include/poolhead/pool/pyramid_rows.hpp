// The averages of the usual pyramid, levels 1, 2 and 4, over planes of a few rows and columns, whose bins are
// smaller than what a loop over each of them costs. Row by row, the columns of all levels are added up
// together, and the bins that the row belongs to are in registers.
#pragma once

#include "poolhead/pool/grids.hpp"

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
template <int begin, int end, class V, int width>
POOLHEAD_INLINE V add_columns(const V (&row)[width]) {
  if constexpr (end - begin == 1) {
    return row[begin];
  } else {
    constexpr int cut = cut_columns(begin, end);
    return add_columns<begin, cut>(row) + add_columns<cut, end>(row);
  }
}

/// The pyramid of levels 1, 2 and 4 over planes of 4 x 4 to 15 x 15 positions. Lanes are channels.
struct UsualPyramid {
  static constexpr Index levels[] = {1, 2, 4};
  static constexpr int bins = 21;
  static constexpr int columns = 7;  // of bins, of all levels
  static constexpr int least = 4;    // no row is in three bins of a level
  static constexpr int most = 15;    // rows of more are better added up in NCHW before they are turned

  static bool suits(const GridEdges& grids) {
    if (grids.count() != 3) return false;
    for (Index k = 0; k < 3; ++k)
      if (grids[k].rows != levels[k] || grids[k].columns != levels[k]) return false;
    return std::min(grids.height(), grids.width()) >= least && std::max(grids.height(), grids.width()) <= most;
  }
  /// f(how many columns planes have, as a constant).
  template <class F>
  static void with_width(const GridEdges& grids, const F& f) {
    with_number<most - least + 1>(static_cast<int>(grids.width() - least + 1),
                                  [&](auto number) { f(std::integral_constant<int, number + least - 1>{}); });
  }
};

/// Its averages.
class PyramidMeans : UsualPyramid {
 public:
  /// How many vectors of channels may be taken together, where there are registers for their bins.
  static constexpr int most_together = simd::register_bytes == 64 ? 2 : 1;

  /// grids: such as suit.
  explicit PyramidMeans(const GridEdges& grids) : grids_(grids) {
    float* share = shares_;
    for (Index k = 0; k < 3; ++k)
      for (Index i = 0; i < levels[k]; ++i) {
        const auto rows = grids.rows(k, i);
        ends_[k] |= 1U << (rows.end - 1);
        if (i + 1 < levels[k] && grids.rows(k, i + 1).begin < rows.end) shared_[k] |= 1U << (rows.end - 1);
        for (Index j = 0; j < levels[k]; ++j)
          *share++ = 1.0F / static_cast<float>(rows.size() * grids.columns(k, j).size());
      }
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
            own[j][v] = add_columns<j * width / n, ((j + 1) * width + n - 1) / n>(row[v]);
            sums[first + j][v] = sums[first + j][v] + own[j][v];
          });
        });
        if ((ends_[k] >> h & 1) == 0) return;
        const bool is_shared = (shared_[k] >> h & 1) != 0;
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
  unsigned ends_[3] = {};    // bit h: bins of the level end with row h
  unsigned shared_[3] = {};  // and the next begin with it
  float shares_[bins];       // the mean of a bin is its sum times this
};

/// What its bins give the positions of some rows, as spread_shares does (bin_cover.hpp).
template <bool adds, class To>
class PyramidShares : UsualPyramid {
 public:
  /// shares: (bins, vectors of these channels).
  PyramidShares(const GridEdges& grids, const float* shares, Index channels)
      : grids_(grids), shares_(shares), vectors_((channels + N - 1) / N) {}

  /// Of row h, whose first position is `to`.
  void spread(Index h, To* to, Index stride) const {
    const float* from[3];  // the bins that cover the row
    bool are_two[3];       // and those below them that do, too
    for (Index k = 0; k < 3; ++k) {
      const auto over = grids_.covering(k, h);
      from[k] = shares_ + (grids_.first_bin(k) + over.begin * levels[k]) * vectors_ * N;
      are_two[k] = over.size() > 1;
    }
    with_width(grids_, [&](auto width) { spread_row<width>(from, are_two, to, stride); });
  }

 private:
  static constexpr int N = simd::lanes<float>;
  using V = simd::Vec<float, N>;

  /// The sum of the columns of bins, n of a level, that cover column w of `width`.
  template <int n, int w, int width>
  POOLHEAD_INLINE static V covering(const V* column) {
    constexpr int first = w * n / width;
    constexpr int last = ((w + 1) * n - 1) / width;
    static_assert(last - first <= 1);
    if constexpr (first == last)
      return column[first];
    else
      return column[first] + column[last];
  }
  template <int width>
  [[gnu::noinline]] void spread_row(const float* const (&from)[3], const bool (&are_two)[3], To* to,
                                    Index stride) const {
    const Index pitch = vectors_ * N;
    for (Index e = 0; e < pitch; e += N) {
      V sums[columns];
      unroll<3>([&](auto k) __attribute__((always_inline)) {
        constexpr int n = static_cast<int>(levels[k]);
        const float* const own = from[k] + e;
        unroll<n>([&](auto j)
                      __attribute__((always_inline)) { sums[n - 1 + j] = simd::load<float>(own + j * pitch); });
        if (are_two[k])
          unroll<n>([&](auto j) __attribute__((always_inline)) {
            sums[n - 1 + j] = sums[n - 1 + j] + simd::load<float>(own + (n + j) * pitch);
          });
      });
      unroll<width>([&](auto w) __attribute__((always_inline)) {
        const V sum = covering<4, w, width>(sums + 3) + (covering<2, w, width>(sums + 1) + sums[0]);
        To* const at = to + w * stride + e;
        if constexpr (adds)
          simd::store(at, simd::load<float>(at) + sum);
        else
          simd::store(at, sum);
      });
    }
  }

  const GridEdges& grids_;
  const float* shares_;
  Index vectors_;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
