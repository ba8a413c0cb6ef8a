// Generalised-mean pooling (GeM).
#pragma once

#include "poolhead/pool/power_gradient.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <Scalar T, bool learns = true>
struct GeneralizedMeanKind {
  using A = Accumulator<T>;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  static constexpr bool averages = true;
  static constexpr bool learnable = learns;

  const T* p;
  bool shared;
  A eps;
  int exponent;
  bool precise;  // whether terms are computed in double

  template <class Lanes>
  POOLHEAD_INLINE simd::Doubles<N> rate(const Lanes& lanes, Index c) const {
    if (shared) return simd::splat<double, N>(static_cast<double>(*p));
    return simd::convert<double>(lanes(p + c));
  }
  double shared_rate() const {
    return shared ? static_cast<double>(*p) : std::numeric_limits<double>::quiet_NaN();
  }
  POOLHEAD_INLINE V base(const V& x) const { return base(x, simd::splat<A, N>(eps)); }
  POOLHEAD_INLINE V base(const V& x, const V& lower) const { return simd::max(x, lower); }  // a NaN in x stays
  A least(A number) const { return std::max(eps, number); }
  POOLHEAD_INLINE auto passes(const V& x) const { return ~(x < simd::splat<A, N>(eps)); }
  POOLHEAD_INLINE V gradient(const V& value, const V& x) const {
    return simd::select(x < simd::splat<A, N>(eps), simd::zero<V>(), value);
  }
};

}  // namespace detail

/// y = (mean over positions of c^p)^(1/p) with c = max(x, eps);   dx = dy / S (c / y)^(p - 1) where x >= eps,
/// else 0; dp = sum dy y / p (sum c^p ln c / sum c^p - ln y).
///
/// features: C. p > 0 is learnable: one number, shared, or one per channel (parameter "p", of shape [1] or
/// [C]); p = 1 is the average, p towards infinity the maximum. Neither overflows nor vanishes for any x and p.
/// Radenovic et al., Fine-tuning CNN Image Retrieval with No Human Annotation, 2018. T is the scalar of the
/// feature maps.
template <class T>
class GeneralizedMeanPool : public PoolCalls<GeneralizedMeanPool<T>>,
                            public StreamCalls<GeneralizedMeanPool<T>> {
  static_assert(Scalar<T>,
                "poolhead: the parameters of a GeneralizedMeanPool are float, double, Eigen::half or "
                "Eigen::bfloat16: write GeneralizedMeanPool<float>(3.0f)");

 public:
  static constexpr std::string_view name = "GeneralizedMeanPool";
  using ParameterScalar = T;
  template <Scalar U>
  struct Cache : detail::WideCache {};

  Eigen::Tensor<T, 1, Eigen::RowMajor> p;                         ///< [1] or [C], above 0
  detail::AccumulatorOf<T> eps = detail::AccumulatorOf<T>(1e-6);  ///< what x is raised to at least; 0 and more

  /// One p for all channels. Throws ValueError unless p > 0 and finite.
  explicit GeneralizedMeanPool(T shared_p = T(3)) : p(1) { fill(shared_p); }
  /// One p for each channel, all starting at initial_p. Throws as above, ShapeError for no channels.
  GeneralizedMeanPool(Index channels, T initial_p) {
    if (channels < 1) detail::fail<ShapeError>(name, ": channels is ", channels, ", expected at least 1");
    p.resize(channels);
    fill(initial_p);
  }

  static constexpr auto parameters() { return std::tuple{detail::Member{"p", &GeneralizedMeanPool::p}}; }

  Index features(Index channels) const { return channels; }

  // The protocol of PoolCalls and StreamCalls.
  void check_parameters(std::string_view call, const FeatureShape& shape) const {
    if (p.size() != 1 && p.size() != shape.channels)
      detail::fail<ShapeError>(name, call, ": x has ", shape.channels, " channels, expected ", p.size(),
                               ", one for each p");
    for (Index c = 0; c < p.size(); ++c) {
      const auto value = static_cast<double>(p(c));
      if (!(value > 0.0 && std::isfinite(value)))
        detail::fail<ValueError>(name, call, ": p is ", value, ", expected a finite number above 0");
    }
    if (!(eps >= 0 && std::isfinite(eps)))
      detail::fail<ValueError>(name, call, ": eps is ", eps, ", expected a finite number from 0 on");
  }
  void prepare(Cache<T>& cache) const { cache.resize(1, true); }
  void check_size(std::string_view call, const Cache<T>& cache) const {
    cache.detail::WideCache::check_size(name, call, 1, true);
  }
  template <class, class X>
  auto inference(const X& x, const Rows<T>& y) const {
    return detail::power_head(kind(), x, y, nullptr);
  }
  template <class, class X>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return detail::power_head(kind(), x, y, cache.planes.data());
  }
  template <class I, class X>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                GeneralizedMeanPool* grad) const {
    return detail::PowerGradient<Kind, X, I>{kind(), x, dy, cache.planes.data(), cache.shares.data(), &grad->p};
  }
  template <class I, class X>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                const NoGradient*) const {
    return detail::PowerGradient<detail::GeneralizedMeanKind<T, false>, X, I>{
        kind<false>(), x, dy, cache.planes.data(), nullptr, nullptr};
  }
  template <Scalar U>
  auto fold() const {
    static_assert(std::same_as<U, T>, "poolhead: a stream's scalar is that of the pool's parameters");
    return detail::PowerFold<Kind, Accumulator<T>, simd::IntOf<Accumulator<T>>>{kind()};
  }

 private:
  using Kind = detail::GeneralizedMeanKind<T>;

  void fill(T value) {
    std::fill_n(p.data(), p.size(), value);
    check_parameters("", FeatureShape{.channels = p.size()});
  }
  template <bool learns = true>
  detail::GeneralizedMeanKind<T, learns> kind() const {
    const bool shared = p.size() == 1;
    const int exponent = shared ? detail::small_exponent<T>(static_cast<double>(p(0))) : 0;
    bool precise = static_cast<double>(eps) < 1e-18;  // x / y could vanish in a float
    for (Index c = 0; c < p.size(); ++c)
      precise = precise || static_cast<double>(p(c)) < detail::least_float_rate;
    return {p.data(), shared, eps, exponent, precise};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
