// A head chosen at run time: what closes a stack of convolutions, feature maps to rows.
#pragma once

#include "poolhead/nn/attention_head.hpp"
#include "poolhead/nn/flatten.hpp"
#include "poolhead/nn/improved_spp.hpp"
#include "poolhead/pool/concat.hpp"
#include "poolhead/pool/generalized_mean.hpp"
#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/global_max.hpp"
#include "poolhead/pool/log_sum_exp.hpp"
#include "poolhead/pool/soft.hpp"

#include <variant>

namespace poolhead::inline POOLHEAD_ISA {

/// Which head, and what it may need.
struct HeadOptions {
  std::string pool = "avg";            ///< one of head_names()
  std::vector<Index> levels{1, 2, 4};  ///< spp, improved-spp
  bool max_bins = false;               ///< spp: maxima instead of averages
  Index out_features = 256;            ///< improved-spp
  Index attention_hidden = 0;          ///< 0: channels / 16 of softmax, channels / 8 of sigmoid, at least 1
  Index height = 1, width = 1;         ///< flatten: of the maps
  Index hidden = 4096;                 ///< flatten: what its dense layer makes
};

/// The names that HeadOptions::pool takes.
inline std::span<const std::string_view> head_names() {
  static constexpr std::string_view names[] = {"avg",
                                               "max",
                                               "mixed",
                                               "gem",
                                               "lse",
                                               "soft",
                                               "spp",
                                               "improved-spp",
                                               "softmax-attention",
                                               "sigmoid-attention",
                                               "flatten"};
  return names;
}

/// avg, max, mixed (avg then max), gem (p = 3, one for all channels), lse (r = 1), soft, spp, improved-spp,
/// softmax-attention, sigmoid-attention, or flatten, the dense layer on all elements that global pools
/// replaced. A layer like any other; a network that holds one is one type whatever its head. Parameters: p; r;
/// attention.0, attention.2 (see AttentionHead); level_projections.i.0 (see ImprovedSpp); fc (flatten).
template <std::floating_point T>
class AnyHead {
  using Mixed = ConcatPool<GlobalAveragePool, GlobalMaxPool>;
  using DenseHead = Sequential<Flatten, Named<"fc", Dense<T>>>;

 public:
  static constexpr std::string_view name = "AnyHead";
  static constexpr bool is_composition = true;
  using Head = std::variant<GlobalAveragePool, GlobalMaxPool, Mixed, GeneralizedMeanPool<T>, LogSumExpPool<T>,
                            SoftPool, SpatialPyramidPool, ImprovedSpp<T>, AttentionHead<T>, DenseHead>;

  Head head;

  /// For maps of so many channels. Throws ValueError for a name that is none or sizes below 1.
  explicit AnyHead(const HeadOptions& options, Index channels, std::uint64_t seed = 0)
      : head(make(options, channels, seed)) {}

  /// Features of each row, for maps of so many channels.
  Index features(Index channels) const {
    FeatureShape shape;
    shape.batch = 1;
    shape.channels = channels;
    if (const auto* const dense = std::get_if<DenseHead>(&head))
      return std::get<1>(dense->parts).out_features();
    return output_shape(FeatureMap<T, ChannelsFirst>(nullptr, shape)).features();
  }

  template <class X>
  struct Cache : detail::LayerCache<X> {
    template <class L>
    using CacheOf = decltype(detail::make_cache(std::declval<const L&>(), std::declval<const X&>(), Mode{}));
    std::variant<CacheOf<GlobalAveragePool>, CacheOf<GlobalMaxPool>, CacheOf<Mixed>,
                 CacheOf<GeneralizedMeanPool<T>>, CacheOf<LogSumExpPool<T>>, CacheOf<SoftPool>,
                 CacheOf<SpatialPyramidPool>, CacheOf<ImprovedSpp<T>>, CacheOf<AttentionHead<T>>,
                 CacheOf<DenseHead>>
        head;
  };

  template <class F, class First, class... Others>
  static void visit_parts(const F& f, First& first, Others&... others) {
    std::visit(
        [&](auto& own) {
          f(std::string_view(), own, std::get<std::remove_cvref_t<decltype(own)>>(others.head)...);
        },
        first.head);
  }

  template <class X>
  Rows<T> output_shape(const X& x) const {
    return std::visit([&](const auto& own) { return Rows<T>(own.output_shape(detail::shape_of(x))); }, head);
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    using Shape = decltype(detail::shape_of(x));
    return std::visit(
        [&](const auto& own) {
          return Cache<Shape>{{detail::shape_of(x)}, detail::make_cache(own, detail::shape_of(x), mode)};
        },
        head);
  }

  // Defined below, not here: a program may instantiate them once, in a unit of their own (extern template).
  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const;
  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, AnyHead& gradient,
                const D& device = D{}) const;

 private:
  static Head make(const HeadOptions& options, Index channels, std::uint64_t seed) {
    const std::string_view pool = options.pool;
    if (channels < 1) detail::fail<ValueError>(name, ": channels is ", channels, ", expected at least 1");
    if (pool == "avg") return GlobalAveragePool{};
    if (pool == "max") return GlobalMaxPool{};
    if (pool == "mixed") return Mixed{GlobalAveragePool{}, GlobalMaxPool{}};
    if (pool == "gem") return GeneralizedMeanPool<T>(T(3));
    if (pool == "lse") return LogSumExpPool<T>(T(1));
    if (pool == "soft") return SoftPool{};
    if (pool == "spp")
      return SpatialPyramidPool(options.levels,
                                options.max_bins ? SpatialPyramidPool::max : SpatialPyramidPool::average);
    if (pool == "improved-spp") return ImprovedSpp<T>(channels, options.out_features, options.levels, seed);
    if (pool == "softmax-attention" || pool == "sigmoid-attention") {
      const bool softmax = pool == "softmax-attention";
      const Index hidden = options.attention_hidden != 0 ? options.attention_hidden
                                                         : std::max<Index>(channels / (softmax ? 16 : 8), 1);
      return AttentionHead<T>(channels, hidden, softmax ? AttentionPool<T>::softmax : AttentionPool<T>::sigmoid,
                              seed);
    }
    if (pool == "flatten") {
      return sequential(Flatten{},
                        named<"fc">(Dense<T>(channels * options.height * options.width, options.hidden, seed)));
    }
    std::string names;
    for (const std::string_view known : head_names()) names.append(names.empty() ? "" : ", ").append(known);
    detail::fail<ValueError>(name, ": there is no head \"", pool, "\", expected one of ", names);
  }
};

template <std::floating_point T>
template <class X, class Y, class C, Device D>
void AnyHead<T>::forward(const X& x, const Y& y, C& cache, const D& device) const {
  detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
  std::visit(
      [&]<class Own>(const Own& own) {
        own.forward(x, y, std::get<typename C::template CacheOf<Own>>(cache.head), device);
      },
      head);
  cache.filled = true;
}

template <std::floating_point T>
template <class X, class Y, class DY, class DX, class C, Device D>
void AnyHead<T>::backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, AnyHead& gradient,
                          const D& device) const {
  detail::check_layer_backward(name, cache, x, y, dy, dx);
  std::visit(
      [&]<class Own>(const Own& own) {
        own.backward(x, y, dy, dx, std::get<typename C::template CacheOf<Own>>(cache.head),
                     std::get<Own>(gradient.head), device);
      },
      head);
}

}  // namespace poolhead::inline POOLHEAD_ISA
