// Losses, initial values, the optimizer, and training that gives the same bits on any number of threads.
#define EIGEN_USE_THREADS

#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/jacobian.hpp"
#include "support/layer.hpp"
#include "support/message.hpp"

using namespace poolhead;
using namespace poolhead::test;

namespace {

using Network = decltype(four_head_basic<float>());

/// Images whose class is which quarter is bright.
struct Quarters {
  Image<float, ChannelsLast> x;
  std::vector<int> labels;

  explicit Quarters(Index count) : x(count, 1, 8, 8, 21) {
    for (Index n = 0; n < count; ++n) {
      const auto label = static_cast<Index>(hash(5, static_cast<std::uint64_t>(n)) % 4);
      labels.push_back(static_cast<int>(label));
      for (Index h = 0; h < 4; ++h)
        for (Index w = 0; w < 4; ++w) x.view()(n, 0, (h + label / 2 * 4) * 8 + w + label % 2 * 4) += 1.5f;
    }
  }
};

}  // namespace

TEST_CASE("cross-entropy is its definition, at any magnitude", "[loss]") {
  Eigen::Tensor<double, 2, Eigen::RowMajor> logits(3, 4), gradient(3, 4);
  logits.setValues({{1, 2, 3, 4}, {1000, -1000, 0, 1000}, {-1e300, 0, -5, 2}});
  const std::vector<int> labels{2, 0, 1};
  const double loss = cross_entropy(logits, std::span<const int>(labels), gradient);
  const double first = std::log(std::exp(-3.0) + std::exp(-2.0) + std::exp(-1.0) + 1.0) + 1.0;
  const double third = std::log(1.0 + std::exp(-2.0) + std::exp(-7.0)) + 2.0;
  CHECK(loss == Approx((first + std::log(2.0) + third) / 3).epsilon(1e-14));
  CHECK(gradient(1, 0) == Approx((0.5 - 1.0) / 3).epsilon(1e-14));
  CHECK(gradient(1, 3) == Approx(0.5 / 3).epsilon(1e-14));
  CHECK(gradient(1, 1) == 0.0);
  CHECK(cross_entropy(logits, std::span<const int>(labels)) == loss);

  Eigen::Tensor<double, 2, Eigen::RowMajor> small(2, 5);
  for (Index i = 0; i < small.size(); ++i) small.data()[i] = noise(3)(0, 0, i) * 3;
  const std::vector<std::uint8_t> classes{4, 0};
  const auto forward = [&] {
    return std::vector{cross_entropy(small, std::span<const std::uint8_t>(classes))};
  };
  CHECK(jacobian_error(std::span(small.data(), 10), forward, [&](const std::vector<double>& dy) {
          Eigen::Tensor<double, 2, Eigen::RowMajor> d(2, 5);
          cross_entropy(small, std::span<const std::uint8_t>(classes), d);
          std::vector<double> out(d.data(), d.data() + d.size());
          for (double& value : out) value *= dy[0];
          return out;
        }) < 1e-8);
}

TEST_CASE("cross-entropy refuses labels that are no class", "[loss][errors]") {
  Eigen::Tensor<float, 2, Eigen::RowMajor> logits(2, 3), gradient(2, 3);
  logits.setZero();
  gradient.setConstant(9);
  const auto message = [&](std::vector<int> labels) {
    return message_of<std::invalid_argument>(
        [&] { cross_entropy(logits, std::span<const int>(labels), gradient); });
  };
  CHECK(message({0, 3}) == "cross_entropy: label 1 is 3, expected 0..2");
  CHECK(message({-1, 0}) == "cross_entropy: label 0 is -1, expected 0..2");
  CHECK(message({0}) == "cross_entropy: labels are [1], expected [2]");
  CHECK(gradient(0, 0) == 9.0f);
}

TEST_CASE("initial values have the spread that their scheme states", "[init]") {
  Conv2d<double> conv(64, 96, 3);
  const double fan_in = 64 * 9, fan_out = 96 * 9;
  const auto check = [&](const auto& scheme, double variance, double bound) {
    initialise(conv, scheme, 11);
    double sum = 0.0, squares = 0.0, largest = 0.0;
    for (Index i = 0; i < conv.weight.size(); ++i) {
      const double w = conv.weight.data()[i];
      sum += w;
      squares += w * w;
      largest = std::max(largest, std::abs(w));
    }
    const auto count = static_cast<double>(conv.weight.size());
    CHECK(std::abs(sum / count) < 5 * std::sqrt(variance / count));
    CHECK(squares / count == Approx(variance).epsilon(0.03));
    CHECK(largest <= bound);
  };
  const double any = std::numeric_limits<double>::infinity();
  check(LinearUniform{}, 1 / fan_in / 3, 1 / std::sqrt(fan_in));
  check(XavierUniform{}, 2 / (fan_in + fan_out), std::sqrt(6 / (fan_in + fan_out)));
  check(KaimingUniform{}, 2 / fan_in, std::sqrt(6 / fan_in));
  check(KaimingNormal{}, 2 / fan_in, any);
  check(XavierNormal{.bias_value = 0.01}, 2 / (fan_in + fan_out), any);
  CHECK(conv.bias(5) == 0.01);

  CHECK(all_parameters(four_head_basic<float>({}, 1)) == all_parameters(four_head_basic<float>({}, 1)));
  CHECK(all_parameters(four_head_basic<float>({}, 1)) != all_parameters(four_head_basic<float>({}, 2)));
}

TEST_CASE("the random numbers are the same everywhere", "[random]") {
  const Random random(42);
  CHECK(random.bits(0) != random.bits(1));
  CHECK(random.stream(3).bits(0) != random.stream(4).bits(0));
  double sum = 0.0, squares = 0.0;
  std::vector<int> counts(10);
  for (std::uint64_t i = 0; i < 100000; ++i) {
    const double z = random.normal(i);
    sum += z;
    squares += z * z;
    ++counts[random.below(10, i)];
    REQUIRE((random.uniform(i) >= 0.0 && random.uniform(i) < 1.0));
  }
  CHECK(std::abs(sum / 1e5) < 0.02);
  CHECK(squares / 1e5 == Approx(1.0).epsilon(0.02));
  for (const int count : counts) CHECK(std::abs(count - 10000) < 500);
}

TEST_CASE("Adam is its formula", "[adam]") {
  Dense<double> dense(1, 1);
  dense.weight.setConstant(2.0);
  dense.bias.setConstant(-1.0);
  Adam adam(dense, {.learning_rate = 0.1, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-3});
  auto gradient = zeros_like(dense);
  double w = 2.0, m = 0.0, v = 0.0;
  for (int t = 1; t <= 5; ++t) {
    const double g = 0.3 * t - 1.0;
    gradient.weight.setConstant(g);
    adam.step(dense, gradient);
    m = 0.8 * m + 0.2 * g;
    v = 0.9 * v + 0.1 * g * g;
    w -= 0.1 * (m / (1 - std::pow(0.8, t))) / (std::sqrt(v / (1 - std::pow(0.9, t))) + 1e-3);
    REQUIRE(dense.weight(0, 0) == Approx(w).epsilon(1e-12));
    REQUIRE(dense.bias(0) == -1.0);
  }
  CHECK_THROWS_AS(Adam(dense, {.learning_rate = -1.0}), ValueError);
  CHECK_THROWS_AS(Adam(dense, {.beta1 = 1.0}), ValueError);
}

TEST_CASE("blocks of a batch add up to the whole batch's gradient", "[training]") {
  const auto network = four_head_basic<float>({.in_channels = 1, .num_classes = 4}, 2);
  const Quarters data(21);
  auto whole = zeros_like(network), blocks = zeros_like(network);
  DataParallel<Network, FeatureMap<const float, ChannelsLast>> one(64), many(4);
  const auto a = one.gradient(network, data.x.view(), std::span<const int>(data.labels), whole);
  const auto b = many.gradient(network, data.x.view(), std::span<const int>(data.labels), blocks);
  CHECK(a.loss == Approx(b.loss).epsilon(1e-6));
  CHECK(a.correct == b.correct);
  const auto u = all_parameters(whole), v = all_parameters(blocks);
  for (std::size_t i = 0; i < u.size(); ++i) REQUIRE(std::abs(u[i] - v[i]) < 1e-6);
  const auto score = many.evaluate(network, data.x.view(), std::span<const int>(data.labels));
  CHECK(score.loss == b.loss);
  CHECK(score.correct == b.correct);
}

TEST_CASE("training learns, and gives the same bits on any number of threads", "[training][threads]") {
  const Quarters data(72);
  const auto train = [&](int threads) {
    auto network = four_head_basic<float>({.in_channels = 1, .num_classes = 4}, 2);
    Adam adam(network, {.learning_rate = 2e-3});
    auto gradient = zeros_like(network);
    DataParallel<Network, FeatureMap<const float, ChannelsLast>> parallel(8);
    Eigen::ThreadPool pool(std::max(threads, 1));
    const Eigen::ThreadPoolDevice device(&pool, std::max(threads, 1));
    std::vector<double> losses;
    for (int step = 0; step < 24; ++step) {
      const Index first = step % 3 * 24, count = step % 3 == 2 ? 21 : 24;  // a shorter last block now and then
      const auto x = data.x.view().samples(first, count);
      const auto labels = std::span<const int>(data.labels)
                              .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
      LossSum sum;
      if (threads == 0) {
        sum = parallel.gradient(network, x, labels, gradient);
        adam.step(network, gradient);
      } else {
        sum = parallel.gradient(network, x, labels, gradient, device);
        adam.step(network, gradient, device);
      }
      losses.push_back(sum.loss / static_cast<double>(count));
    }
    return std::pair{losses, all_parameters(network)};
  };
  const auto serial = train(0);
  CHECK(serial.first.back() < 0.5 * serial.first.front());
  for (const int threads : {1, 2, 3, 5}) {
    INFO(threads << " threads");
    const auto threaded = train(threads);
    CHECK(threaded.first == serial.first);
    CHECK(threaded.second == serial.second);
  }
}

TEST_CASE("a batch that is wrong is refused as a whole", "[training][errors]") {
  const auto network = four_head_basic<float>({.in_channels = 1, .num_classes = 4}, 2);
  Quarters data(20);
  auto gradient = zeros_like(network);
  DataParallel<Network, FeatureMap<const float, ChannelsLast>> parallel(8);
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  data.labels[13] = 4;
  CHECK(message_of<ValueError>([&] {
          parallel.gradient(network, data.x.view(), std::span<const int>(data.labels), gradient, device);
        }) == "cross_entropy: label 5 is 4, expected 0..3");
  data.labels.pop_back();
  CHECK(message_of<ShapeError>([&] {
          parallel.gradient(network, data.x.view(), std::span<const int>(data.labels), gradient, device);
        }) == "DataParallel: labels are [19], expected [20]");
  for (const double value : all_parameters(gradient)) REQUIRE(value == 0.0);
}
