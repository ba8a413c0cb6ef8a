// What a refused call must leave as it was, and one pool of every kind to call.
#pragma once

#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/message.hpp"

#include <limits>
#include <string>

namespace poolhead::test {

inline constexpr float untouched_value = -77.0f;
inline constexpr Extents usual{2, 8, 3, 4};
inline constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
inline constexpr double infinity = std::numeric_limits<double>::infinity();

using Attention = AttentionPool<float>;
using Gem = GeneralizedMeanPool<float>;
using Lse = LogSumExpPool<float>;
using Spp = SpatialPyramidPool;

/// f(pool) for one pool of every kind, each for 8 channels.
template <class F>
void each_pool(const F& f) {
  f(GlobalAveragePool{});
  f(GlobalMaxPool{});
  f(AverageMaxPool{});
  f(GlobalLpPool(2.5));
  f(Gem(3.0f));
  f(Gem(Index{8}, 2.5f));
  f(Lse(1.0f));
  f(SoftPool{});
  f(Spp({1, 2}));
  f(Spp({1, 2}, Spp::max));
  f(AdaptiveAveragePool(2, 3));
  f(AdaptiveMaxPool(2, 3));
  f(Attention(8, 3));
  f(Attention(8, 3, Attention::sigmoid));
  f(concat(GlobalAveragePool{}, GlobalMaxPool{}, Gem(3.0f), Spp({1, 2})));
  f(AnyPool<float>("max+gem+spp-max:1,2"));
}

inline std::string brackets(std::initializer_list<Index> extents) {
  std::string out;
  for (Index extent : extents) out += (out.empty() ? "[" : ", ") + std::to_string(extent);
  return out + "]";
}
template <class Type>
std::string brackets(const Extents& e) {
  const auto d = Type::dimensions(e);
  return brackets({d[0], d[1], d[2], d[3]});
}

/// One pool's arguments: x, a cache that forward has filled, and y, dx and gradient to watch.
template <class Type, class Pool>
struct Case {
  using T = typename Type::Scalar;

  Pool pool;
  std::string name{Pool::name};
  Map<Type> x, dx;
  Index features;
  RowTensor<T> y, dy;
  decltype(std::declval<const Pool&>().make_cache(std::declval<const Map<Type>&>().view())) cache;
  Pool gradient;

  explicit Case(const Pool& given, const Extents& e = usual)
      : pool(given),
        x(e, noise(1)),
        dx(e, constant(untouched_value)),
        features(given.features(e.c)),
        y(e.n, features),
        dy(make_rows<T>(e.n, features, noise(2))),
        cache(given.make_cache(std::as_const(x).view())),
        gradient(zeros_like(given)) {
    pool.forward(x.view(), y, cache);
    y.setConstant(static_cast<T>(untouched_value));
  }

  bool untouched() const {
    bool same = true;
    for (Index i = 0; i < y.size(); ++i) same = same && y.data()[i] == static_cast<T>(untouched_value);
    for (const T value : dx.values) same = same && value == static_cast<T>(untouched_value);
    visit_parameters(gradient, [&](std::string_view, auto values) {
      for (const auto value : values) same = same && value == T(0);
    });
    return same;
  }

  void infer() { pool.forward(x.view(), y); }
  void forward() { pool.forward(x.view(), y, cache); }
  void backward() { pool.backward(x.view(), y, dy, dx.view(), cache, gradient); }

  template <class Error, class Call>
  void refuses(const std::string& message, const Call& call) {
    CHECK(message_of<Error>(call) == message);
    CHECK(untouched());
  }
  /// call, one of the members above, is refused with name::call: message.
  template <class Error>
  void refuses_infer(const std::string& message) {
    refuses<Error>(name + "::forward: " + message, [&] { infer(); });
  }
  template <class Error>
  void refuses_forward(const std::string& message) {
    refuses<Error>(name + "::forward: " + message, [&] { forward(); });
  }
  template <class Error>
  void refuses_backward(const std::string& message) {
    refuses<Error>(name + "::backward: " + message, [&] { backward(); });
  }
  /// All that looks at x and the parameters.
  template <class Error>
  void refuses_all(const std::string& message) {
    refuses_infer<Error>(message);
    refuses_forward<Error>(message);
    refuses_backward<Error>(message);
    refuses<Error>(name + "::forward: " + message, [&] { static_cast<void>(pool(x.view())); });
    refuses<Error>(name + "::make_cache: " + message, [&] { static_cast<void>(pool.make_cache(x.view())); });
  }
};

template <class Type, class Pool>
Case<Type, Pool> make_case(const Pool& pool, const Extents& e = usual) {
  return Case<Type, Pool>(pool, e);
}

}  // namespace poolhead::test
