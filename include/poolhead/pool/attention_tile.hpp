// Positions of a sample in tiles.
#pragma once

#include "poolhead/core/mask.hpp"
#include "poolhead/core/product.hpp"
#include "poolhead/core/read_ahead.hpp"
#include "poolhead/core/tile.hpp"
#include "poolhead/core/vector_product.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The type of products. The terms of a 16-bit gradient may cancel to less than floats keep.
template <Scalar T>
using AttentionProduct = std::conditional_t<sizeof(T) == 2, double, Accumulator<T>>;

/// Valid positions of one sample of X, as a matrix with rows of channels; with planes, of positions.
template <class X>
struct AttentionTile {
  using T = std::remove_const_t<typename X::Scalar>;
  using A = AttentionProduct<T>;
  static constexpr int N = simd::lanes<A>;
  static constexpr Index line = 64 / static_cast<Index>(sizeof(A));  // of a cache
  static constexpr bool planes = std::same_as<typename X::Layout, ChannelsFirst>;
  static constexpr Index most = planes && std::same_as<A, float> ? 128 : 64;

  Index positions[most];
  Index count = 0;  ///< of positions
  Index channels = 0;
  const A* values = nullptr;
  Index stride = 0;
  Index next = 0;  ///< how far behind its place the same element of the next tile lies, or 0

  /// How many positions of so many channels stay in a cache.
  static Index capacity(Index channels) { return std::clamp<Index>(65536 / channels / N * N, 16, most); }
  /// So many numbers as whole vectors.
  static Index whole_vectors(Index numbers) { return (numbers + N - 1) / N * N; }
  /// The length of a copied row of so many numbers: whole vectors, and a line more, as rows a power of 2 apart
  /// would share a few sets of the first-level cache.
  static Index padded(Index numbers) { return whole_vectors(numbers) + line; }

  ContiguousRows<A> rows() const {
    return {values, stride, planes ? channels : count, planes ? count : channels, next};
  }
  /// Element (position, channel).
  Strided<A> by_position() const { return {values, planes ? 1 : stride, planes ? stride : 1}; }
  /// Element (channel, position).
  Strided<A> by_channel() const { return {values, planes ? stride : 1, planes ? 1 : stride}; }

  /// Takes all channels of the valid ones of positions begin .. end - 1.
  void read(const X& x, Index n, Index begin, Index end) { read(x, n, begin, end, 0, x.channels()); }
  /// Takes `own_channels` channels of those, from channel `first` on.
  void read(const X& x, Index n, Index begin, Index end, Index first, Index own_channels) {
    struct Values;
    channels = own_channels;
    count = 0;
    next = 0;
    for (Index s = begin; s < end; ++s)
      if (is_valid(x, n, s)) positions[count++] = s;
    const T* const sample = x.sample(n);
    // A few of many channels are copied: see padded().
    if constexpr (!is_masked<X> && std::same_as<A, T>) {
      if (planes || channels == x.channels()) {
        values = planes ? sample + first * x.positions() + begin : sample + begin * channels;
        stride = planes ? x.positions() : channels;
        // What takes less time than its memory to arrive. Behind the end of a plane lies that of other
        // channels, and behind one that is a single tile the next sample's.
        if (bytes_of(x) > small_map_bytes && count * channels <= 16384)
          next = !planes ? count * channels : count < x.positions() ? count : x.channels() * x.positions();
        return;
      }
    }
    stride = padded(planes ? most : channels);
    A* const to = workspace<Values, A>(stride * (planes ? channels : capacity(channels)));
    values = to;
    if constexpr (!planes) {
      for (Index i = 0; i < count; ++i)
        copy(sample + positions[i] * x.channels() + first, channels, to + i * stride);
    } else {
      for (Index c = 0; c < channels; ++c) {
        const T* const plane = sample + (first + c) * x.positions();
        if constexpr (is_masked<X>)
          for (Index i = 0; i < count; ++i)
            to[c * stride + i] = static_cast<A>(static_cast<Accumulator<T>>(plane[positions[i]]));
        else
          copy(plane + begin, count, to + c * stride);
      }
    }
  }

 private:
  static void copy(const T* from, Index size, A* to) {
    constexpr int L = simd::lanes<Accumulator<T>>;
    for (Index k = 0; k < size; k += L) {
      const auto own = static_cast<int>(std::min<Index>(L, size - k));
      simd::store_first(to + k, simd::convert<A>(simd::load_first<Accumulator<T>>(from + k, own)), own);
    }
  }
};

/// f(begin, end) for tiles of the positions of x, of which so many channels are read together.
template <class X, class F>
void each_tile(const X& x, Index channels, const F& f) {
  const Index most = AttentionTile<X>::capacity(channels);
  const Index tiles = (x.positions() + most - 1) / most;
  const Index step = AttentionTile<X>::whole_vectors((x.positions() + tiles - 1) / tiles);
  for (Index begin = 0; begin < x.positions(); begin += step) f(begin, std::min(begin + step, x.positions()));
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
