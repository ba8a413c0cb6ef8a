// Global Lp pooling.
#pragma once

#include "poolhead/pool/power_gradient.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <Scalar T>
struct LpKind {
  using A = Accumulator<T>;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  static constexpr bool averages = false;
  static constexpr bool learnable = false;

  double p;
  int exponent;
  static constexpr bool precise = false;  // p is at least 1

  template <class Lanes>
  POOLHEAD_INLINE simd::Doubles<N> rate(const Lanes&, Index) const {
    return simd::splat<double, N>(p);
  }
  double shared_rate() const { return p; }
  POOLHEAD_INLINE V base(const V& x) const { return simd::abs(x); }
  POOLHEAD_INLINE V base(const V& x, const V& lower) const { return simd::max(simd::abs(x), lower); }
  A least(A number) const { return number; }
  POOLHEAD_INLINE auto passes(const V& x) const { return ~is_zero(x); }
  POOLHEAD_INLINE V gradient(const V& value, const V& x) const {
    const auto signed_value = simd::bit_cast<A>(simd::bit_cast<simd::IntOf<A>>(value) ^ simd::sign_bits(x));
    return simd::select(is_zero(x), simd::zero<V>(), signed_value);
  }

 private:
  POOLHEAD_INLINE static auto is_zero(const V& x) {
    // By the bits, which is one instruction with AVX-512: comparing denormal numbers takes long.
    if constexpr (simd::register_bytes == 64) {
      const auto bits = simd::bit_cast<simd::IntOf<A>>(simd::abs(x));
      return bits == simd::zero<decltype(bits)>();
    } else {
      return x == simd::zero<V>();
    }
  }
};

}  // namespace detail

/// y = (sum over positions of abs(x)^p)^(1/p);   dx = dy sign(x) (abs(x) / y)^(p - 1), 0 where y = 0.
///
/// features: C. p >= 1 is any real number, and no parameter; p = 2 is the Euclidean norm. Neither overflows nor
/// vanishes where y itself does not. ONNX GlobalLpPool; Gulcehre et al., Learned-Norm Pooling, 2014.
class GlobalLpPool : public PoolCalls<GlobalLpPool>, public StreamCalls<GlobalLpPool> {
 public:
  static constexpr std::string_view name = "GlobalLpPool";
  template <Scalar T>
  struct Cache : detail::WideCache {};

  double p;  ///< at least 1

  /// Throws ValueError unless p >= 1 and finite.
  explicit GlobalLpPool(double norm = 2.0) : p(norm) { check_parameters("", {}); }

  Index features(Index channels) const { return channels; }

  // The protocol of PoolCalls and StreamCalls.
  void check_parameters(std::string_view call, const FeatureShape&) const {
    if (!(p >= 1.0 && std::isfinite(p)))
      detail::fail<ValueError>(name, call, ": p is ", p, ", expected a finite number from 1 on");
  }
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    cache.resize(1, false);
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    cache.detail::WideCache::check_size(name, call, 1, false);
  }
  template <class, class X>
  auto inference(const X& x, const Rows<typename X::Scalar>& y) const {
    return detail::power_head(kind<typename X::Scalar>(), x, y, nullptr);
  }
  template <class, class X, Scalar T>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return detail::power_head(kind<T>(), x, y, cache.planes.data());
  }
  template <class I, class X, Scalar T>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                GlobalLpPool*) const {
    return detail::PowerGradient<detail::LpKind<T>, X, I>{kind<T>(),           x,       dy,
                                                          cache.planes.data(), nullptr, nullptr};
  }
  template <Scalar T>
  auto fold() const {
    return detail::PowerFold<detail::LpKind<T>, Accumulator<T>, simd::IntOf<Accumulator<T>>>{kind<T>()};
  }

 private:
  template <Scalar T>
  detail::LpKind<T> kind() const {
    return {p, detail::small_exponent<T>(p)};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
