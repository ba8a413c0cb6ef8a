// How many channels a pass takes at a time.
#pragma once

#include "poolhead/core/device.hpp"
#include "poolhead/core/shape.hpp"
#include "poolhead/core/tile.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// How many channels a pass takes at a time, and how many such blocks there are. No result depends on it.
struct ChannelBlocks {
  Index channels;
  Index count;
};

/// How many channels are scattered to at once, NHWC, in runs that are worth writing, and up to how many
/// elements at once, which a cache holds.
inline constexpr Index scattered_channels = 64;
inline constexpr Index most_scattered = 16384;

/// Into how many parts of 1 .. most a sample is worth dividing, so that each thread has as much to do.
template <Device D>
Index sample_parts(const FeatureShape& x, Index most, double bytes, const D& device) {
  const Index threads = thread_count(device, x.batch * most, bytes / static_cast<double>(x.batch * most));
  const bool uneven = x.batch % threads != 0 && x.batch < 4 * threads;
  return uneven ? std::min(threads, most) : 1;
}

/// How many bytes of a pass's channels are kept at once: what the first-level cache has room for; where memory
/// is read from beyond the second, that may hold more, as all that counts then is the order of memory.
inline Index most_kept_bytes(double bytes, Index in_first_level) {
  return bytes > 0x1p23 ? 1 << 18 : in_first_level;
}

/// NHWC reads and writes memory in order where a block is all channels, as far as what is kept of each vector
/// of N channels stays within most_kept bytes, and as far as it has at most most_elements,
/// where that is not 0. Where there are fewer samples than threads, the channels are shared out.
template <int N, Device D>
ChannelBlocks channel_blocks(const FeatureShape& x, std::size_t kept_bytes, Index most_kept,
                             Index most_elements, double bytes, const D& device) {
  constexpr Index line = 4 * N;
  const Index lines = (x.channels + line - 1) / line;
  Index most = std::max<Index>(most_kept / (4 * static_cast<Index>(kept_bytes)), 1);
  if (most_elements > 0) most = std::min(most, std::max<Index>(most_elements / (x.positions() * line), 1));
  const Index parts = sample_parts(x, lines, bytes, device);
  const Index count = std::min(lines, std::max((lines + most - 1) / most, parts));
  const Index channels = (lines + count - 1) / count * line;
  return {channels, (x.channels + channels - 1) / channels};
}

/// NCHW: some vectors of planes, so that they stay in the second-level cache.
template <class A>
ChannelBlocks plane_blocks(const FeatureShape& x) {
  const Index channels = std::max<Index>(turned_planes<A>(x.positions()), simd::lanes<A>);
  return {channels, (x.channels + channels - 1) / channels};
}

/// NCHW: as many vectors of planes as are worth a call, and no more than `most`, so that threads have something
/// to share.
template <int N>
ChannelBlocks short_blocks(const FeatureShape& x) {
  const Index channels = std::clamp<Index>(16384 / (N * x.positions()), 1, 8) * N;
  return {channels, (x.channels + channels - 1) / channels};
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
