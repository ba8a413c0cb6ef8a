// What goes through a layer, in numbers.
#pragma once

#include "poolhead/core/rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {

/// Statistics of a layer's outputs over any number of batches: count(view) for each, then ask. Not finite
/// values are counted, and kept out of everything else. In double, by merging each batch's mean and squares
/// (Chan, Golub and LeVeque, 1979).
class LayerObserver {
 public:
  template <class T, class L>
  void count(const FeatureMap<T, L>& a) {
    count_values(a.batch(), a.channels(), a.positions(), a);
  }
  template <class T>
  void count(const Rows<T>& a) {
    count_values(a.batch(), a.features(), 1, [&](Index n, Index k, Index) { return a(n, k); });
  }

  Index values() const { return finite_ + not_finite_; }
  Index not_finite() const { return not_finite_; }
  double mean() const { return mean_; }
  /// Of all values, divided by their number.
  double deviation() const { return finite_ > 0 ? std::sqrt(squares_ / static_cast<double>(finite_)) : 0.0; }
  double least() const { return finite_ > 0 ? least_ : 0.0; }
  double largest() const { return finite_ > 0 ? largest_ : 0.0; }
  /// The share of values that are exactly 0: what ReLU let through as nothing.
  double zeros() const {
    return finite_ > 0 ? static_cast<double>(zeros_) / static_cast<double>(finite_) : 0.0;
  }
  Index channels() const { return static_cast<Index>(channel_least_.size()); }
  /// Channels that had one and the same value at every position of every sample: they tell the next layer
  /// nothing.
  Index dead_channels() const {
    Index dead = 0;
    for (std::size_t k = 0; k < channel_least_.size(); ++k) dead += !(channel_largest_[k] > channel_least_[k]);
    return dead;
  }

 private:
  Index finite_ = 0, not_finite_ = 0, zeros_ = 0;
  double mean_ = 0.0, squares_ = 0.0;
  double least_ = std::numeric_limits<double>::infinity(), largest_ = -least_;
  std::vector<double> channel_least_, channel_largest_;

  template <class Values>
  void count_values(Index batch, Index channels, Index positions, const Values& values) {
    channel_least_.resize(static_cast<std::size_t>(channels), std::numeric_limits<double>::infinity());
    channel_largest_.resize(static_cast<std::size_t>(channels), -std::numeric_limits<double>::infinity());
    double sum = 0.0, squares = 0.0;
    Index seen = 0;
    // Twice over the values: the mean first, then the squares around it.
    for (const bool first : {true, false}) {
      const double middle = seen > 0 ? sum / static_cast<double>(seen) : 0.0;
      for (Index n = 0; n < batch; ++n) {
        for (Index k = 0; k < channels; ++k) {
          for (Index s = 0; s < positions; ++s) {
            const double value = static_cast<double>(values(n, k, s));
            if (!std::isfinite(value)) {
              not_finite_ += first;
            } else if (first) {
              sum += value;
              ++seen;
              zeros_ += value == 0.0;
              auto& low = channel_least_[static_cast<std::size_t>(k)];
              auto& high = channel_largest_[static_cast<std::size_t>(k)];
              low = std::min(low, value);
              high = std::max(high, value);
              least_ = std::min(least_, value);
              largest_ = std::max(largest_, value);
            } else {
              squares += (value - middle) * (value - middle);
            }
          }
        }
      }
    }
    if (seen == 0) return;
    const double before = static_cast<double>(finite_), now = static_cast<double>(seen), all = before + now;
    const double step = sum / now - mean_;
    mean_ += step * now / all;
    squares_ += squares + step * step * before * now / all;
    finite_ += seen;
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
