// The whole Jacobian of every pool, in double: of every output for every element of x and every parameter.
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/jacobian.hpp"
#include "support/pool_check.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

constexpr double linear = 1e-8;
constexpr double smooth = 1e-6;

/// x in steps of 0.01 with a little noise, in an order that shuffles: nothing ties, and no kink at 0 or at eps
/// is nearer than the step.
auto spread(double offset = 0) {
  return [=](Index n, Index c, Index s) {
    const auto place = static_cast<double>((7 * s + 5 * c + 3 * n) % 61 - 30);
    return offset + 0.05 * (place + 0.5) + 0.01 * noise(1)(n, c, s);
  };
}

/// The errors of dx and of each parameter's gradient, over `view(x)`: x itself, or masked.
template <class Type, class Pool, class View>
void check_jacobian(const Pool& pool, const Extents& e, double bound, View view, double offset = 0) {
  CAPTURE(e, std::string(Pool::name));
  Pool moved = pool;
  Map<Type> x(e, spread(offset));
  RowTensor<double> y(e.n, pool.features(e.c));
  auto cache = pool.make_cache(view(x));
  const auto forward = [&] {
    moved.forward(view(x), y, cache);
    return std::vector<double>(y.data(), y.data() + y.size());
  };
  Map<Type> dx(e);
  const auto backward = [&](const std::vector<double>& dy) {
    const Eigen::TensorMap<const RowTensor<double>> rows(dy.data(), y.dimension(0), y.dimension(1));
    Pool gradient = ph::zeros_like(moved);
    moved.backward(view(x), y, rows, dx.view(), cache, gradient);
    return gradient;
  };
  CHECK(jacobian_error(x.values, forward, [&](const std::vector<double>& dy) {
          backward(dy);
          return dx.values;
        }) <= bound);
  ph::visit_parameters(moved, [&](std::string_view name, auto values) {
    CAPTURE(std::string(name));
    CHECK(jacobian_error(std::span<double>(values.data(), values.size()), forward,
                         [&](const std::vector<double>& dy) {
                           const Pool gradient = backward(dy);
                           std::vector<double> own;
                           ph::visit_parameters(gradient, [&](std::string_view other, auto numbers) {
                             if (other == name) own.assign(numbers.begin(), numbers.end());
                           });
                           return own;
                         }) <= bound);
  });
}

template <class Type, class Pool>
void check_plain(const Pool& pool, const Extents& e, double bound, double offset = 0) {
  check_jacobian<Type>(
      pool, e, bound, [](const auto& x) { return x.view(); }, offset);
}
template <class Type, class Pool>
void check_masked(const Pool& pool, const Extents& e, double bound, double offset = 0) {
  const RowTensor<bool> mask = [&] {
    RowTensor<bool> valid(e.n, e.positions());
    for (Index n = 0; n < e.n; ++n)
      for (Index s = 0; s < e.positions(); ++s) valid(n, s) = hash(2, n, 0, s) % 3 != 0 || s == n;
    return valid;
  }();
  check_jacobian<Type>(
      pool, e, bound, [&](const auto& x) { return ph::masked(x.view(), mask); }, offset);
}
template <class Type, class Pool>
void check_both(const Pool& pool, const Extents& e, double bound, double offset = 0) {
  check_plain<Type>(pool, e, bound, offset);
  check_masked<Type>(pool, e, bound, offset);
}

ph::GeneralizedMeanPool<double> gem_of_channels(Index channels) {
  ph::GeneralizedMeanPool<double> pool(channels, 1.0);
  for (Index c = 0; c < channels; ++c) pool.p(c) = 0.6 + 0.7 * static_cast<double>(c);
  return pool;
}
ph::AttentionPool<double> attention(Index channels, Index hidden, ph::AttentionPool<double>::Kind kind) {
  ph::AttentionPool<double> pool(channels, hidden, kind, 4);
  for (Index j = 0; j < hidden; ++j) pool.hidden.bias(j) = 0.3 * noise(3)(0, 0, j);
  pool.score.bias(0) = -0.4;
  return pool;
}

}  // namespace

TEMPLATE_PRODUCT_TEST_CASE("the Jacobian of linear pools", "[pool][jacobian]", (Nchw, Nhwc), (double)) {
  for (const Extents& e : {Extents{2, 3, 3, 4}, {1, 9, 1, 5}, {1, 2, 2, 9}, {1, 1, 1, 1}}) {
    check_both<TestType>(ph::GlobalAveragePool{}, e, linear);
    check_both<TestType>(ph::GlobalMaxPool{}, e, linear);
    check_both<TestType>(ph::AverageMaxPool{}, e, linear);
    check_plain<TestType>(ph::SpatialPyramidPool({1, 2, 4}), e, linear);
    check_plain<TestType>(ph::SpatialPyramidPool({2, 3}, ph::SpatialPyramidPool::max), e, linear);
    check_plain<TestType>(ph::AdaptiveAveragePool(2, 3), e, linear);
    check_plain<TestType>(ph::AdaptiveMaxPool(3, 2), e, linear);
  }
}

TEMPLATE_PRODUCT_TEST_CASE("the Jacobian of powers, p too", "[pool][jacobian]", (Nchw, Nhwc), (double)) {
  for (const Extents& e : {Extents{2, 3, 3, 4}, {1, 9, 1, 5}, {1, 1, 1, 1}}) {
    for (const double p : {1.5, 2.0, 3.7, 8.0}) check_both<TestType>(ph::GlobalLpPool(p), e, smooth, 0.4);
    for (const double p : {0.5, 1.0, 2.0, 3.0, 8.0}) {
      check_both<TestType>(ph::GeneralizedMeanPool<double>(p), e, smooth, 2);
      // Half of the elements below eps.
      auto pool = ph::GeneralizedMeanPool<double>(p);
      pool.eps = 0.2;
      check_both<TestType>(pool, e, smooth, 0.2);
    }
    check_both<TestType>(gem_of_channels(e.c), e, smooth, 2);
  }
}

TEMPLATE_PRODUCT_TEST_CASE("the Jacobian of exponentials, r too", "[pool][jacobian]", (Nchw, Nhwc), (double)) {
  for (const Extents& e : {Extents{2, 3, 3, 4}, {1, 9, 1, 5}, {1, 1, 1, 1}}) {
    for (const double r : {0.5, 1.0, 6.0}) check_both<TestType>(ph::LogSumExpPool<double>(r), e, smooth);
    check_both<TestType>(ph::SoftPool{}, e, smooth);
    check_both<TestType>(ph::SoftPool{}, e, smooth, 700);
  }
}

TEMPLATE_PRODUCT_TEST_CASE("the Jacobian of attention, all four parameters too", "[pool][jacobian]",
                           (Nchw, Nhwc), (double)) {
  using Attention = ph::AttentionPool<double>;
  for (const auto kind : {Attention::softmax, Attention::sigmoid})
    for (const auto& [e, hidden] : {std::pair{Extents{2, 3, 3, 4}, 4}, {{1, 9, 1, 5}, 2}, {{3, 2, 1, 7}, 1}}) {
      check_both<TestType>(attention(e.c, hidden, kind), e, smooth);
      auto low = attention(e.c, hidden, kind);
      low.score.bias(0) = -200;
      check_plain<TestType>(low, e, smooth);
    }
}

TEMPLATE_PRODUCT_TEST_CASE("the Jacobian of many heads in one pass", "[pool][jacobian]", (Nchw, Nhwc),
                           (double)) {
  using Attention = ph::AttentionPool<double>;
  const Extents e{2, 3, 3, 4};
  check_plain<TestType>(ph::concat(ph::GlobalAveragePool{}, gem_of_channels(3), ph::GlobalMaxPool{},
                                   ph::SpatialPyramidPool({1, 2}), ph::LogSumExpPool<double>(2.0),
                                   attention(3, 2, Attention::softmax), ph::SoftPool{}),
                        e, smooth, 2);
  check_masked<TestType>(ph::concat(ph::GlobalAveragePool{}, gem_of_channels(3), ph::GlobalMaxPool{},
                                    ph::LogSumExpPool<double>(2.0), attention(3, 2, Attention::sigmoid)),
                         e, smooth, 2);
}
