// What the bins of the usual pyramid give the positions of small planes. Lanes are channels.
#pragma once

#include "poolhead/pool/bin_cover.hpp"
#include "poolhead/pool/usual_pyramid.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

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
        put_sum<adds>(to + w * stride + e, sum);
      });
    }
  }

  const GridEdges& grids_;
  const float* shares_;
  Index vectors_;
};

/// What its maxima give the positions of some rows: peaks and places as find_maxima has them
/// (bin_gradient.hpp), those of the finest level having got what is the others'.
template <bool adds, class To>
class PyramidPeaks : UsualPyramid {
 public:
  /// peaks: of level 4, `pitch` from bin to bin.
  PyramidPeaks(const GridEdges& grids, const float* peaks, Index pitch, Index channels)
      : grids_(grids), peaks_(peaks), pitch_(pitch), length_((channels + N - 1) / N * N) {}

  /// Of row h, whose first position is `to`.
  void spread(Index h, To* to, Index stride) const {
    const auto over = grids_.covering(2, h);
    const float* const from = peaks_ + over.begin * 4 * pitch_;
    with_width(grids_, [&](auto width) {
      if (over.size() > 1)
        spread_row<width, 2>(from, static_cast<float>(h * width), to, stride);
      else
        spread_row<width, 1>(from, static_cast<float>(h * width), to, stride);
    });
  }

 private:
  static constexpr int N = simd::lanes<float>;
  using V = simd::Vec<float, N>;

  /// rows: of bins that cover the row. place: of its first position.
  template <int width, int rows>
  [[gnu::noinline]] void spread_row(const float* from, float place, To* to, Index stride) const {
    for (Index e = 0; e < length_; e += N) {
      V peaks[4 * rows], places[4 * rows];
      unroll<4 * rows>([&](auto b) __attribute__((always_inline)) {
        peaks[b] = simd::load<float>(from + b * pitch_ + 2 * e);
        places[b] = simd::load<float>(from + b * pitch_ + 2 * e + N);
      });
      unroll<width>([&](auto w) __attribute__((always_inline)) {
        constexpr int first = w * 4 / width;
        constexpr int last = ((w + 1) * 4 - 1) / width;
        const V at = simd::splat<float, N>(place + static_cast<float>(w));
        auto sum = simd::zero<V>();
        unroll<rows*(last - first + 1)>([&](auto i) __attribute__((always_inline)) {
          constexpr int b = i / (last - first + 1) * 4 + first + i % (last - first + 1);
          sum = simd::select(places[b] == at, sum + peaks[b], sum);
        });
        put_sum<adds>(to + w * stride + e, sum);
      });
    }
  }

  const GridEdges& grids_;
  const float* peaks_;
  Index pitch_, length_;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
