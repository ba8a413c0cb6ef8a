// The yardstick: reading or writing a buffer once, on the threads that the pool uses, and nothing else.
#pragma once

#include <poolhead/core/device.hpp>
#include <poolhead/core/reduce.hpp>

namespace poolhead::bench {

/// Reads size elements once, in eight streams, and returns a number that depends on all of them.
template <class T>
inline Accumulator<T> read_once(const T* data, Index size) {
  using A = Accumulator<T>;
  constexpr int N = simd::lanes<A>;
  const Index stream = size / (8 * N) * N;
  simd::Vec<A, N> sums[8];
  detail::unroll<8>([&](auto k) { sums[k] = simd::zero<simd::Vec<A, N>>(); });
  for (Index i = 0; i < stream; i += N) {
    detail::unroll<8>([&](auto k) { sums[k] = sums[k] + simd::load<A>(data + k * stream + i); });
  }
  detail::unroll<7>([&](auto k) { sums[0] = sums[0] + sums[k + 1]; });
  A lanes[N];
  simd::store(lanes, sums[0]);
  A total = 0;
  for (const A lane : lanes) total += lane;
  return total;
}

/// Writes size elements once.
template <class T>
inline void write_once(T* data, Index size, Accumulator<T> value) {
  using A = Accumulator<T>;
  constexpr int N = simd::lanes<A>;
  const auto filled = simd::splat<A, N>(value);
  Index i = 0;
  for (; i + N <= size; i += N) simd::store(data + i, filled);
  for (; i < size; ++i) data[i] = static_cast<T>(value);
}

/// The same on all threads of the device that the library itself would use for as many bytes.
template <class T, Device D>
void read_roof(const D& device, const T* data, Index size, Accumulator<T>* sink) {
  constexpr Index chunk = 4096;
  const double bytes = static_cast<double>(chunk * static_cast<Index>(sizeof(T)));
  const Index chunks = (size + chunk - 1) / chunk;
  detail::parallel_for(device, chunks, bytes, [&](Index begin, Index end) {
    sink[begin % 64] = read_once(data + begin * chunk, std::min(end * chunk, size) - begin * chunk);
  });
}
template <class T, Device D>
void write_roof(const D& device, T* data, Index size) {
  constexpr Index chunk = 4096;
  const double bytes = static_cast<double>(chunk * static_cast<Index>(sizeof(T)));
  const Index chunks = (size + chunk - 1) / chunk;
  detail::parallel_for(device, chunks, bytes, [&](Index begin, Index end) {
    write_once(data + begin * chunk, std::min(end * chunk, size) - begin * chunk, Accumulator<T>(1));
  });
}

}  // namespace poolhead::bench
