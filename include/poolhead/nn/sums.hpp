// Sums over the batch and all positions, channel by channel.
#pragma once

#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// sums[c * K + k] = the sum of number k of term(i, c) over the elements i (places in memory) of channel c.
/// Threads share channels, so the order of the additions depends on the shape alone.
template <std::size_t K, class T, class L, Device D, class Term>
void channel_sums(const FeatureMap<T, L>& x, double* sums, const D& device, const Term& term) {
  const Index channels = x.channels(), positions = x.positions();
  if constexpr (std::same_as<L, ChannelsFirst>) {
    constexpr Index lanes = 8;
    const double bytes = static_cast<double>(x.batch() * positions) * static_cast<double>(K * sizeof(T));
    parallel_for(device, channels, bytes, [&](Index begin, Index end) {
      for (Index c = begin; c < end; ++c) {
        double partial[K][lanes] = {};
        for (Index n = 0; n < x.batch(); ++n) {
          const Index first = (n * channels + c) * positions;
          Index s = 0;
          for (; s + lanes <= positions; s += lanes) {
            for (Index l = 0; l < lanes; ++l) {
              const std::array<double, K> value = term(first + s + l, c);
              for (std::size_t k = 0; k < K; ++k) partial[k][l] += value[k];
            }
          }
          for (; s < positions; ++s) {
            const std::array<double, K> value = term(first + s, c);
            for (std::size_t k = 0; k < K; ++k) partial[k][s % lanes] += value[k];
          }
        }
        for (std::size_t k = 0; k < K; ++k) {
          double total = 0.0;
          for (const double lane : partial[k]) total += lane;
          sums[static_cast<std::size_t>(c) * K + k] = total;
        }
      }
    });
  } else {
    constexpr Index width = 16;
    const Index blocks = (channels + width - 1) / width;
    const double bytes =
        static_cast<double>(x.batch() * positions * width) * static_cast<double>(K * sizeof(T));
    parallel_for(device, blocks, bytes, [&](Index begin, Index end) {
      for (Index b = begin; b < end; ++b) {
        const Index first = b * width, count = std::min(width, channels - first);
        double partial[K][width] = {};
        for (Index row = 0; row < x.batch() * positions; ++row) {
          for (Index j = 0; j < count; ++j) {
            const std::array<double, K> value = term(row * channels + first + j, first + j);
            for (std::size_t k = 0; k < K; ++k) partial[k][j] += value[k];
          }
        }
        for (Index j = 0; j < count; ++j) {
          for (std::size_t k = 0; k < K; ++k) sums[static_cast<std::size_t>(first + j) * K + k] = partial[k][j];
        }
      }
    });
  }
}

/// f(i, c) for every element i of x, in the order of memory; c is its channel. `streams` of memory are touched.
template <class T, class L, Device D, class F>
void each_element(const FeatureMap<T, L>& x, double streams, const D& device, const F& f) {
  if (x.size() == 0) return;
  const Index channels = x.channels(), positions = x.positions();
  const Index sample = channels * positions;
  const double bytes = streams * static_cast<double>(sample) * static_cast<double>(sizeof(T));
  parallel_for(device, x.batch(), bytes, [&](Index begin, Index end) {
    for (Index n = begin; n < end; ++n) {
      Index i = n * sample;
      if constexpr (std::same_as<L, ChannelsFirst>) {
        for (Index c = 0; c < channels; ++c) {
          for (const Index stop = i + positions; i < stop; ++i) f(i, c);
        }
      } else {
        for (Index s = 0; s < positions; ++s, i += channels) {
          for (Index c = 0; c < channels; ++c) f(i + c, c);
        }
      }
    }
  });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
