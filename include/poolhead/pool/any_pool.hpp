// A pool chosen at run time, by name.
#pragma once

#include "poolhead/pool/adaptive.hpp"
#include "poolhead/pool/attention.hpp"
#include "poolhead/pool/average_max.hpp"
#include "poolhead/pool/generalized_mean.hpp"
#include "poolhead/pool/global_lp.hpp"
#include "poolhead/pool/log_sum_exp.hpp"
#include "poolhead/pool/pool_text.hpp"
#include "poolhead/pool/soft.hpp"
#include "poolhead/pool/spatial_pyramid.hpp"

#include <variant>

namespace poolhead::inline POOLHEAD_ISA {

/// A pool, or several side by side, chosen by a text: "gem", "lp:3", "spp:1,2,4", "avg+max",
/// "avg+gem:3,channels". The names and their options are those of pool_names(). Attention, and one p per
/// channel, need the number of channels.
///
/// It is a pool like any other, for feature maps of T; features, parameters (of several heads prefixed by the
/// head's index) and results are those of the pools it names, and of their concat. Heads run one after another:
/// where the choice is known at compile time, concat() reads x only once.
template <class T = float>
class AnyPool : public PoolCalls<AnyPool<T>> {
  static_assert(Scalar<T>, "poolhead: AnyPool's maps hold float, double, Eigen::half or Eigen::bfloat16");

  template <class... Pools>
  struct Choice {
    using Head = std::variant<Pools...>;
    template <class U>
    using HeadCache = std::variant<typename Pools::template Cache<U>...>;
  };
  using Choices = Choice<GlobalAveragePool, GlobalMaxPool, AverageMaxPool, GlobalLpPool, GeneralizedMeanPool<T>,
                         LogSumExpPool<T>, SoftPool, SpatialPyramidPool, AdaptiveAveragePool, AdaptiveMaxPool,
                         AttentionPool<T>>;

 public:
  static constexpr std::string_view name = "AnyPool";
  static constexpr bool is_composition = true;
  using ParameterScalar = T;
  using Head = typename Choices::Head;
  template <Scalar U>
  struct Cache : PoolCache {
    std::vector<typename Choices::template HeadCache<U>> heads;
  };

  std::vector<Head> heads;

  /// Throws ValueError for a text that names no pool, for options out of place, and where the number of
  /// channels is needed and not given. seed: of attention's first weights.
  explicit AnyPool(std::string_view text, Index channels = 0, std::uint64_t seed = 0) {
    for (std::string_view rest = text;;) {
      const std::size_t plus = rest.find('+');
      heads.push_back(parse(detail::PoolText(rest.substr(0, plus)), channels, seed + heads.size()));
      if (plus == std::string_view::npos) break;
      rest.remove_prefix(plus + 1);
    }
  }

  Index features(Index channels) const {
    Index sum = 0;
    for (const Head& head : heads) sum += features_of(head, channels);
    return sum;
  }

  /// Hands every head to f, named by its index where there are several; see visit_parameters.
  template <class F, class First, class... Others>
  static void visit_parts(const F& f, First& first, Others&... others) {
    for (std::size_t i = 0; i < first.heads.size(); ++i) {
      const std::string part = first.heads.size() == 1 ? std::string() : std::to_string(i);
      std::visit(
          [&](auto& head) {
            f(std::string_view(part), head, std::get<std::remove_cvref_t<decltype(head)>>(others.heads[i])...);
          },
          first.heads[i]);
    }
  }

  // The protocol of PoolCalls.
  void check_parameters(std::string_view call, const FeatureShape& shape) const {
    for (const Head& head : heads)
      std::visit([&](const auto& pool) { pool.check_parameters(call, shape); }, head);
  }
  void prepare(Cache<T>& cache) const {
    for (const Head& head : heads) {
      std::visit(
          [&](const auto& pool) {
            using HeadCache = typename std::remove_cvref_t<decltype(pool)>::template Cache<T>;
            cache.heads.emplace_back(HeadCache());
            HeadCache& own = std::get<HeadCache>(cache.heads.back());
            own.shape = cache.shape;
            pool.prepare(own);
          },
          head);
    }
  }
  void check_size(std::string_view call, const Cache<T>& cache) const {
    bool same = cache.heads.size() == heads.size();
    for (std::size_t i = 0; same && i < heads.size(); ++i) same = cache.heads[i].index() == heads[i].index();
    if (!same) detail::fail<ValueError>(name, call, ": the cache was made for other heads");
    each(cache, [&](const auto& pool, const auto& own, Index) {
      if (own.shape != cache.shape)
        detail::fail<ValueError>(name, call, ": the cache of a head is of another shape than the whole");
      pool.check_size(call, own);
    });
  }
  void check_contents(const Cache<T>& cache) const {
    each(cache, [&](const auto& pool, const auto& own, Index) {
      detail::check_filled(pool.name, own.filled);
      pool.check_contents(own);
    });
  }
  void check_gradient(const AnyPool& gradient) const {
    bool same = gradient.heads.size() == heads.size();
    for (std::size_t i = 0; same && i < heads.size(); ++i) same = gradient.heads[i].index() == heads[i].index();
    if (!same) detail::fail<ValueError>(name, "::backward: the gradient is of other heads");
    PoolCalls<AnyPool>::check_gradient(gradient);
  }
  /// Before any head has run.
  template <bool masked>
  void check_takes_mask() const {
    if constexpr (masked) {
      for (const Head& head : heads) {
        std::visit(
            [](const auto& pool) {
              if (!pool.takes_mask) detail::fail<ValueError>(name, ": ", pool.name, " takes no mask");
            },
            head);
      }
    }
  }
  template <class I, class X>
  auto inference(const X&, const Rows<T>& y) const {
    return Forward{*this, y, nullptr};
  }
  template <class I, class X>
  auto training(const X&, const Rows<T>& y, Cache<T>& cache) const {
    return Forward{*this, y, &cache};
  }
  template <class I, class X>
  auto gradient(const X&, const Rows<const T>& y, const Rows<const T>& dy, const Cache<T>& cache,
                AnyPool* grad) const {
    return Backward<AnyPool>{*this, y, dy, cache, grad};
  }
  template <class I, class X>
  auto gradient(const X&, const Rows<const T>& y, const Rows<const T>& dy, const Cache<T>& cache,
                const NoGradient* fixed) const {
    return Backward<const NoGradient>{*this, y, dy, cache, fixed};
  }

 private:
  struct Forward {
    const AnyPool& pool;
    Rows<T> y;
    Cache<T>* cache;

    template <class X, class D>
    void run(const X& x, const D& device) const {
      if (cache == nullptr) {
        Index first = 0;
        for (const Head& head : pool.heads) {
          const Index count = features_of(head, x.channels());
          std::visit(
              [&](const auto& one) {
                with_head(one, x, [&]<class I>(I) {
                  detail::run_forward(x, one.template inference<I>(x, y.columns(first, count)), device);
                });
              },
              head);
          first += count;
        }
        return;
      }
      pool.each(*cache, [&](const auto& one, auto& own, Index first) {
        with_head(one, x, [&]<class I>(I) {
          const auto columns = y.columns(first, one.features(x.channels()));
          detail::run_forward(x, one.template training<I>(x, columns, own), device);
        });
        one.set_filled(own);
      });
    }
  };

  /// G: AnyPool, or NoGradient where the parameters are fixed.
  template <class G>
  struct Backward {
    const AnyPool& pool;
    Rows<const T> y, dy;
    const Cache<T>& cache;
    G* grad;

    template <class X, class DX, class D>
    void run(const X& x, const DX& dx, bool adds, const D& device) const {
      std::size_t i = 0;
      pool.each(cache, [&](const auto& one, const auto& own, Index first) {
        with_head(one, x, [&]<class I>(I) {
          const Index count = one.features(x.channels());
          const auto gradient = [&] {
            if constexpr (std::same_as<G, AnyPool>)
              return &std::get<std::remove_cvref_t<decltype(one)>>(grad->heads[i]);
            else
              return detail::gradient_of(one, grad);
          }();
          const auto head =
              one.template gradient<I>(x, y.columns(first, count), dy.columns(first, count), own, gradient);
          if (adds || i > 0)
            detail::run_backward<I, true>(x, dx, head, device);
          else
            detail::run_backward<I>(x, dx, head, device);
        });
        ++i;
      });
    }
  };

  /// f with the lane type of positions that the head needs.
  template <class P, class X, class F>
  static void with_head(const P&, const X& x, const F& f) {
    if constexpr (detail::is_masked<X> && !P::takes_mask)
      detail::fail<ValueError>(name, ": ", P::name, " takes no mask");
    else
      detail::with_positions<P>(x, f);
  }

  static Index features_of(const Head& head, Index channels) {
    return std::visit([&](const auto& pool) { return pool.features(channels); }, head);
  }

  /// f(head, its cache, its first column).
  template <class C, class F>
  void each(C& cache, const F& f) const {
    Index first = 0;
    for (std::size_t i = 0; i < heads.size(); ++i) {
      std::visit(
          [&](const auto& pool) {
            using HeadCache = typename std::remove_cvref_t<decltype(pool)>::template Cache<T>;
            f(pool, std::get<HeadCache>(cache.heads[i]), first);
          },
          heads[i]);
      first += features_of(heads[i], cache.shape.channels);
    }
  }

  static T narrow(double value) { return static_cast<T>(static_cast<Accumulator<T>>(value)); }

  static Head parse(const detail::PoolText& text, Index channels, std::uint64_t seed) {
    const std::string_view which = text.name();
    if (which == "avg" || which == "max" || which == "avgmax" || which == "soft") {
      text.check_count(0, 0);
      if (which == "avg") return GlobalAveragePool{};
      if (which == "max") return GlobalMaxPool{};
      if (which == "soft") return SoftPool{};
      return AverageMaxPool{};
    }
    if (which == "lp" || which == "lse") {
      text.check_count(0, 1);
      if (which == "lp") return GlobalLpPool(text.number(0, 2.0));
      return LogSumExpPool<T>(narrow(text.number(0, 1.0)));
    }
    if (which == "gem") {
      text.check_count(0, 2);
      const T p = narrow(text.number(0, 3.0));
      if (text.count() < 2) return GeneralizedMeanPool<T>(p);
      if (text.option(1) != "channels")
        detail::fail<ValueError>("AnyPool: gem's second option is \"", text.option(1),
                                 "\", expected \"channels\"");
      text.check_channels(channels);
      return GeneralizedMeanPool<T>(channels, p);
    }
    if (which == "spp" || which == "spp-max") {
      std::vector<Index> levels;
      for (std::size_t i = 0; i < text.count(); ++i) levels.push_back(text.number(i, Index{0}));
      if (levels.empty()) levels = {1, 2, 4};
      return SpatialPyramidPool(levels, which == "spp" ? SpatialPyramidPool::average : SpatialPyramidPool::max);
    }
    if (which == "adaptive-avg" || which == "adaptive-max") {
      text.check_count(2, 2);
      const Index height = text.number(0, Index{0});
      const Index width = text.number(1, Index{0});
      if (which == "adaptive-avg") return AdaptiveAveragePool(height, width);
      return AdaptiveMaxPool(height, width);
    }
    if (which == "softmax-attention" || which == "sigmoid-attention") {
      text.check_count(0, 1);
      text.check_channels(channels);
      const Index hidden = text.number(0, std::max<Index>(channels / 16, 1));
      const auto kind = which == "softmax-attention" ? AttentionPool<T>::softmax : AttentionPool<T>::sigmoid;
      return AttentionPool<T>(channels, hidden, kind, seed);
    }
    detail::fail_unknown_pool(which);
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
