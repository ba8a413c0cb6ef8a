// Dropout by counter.
#pragma once

#include "poolhead/core/random.hpp"
#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// Training: y = x / (1 - rate) or, with probability rate, 0; dx likewise of dy. Else y = x. Of feature maps or
/// rows; y may be x itself.
///
/// Element i of sample n (in (c, h, w) order) is kept where number (n, i) of (seed, step) is at least rate, so
/// a mask depends neither on layout nor on threads, and takes no memory. The cache counts training forwards as
/// steps; start_step() sets step and first sample (see nn/walk.hpp). Srivastava et al., 2014; torch.nn.Dropout.
class Dropout {
 public:
  static constexpr std::string_view name = "Dropout";
  static constexpr bool works_in_place = true;
  static constexpr bool backward_reads_output = false;

  double rate;
  std::uint64_t seed;

  template <class X>
  struct Cache : detail::LayerCache<X> {
    Mode mode{};
    std::uint64_t step = 0;
    Index first_sample = 0;
    std::uint64_t used_step = 0;  ///< of the last forward
  };

  /// Throws ValueError unless 0 <= rate < 1.
  explicit Dropout(double drop_rate, std::uint64_t from_seed = 0) : rate(drop_rate), seed(from_seed) {
    check_rate();
  }

  template <class X>
  auto output_shape(const X& x) const {
    return detail::shape_of(x);
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    return Cache<decltype(detail::shape_of(x))>{{detail::shape_of(x)}, mode};
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, x);
    check_rate();
    cache.used_step = cache.step;
    scale(x, y, cache, device);
    if (cache.mode.trains) ++cache.step;
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Dropout& /*gradient*/,
                const D& device = D{}) const {
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    if constexpr (!std::same_as<DX, NoGradient>) scale(dy, dx, cache, device);
  }

 private:
  void check_rate() const {
    if (!(rate >= 0.0 && rate < 1.0))
      detail::fail<ValueError>(name, ": rate is ", rate, ", expected at least 0 and below 1");
  }

  template <class From, class To, class C, class D>
  void scale(const From& from, const To& to, const C& cache, const D& device) const {
    using T = typename From::Scalar;
    if (!cache.mode.trains || rate == 0.0) {
      if (from.data() != to.data()) detail::copy_to(to, from, device);
      return;
    }
    const Random random = Random(seed).stream(cache.used_step);
    const T factor = static_cast<T>(1.0 / (1.0 - rate));
    detail::each_sample(device, from, 8.0, [&](Index n, Index count) {
      const Random own = random.stream(static_cast<std::uint64_t>(cache.first_sample + n));
      const auto* in = detail::sample(from, n);
      T* const out = detail::sample(to, n);
      for (Index i = 0; i < count; ++i)
        out[i] = own.uniform(static_cast<std::uint64_t>(logical(from, i))) < rate ? T(0) : in[i] * factor;
    });
  }
  /// The place in (c, h, w) order of element i of a sample.
  template <class T>
  static Index logical(const Rows<T>&, Index i) {
    return i;
  }
  template <class T, class L>
  static Index logical(const FeatureMap<T, L>& x, Index i) {
    if constexpr (std::same_as<L, ChannelsFirst>)
      return i;
    else
      return i % x.channels() * x.positions() + i / x.channels();
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
