// Compositions: names, sharing of memory, gradients, layouts, copies.
#define EIGEN_USE_THREADS

#include <poolhead/poolhead.hpp>

#include <set>

#include "support/catch.hpp"
#include "support/jacobian.hpp"
#include "support/layer.hpp"
#include "support/message.hpp"

using namespace poolhead;
using namespace poolhead::test;

static_assert(Layer<Conv2d<float>>);
static_assert(Layer<MaxPool2d>);
static_assert(Layer<ReLU>);
static_assert(Layer<ReLU, Rows<const float>>);
static_assert(Layer<Dense<float>, Rows<const float>>);
static_assert(Layer<GlobalAveragePool>);
static_assert(Layer<decltype(concat(GlobalAveragePool{}, GlobalMaxPool{}))>);
static_assert(Layer<decltype(four_head_basic<float>())>);
static_assert(Layer<decltype(four_head_basic<double>()), FeatureMap<const double, ChannelsFirst>>);

namespace {

/// The structure of four-head-basic, small enough for a whole Jacobian, with one branch of another geometry.
template <class T>
auto small_network() {
  auto network = sequential(
      named<"stem">(sequential(Conv2d<T>(2, 3, 3, {.padding = 1}), ReLU{}, MaxPool2d(2))),
      unprefixed(
          concat(unprefixed(sequential(named<"a">(sequential(Conv2d<T>(3, 4, 3, {.padding = 1}), ReLU{})),
                                       GlobalMaxPool{})),
                 unprefixed(sequential(named<"b">(Conv2d<T>(3, 2, 3, {.padding = 0})), GlobalAveragePool{})),
                 unprefixed(sequential(named<"c">(Conv2d<T>(3, 3, 3, {.padding = 1})),
                                       concat(GlobalAveragePool{}, GlobalMaxPool{}))))),
      named<"fc">(sequential(Dense<T>(12, 5), ReLU{}, Dense<T>(5, 3))));
  initialise(network, LinearUniform{}, 7);
  return network;
}

template <class Value>
std::vector<std::string> names(const Value& value) {
  std::vector<std::string> out;
  visit_parameters(value, [&](std::string_view name, auto) { out.emplace_back(name); });
  return out;
}

}  // namespace

TEST_CASE("four-head-basic has the names and shapes of the document's module", "[network]") {
  auto network = four_head_basic<float>({.in_channels = 3, .num_classes = 7});
  std::vector<std::string> found;
  visit_parameters(network, [&](std::string_view name, auto values) {
    found.push_back(detail::message(name, " ", values.shape()));
  });
  CHECK(found == std::vector<std::string>{"conv_layers.0.weight [32, 3, 3, 3]", "conv_layers.0.bias [32]",
                                          "conv_layers.3.weight [64, 32, 3, 3]", "conv_layers.3.bias [64]",
                                          "branch1_conv.0.weight [128, 64, 3, 3]", "branch1_conv.0.bias [128]",
                                          "branch2_conv.weight [128, 64, 3, 3]", "branch2_conv.bias [128]",
                                          "branch3_conv.weight [128, 64, 3, 3]", "branch3_conv.bias [128]",
                                          "branch4_conv.weight [128, 64, 3, 3]", "branch4_conv.bias [128]",
                                          "fc.0.weight [256, 512]", "fc.0.bias [256]", "fc.2.weight [7, 256]",
                                          "fc.2.bias [7]"});
  CHECK(parameter_count(network) == 896 + 18496 + 4 * 73856 + 131328 + 1799);
  CHECK(names(std::as_const(network)) == names(network));
}

TEMPLATE_TEST_CASE("a network's gradients are its Jacobian", "[network]", ChannelsFirst, ChannelsLast) {
  auto network = small_network<double>();
  Image<double, TestType> x(2, 2, 6, 6, 4);
  const auto forward = [&] {
    Run run(network, std::as_const(x).view());
    run.forward();
    return run.y_values;
  };
  const auto backward = [&](const std::vector<double>& dy) {
    Run run(network, std::as_const(x).view());
    run.forward();
    run.dy_values = dy;
    network.backward(run.x, run.y(), run.dy(), run.dx(), run.cache, run.gradient);
    return run;
  };
  CHECK(jacobian_error(std::span(x.values), forward, [&](const auto& dy) { return backward(dy).dx_values; }) <
        1e-8);
  visit_parameters(network, [&](std::string_view name, auto values) {
    INFO(name);
    CHECK(jacobian_error(std::span(values.data(), values.size()), forward, [&](const auto& dy) {
            const auto run = backward(dy);
            std::vector<double> out;
            visit_parameters(run.gradient, [&](std::string_view another, auto gradient) {
              if (another == name) out.assign(gradient.begin(), gradient.end());
            });
            return out;
          }) < 1e-8);
  });
}

TEST_CASE("a network gives the same answers in both layouts", "[network]") {
  const auto network = four_head_basic<double>({.in_channels = 2, .num_classes = 5}, 3);
  const Image<double, ChannelsFirst> x_first(3, 2, 11, 9, 5);
  const Image<double, ChannelsLast> x_last(3, 2, 11, 9, 5);
  Run a(network, x_first.view());
  Run b(network, x_last.view());
  a.forward();
  b.forward();
  a.backward();
  b.backward();
  const auto close = [](const std::vector<double>& u, const std::vector<double>& v) {
    REQUIRE(u.size() == v.size());
    double worst = 0.0;
    for (std::size_t i = 0; i < u.size(); ++i) worst = std::max(worst, std::abs(u[i] - v[i]));
    return worst;
  };
  CHECK(close(logical(a.y()), logical(b.y())) < 1e-13);
  CHECK(close(logical(a.dx()), logical(b.dx())) < 1e-13);
  CHECK(close(all_parameters(a.gradient), all_parameters(b.gradient)) < 1e-12);
}

TEMPLATE_TEST_CASE("branches give together what they give alone", "[network]", ChannelsFirst, ChannelsLast) {
  // The same branches run alone, and their gradients added by hand.
  const Conv2d<double> first(3, 4, 3, {.padding = 1}, 1);
  const Conv2d<double> second(3, 2, 3, {.padding = 1}, 2);
  const auto joined =
      concat(sequential(first, GlobalAveragePool{}), sequential(second, ReLU{}, GlobalMaxPool{}));
  const Image<double, TestType> x(3, 3, 5, 4, 8);
  Run together(joined, x.view());
  together.forward();
  together.backward();

  // Without backward, branches take turns in the thread's memory.
  const auto cache = joined.make_cache(x.view(), Mode::inference);
  CHECK(std::get<0>(cache.branches).activations.size() == 0);
  CHECK(std::get<1>(cache.branches).activations.size() == 0);

  Run a(sequential(first, GlobalAveragePool{}), x.view());
  Run b(sequential(second, ReLU{}, GlobalMaxPool{}), x.view());
  a.forward();
  b.forward();
  for (Index n = 0; n < 3; ++n) {
    for (Index f = 0; f < 6; ++f) {
      CHECK(together.y()(n, f) == (f < 4 ? a.y()(n, f) : b.y()(n, f - 4)));
      (f < 4 ? a.dy()(n, f) : b.dy()(n, f - 4)) = together.dy()(n, f);
    }
  }
  a.layer.backward(a.x, a.y(), a.dy(), a.dx(), a.cache, a.gradient);
  b.layer.backward(b.x, b.y(), b.dy(), b.dx(), b.cache, b.gradient);
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    REQUIRE(std::abs(together.dx_values[i] - (a.dx_values[i] + b.dx_values[i])) < 1e-15);
  }
  auto expected = all_parameters(a.gradient);
  const auto rest = all_parameters(b.gradient);
  expected.insert(expected.end(), rest.begin(), rest.end());
  CHECK(all_parameters(together.gradient) == expected);
}

TEMPLATE_TEST_CASE("a network's results are the same bits on any number of threads", "[network][threads]",
                   ChannelsFirst, ChannelsLast) {
  const auto network = four_head_basic<float>({.in_channels = 1}, 3);
  const Image<float, TestType> x(19, 1, 16, 16, 5);
  for (const int count : {2, 3}) CHECK(same_bits_on_threads(network, x.view(), count));
}

TEST_CASE("a copy of a network is deep, and zeros_like keeps shapes", "[network]") {
  const auto network = small_network<float>();
  auto copy = network;
  CHECK(all_parameters(copy) == all_parameters(network));
  visit_parameters(copy, [](std::string_view, auto values) { values[0] += 1.0f; });
  CHECK(all_parameters(copy) != all_parameters(network));
  CHECK(all_parameters(network) == all_parameters(small_network<float>()));
  const auto zero = zeros_like(network);
  CHECK(parameter_count(zero) == parameter_count(network));
  for (const double value : all_parameters(zero)) REQUIRE(value == 0.0);
}

TEST_CASE("a copied cache works on its own", "[network]") {
  const auto network = small_network<double>();
  const Image<double, ChannelsLast> x(2, 2, 6, 6, 4);
  Run run(network, x.view());
  run.forward();
  auto copy = std::make_unique<decltype(run.cache)>(run.cache);
  run.backward();
  const auto expected = run.dx_values;
  const auto cache = *copy;
  copy.reset();
  std::fill(run.dx_values.begin(), run.dx_values.end(), 0.0);
  network.backward(run.x, run.y(), run.dy(), run.dx(), cache, run.gradient);
  CHECK(run.dx_values == expected);
}

TEST_CASE("ReLU in a sequence shares its input's memory", "[network]") {
  const Image<float, ChannelsLast> x(1, 2, 8, 8);
  const auto conv = Conv2d<float>(2, 4, 3, {.padding = 1});
  const auto plain = sequential(conv, MaxPool2d(2)).make_cache(x.view());
  const auto rectified = sequential(conv, ReLU{}, MaxPool2d(2)).make_cache(x.view());
  CHECK(rectified.activations.size() == plain.activations.size());
  CHECK(sequential(conv, ReLU{}).make_cache(x.view()).activations.size() == 0);
}

TEST_CASE("compositions name what is wrong", "[network][errors]") {
  const auto network = small_network<float>();
  const Image<float, ChannelsLast> x(2, 2, 6, 6), small(2, 2, 1, 1), other(3, 2, 6, 6);
  CHECK(message_of<ShapeError>([&] { network.make_cache(small.view()); }) ==
        "MaxPool2d::output_shape: x is [2, 1, 1, 3], expected a height and width of at least 2x2");
  Run run(network, x.view());
  Eigen::Tensor<float, 2, Eigen::RowMajor> y(2, 4);
  CHECK(message_of<ShapeError>([&] { network.forward(x.view(), y, run.cache); }) ==
        "Sequential::forward: y is [2, 4], expected [2, 3]");
  CHECK(message_of<ShapeError>([&] { network.forward(other.view(), run.y(), run.cache); }) ==
        "Sequential::forward: the shape of the cache is [2, 6, 6, 2], expected [3, 6, 6, 2]");
  CHECK(message_of<ValueError>([&] { run.backward(); }) ==
        "Sequential::backward: the cache is empty, expected one that forward has filled");
}
