// Batch normalisation.
#pragma once

#include "poolhead/nn/sums.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = weight (x - mean) / sqrt(variance + eps) + bias, per channel. Training: mean and (biased) variance are
/// the batch's, over N and all positions, in double; else they are running_mean and running_var.
///   training: dx = weight / sigma (dy - mean of dy - z mean of dy z);   else dx = weight / sigma dy,
///   with z = (x - mean) / sigma;   dweight = sum dy z;   dbias = sum dy.
///
/// x (N, C, ...), parameters (C), in T = float or double. A training forward leaves its statistics in the
/// cache; update_buffers moves the running ones towards them (that of the variance is unbiased): running = (1 -
/// momentum) running + momentum batch. Ioffe and Szegedy, 2015; torch.nn.BatchNorm2d.
template <std::floating_point T>
class BatchNorm2d {
 public:
  static constexpr std::string_view name = "BatchNorm2d";
  static constexpr bool backward_reads_output = false;
  using Vector = Eigen::Tensor<T, 1, Eigen::RowMajor>;

  Vector weight, bias;
  Vector running_mean, running_var;
  Eigen::Tensor<std::int64_t, 0, Eigen::RowMajor> num_batches_tracked;
  double momentum = 0.1;
  double eps = 1e-5;

  template <class X>
  struct Cache : detail::LayerCache<X> {
    Mode mode{};
    std::vector<double> statistics;  ///< mean and variance of each channel in turn
    mutable std::vector<double> work;
  };

  /// weight and running_var start at 1, the others at 0. Throws ValueError for no channels.
  explicit BatchNorm2d(Index channels) {
    if (channels < 1) detail::fail<ValueError>(name, ": channels is ", channels, ", expected at least 1");
    for (Vector* const ones : {&weight, &running_var}) ones->resize(channels), ones->setConstant(T(1));
    for (Vector* const zeros : {&bias, &running_mean}) zeros->resize(channels), zeros->setZero();
    num_batches_tracked.setZero();
  }

  static constexpr auto parameters() {
    return std::tuple{detail::Member{"weight", &BatchNorm2d::weight},
                      detail::Member{"bias", &BatchNorm2d::bias}};
  }
  static constexpr auto buffers() {
    return std::tuple{detail::Member{"running_mean", &BatchNorm2d::running_mean},
                      detail::Member{"running_var", &BatchNorm2d::running_var},
                      detail::Member{"num_batches_tracked", &BatchNorm2d::num_batches_tracked}};
  }

  template <class X>
  auto output_shape(const X& x) const {
    check_channels(x, "::output_shape");
    return detail::shape_of(x);
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    check_channels(x, "::make_cache");
    Cache<decltype(detail::shape_of(x))> cache{{detail::shape_of(x)}, mode, {}, {}};
    cache.statistics.resize(static_cast<std::size_t>(2 * x.channels()));
    cache.work.resize(static_cast<std::size_t>(3 * x.channels()));
    return cache;
  }

  /// Throws ShapeError where shapes disagree, ValueError where training has one value per channel, which has no
  /// variance.
  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    const auto in = detail::read_only(x);
    check_channels(in, "::forward");
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, in);
    detail::check_shape(name, "::forward", "y", y, in);
    double* const statistics = cache.statistics.data();
    if (in.size() > 0) {
      if (cache.mode.trains)
        measure(in, statistics, cache.work.data(), device);
      else
        for (Index c = 0; c < in.channels(); ++c)
          statistics[2 * c] = running_mean(c), statistics[2 * c + 1] = running_var(c);
    }
    double* const scale = cache.work.data();
    for (Index c = 0; c < in.channels(); ++c) scale[c] = weight(c) * inverse_deviation(statistics, c);
    detail::each_element(in, 2.0, device, [&](Index i, Index c) {
      y.data()[i] = static_cast<T>((in.data()[i] - statistics[2 * c]) * scale[c] + bias(c));
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, BatchNorm2d& gradient,
                const D& device = D{}) const {
    const auto in = detail::read_only(x);
    detail::check_backward(name, cache.filled, cache.mode);
    detail::check_layer_backward(name, cache, in, y, dy, dx);
    const double* const statistics = cache.statistics.data();
    double* const sums = cache.work.data();
    detail::channel_sums<2>(in, sums, device, [&](Index i, Index c) {
      const double slope = dy.data()[i];
      return std::array{slope, slope * (in.data()[i] - statistics[2 * c])};
    });
    for (Index c = 0; c < in.channels(); ++c) {
      sums[2 * c + 1] *= inverse_deviation(statistics, c);
      gradient.bias(c) += static_cast<T>(sums[2 * c]);
      gradient.weight(c) += static_cast<T>(sums[2 * c + 1]);
    }
    if constexpr (!std::same_as<DX, NoGradient>) {
      // dx = scale dy - (a + b (x - mean)), a and b from the two sums.
      const double count = static_cast<double>(in.batch() * in.positions());
      double* const scale = sums + 2 * in.channels();
      for (Index c = 0; c < in.channels(); ++c) {
        const double inverse = inverse_deviation(statistics, c);
        scale[c] = weight(c) * inverse;
        sums[2 * c] = cache.mode.trains ? scale[c] * sums[2 * c] / count : 0.0;
        sums[2 * c + 1] = cache.mode.trains ? scale[c] * inverse * sums[2 * c + 1] / count : 0.0;
      }
      detail::each_element(in, 3.0, device, [&](Index i, Index c) {
        const double centred = in.data()[i] - statistics[2 * c];
        dx.data()[i] = static_cast<T>(scale[c] * dy.data()[i] - (sums[2 * c] + sums[2 * c + 1] * centred));
      });
    }
  }

  /// Takes in the statistics that a training forward has left in the cache; nothing else changes.
  template <class C>
  void update_buffers(const C& cache) {
    if (!cache.mode.trains || !cache.filled) return;
    num_batches_tracked() += 1;
    const double count = static_cast<double>(cache.shape.batch() * cache.shape.positions());
    if (count == 0) return;
    for (Index c = 0; c < running_mean.size(); ++c) {
      const double mean = cache.statistics[static_cast<std::size_t>(2 * c)];
      const double variance = cache.statistics[static_cast<std::size_t>(2 * c + 1)] * count / (count - 1.0);
      running_mean(c) = static_cast<T>((1.0 - momentum) * running_mean(c) + momentum * mean);
      running_var(c) = static_cast<T>((1.0 - momentum) * running_var(c) + momentum * variance);
    }
  }

 private:
  template <class X>
  void check_channels(const X& x, std::string_view call) const {
    static_assert(detail::is_feature_map<X>, "poolhead: BatchNorm2d is for feature maps");
    if (x.channels() != weight.size()) {
      detail::fail<ShapeError>(name, call, ": x is ", detail::extents(x), ", expected ", weight.size(),
                               " channels");
    }
  }
  double inverse_deviation(const double* statistics, Index c) const {
    return 1.0 / std::sqrt(statistics[2 * c + 1] + eps);
  }
  /// Mean and variance of every channel, in two passes.
  template <class L, Device D>
  void measure(const FeatureMap<const T, L>& x, double* statistics, double* sums, const D& device) const {
    const double count = static_cast<double>(x.batch() * x.positions());
    if (count == 1.0) {
      detail::fail<ValueError>(name, "::forward: x is ", detail::extents(x),
                               ", expected more than one value per channel in training");
    }
    detail::channel_sums<1>(x, sums, device,
                            [&](Index i, Index) { return std::array<double, 1>{x.data()[i]}; });
    for (Index c = 0; c < x.channels(); ++c) statistics[2 * c] = sums[c] / count;
    detail::channel_sums<1>(x, sums, device, [&](Index i, Index c) {
      const double centred = x.data()[i] - statistics[2 * c];
      return std::array{centred * centred};
    });
    for (Index c = 0; c < x.channels(); ++c) statistics[2 * c + 1] = sums[c] / count;
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
