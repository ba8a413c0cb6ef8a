// Optimizers, schedules and losses against PyTorch's (tests/golden/make_training_goldens.py).
#define EIGEN_USE_THREADS

#include <poolhead/io/safetensors.hpp>
#include <poolhead/nn/adam.hpp>
#include <poolhead/nn/binary_cross_entropy.hpp>
#include <poolhead/nn/cross_entropy.hpp>
#include <poolhead/nn/dense.hpp>
#include <poolhead/nn/schedule.hpp>
#include <poolhead/nn/sgd.hpp>

#include "support/catch.hpp"
#include "support/layer.hpp"
#include "support/message.hpp"

using namespace poolhead;
using namespace poolhead::test;

namespace {

const TensorFile& goldens() {
  static const TensorFile file = read_safetensors(POOLHEAD_GOLDEN_DIR "/training.safetensors");
  return file;
}
template <class T = double>
std::vector<T> golden(const std::string& name) {
  const StoredTensor& tensor = goldens().tensors.at(name);
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  copy_values(tensor, std::span<T>(values));
  return values;
}
using Tensor2 = Eigen::Tensor<double, 2, Eigen::RowMajor>;
Tensor2 golden_rows(const std::string& name) {
  const auto values = golden(name);
  const auto& shape = goldens().tensors.at(name).shape;
  Tensor2 rows(shape[0], shape[1]);
  std::copy(values.begin(), values.end(), rows.data());
  return rows;
}

/// A value of eight parameters: 6 weights and 2 biases.
Dense<double> eight(std::span<const double> values) {
  Dense<double> dense(3, 2);
  std::size_t i = 0;
  visit_parameters(dense, [&](std::string_view, auto p) {
    for (double& value : p) value = values[i++];
  });
  return dense;
}

template <class Optimizer>
void replay(const std::string& name, const Optimizer& optimizer_at_start) {
  INFO(name);
  const auto gradients = golden("gradients"), path = golden("optimizer/" + name);
  auto network = eight(golden("start"));
  auto optimizer = optimizer_at_start;
  for (std::size_t step = 0; step < 20; ++step) {
    optimizer.step(network, eight(std::span(gradients).subspan(8 * step, 8)));
    const auto got = all_parameters(network);
    for (std::size_t i = 0; i < 8; ++i) REQUIRE(std::abs(got[i] - path[8 * step + i]) < 1e-12);
  }
  CHECK(optimizer.steps == 20);
}

}  // namespace

TEST_CASE("optimizers take PyTorch's steps", "[optimizer][golden]") {
  const auto n = eight(golden("start"));
  replay("sgd", Sgd(n, {.learning_rate = 0.1}));
  replay("sgd-decay", Sgd(n, {.learning_rate = 0.1, .weight_decay = 0.05}));
  replay("sgd-momentum", Sgd(n, {.learning_rate = 0.1, .momentum = 0.9}));
  replay("sgd-dampening",
         Sgd(n, {.learning_rate = 0.1, .momentum = 0.8, .dampening = 0.3, .weight_decay = 0.01}));
  replay("sgd-nesterov",
         Sgd(n, {.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true}));
  replay("adam", Adam(n));
  const AdamOptions options{.learning_rate = 0.02, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6};
  AdamOptions decay = options, decoupled = options;
  decay.weight_decay = 0.1;
  decoupled.weight_decay = 0.3;
  replay("adam-decay", Adam(n, decay));
  replay("adamw", AdamW(n));
  replay("adamw-decay", AdamW(n, decoupled));
}

TEST_CASE("an optimizer's state is walked by name, and goes on where it was", "[optimizer]") {
  auto network = eight(golden("start"));
  const auto gradient = eight(std::vector(golden("gradients")));
  Adam adam(network);
  adam.step(network, gradient);
  std::vector<std::string> names;
  visit_parameters(adam, [&](std::string_view name, auto) { names.emplace_back(name); });
  CHECK(names == std::vector<std::string>{"first_moment.weight", "first_moment.bias", "second_moment.weight",
                                          "second_moment.bias"});
  // What a checkpoint does: the numbers by name, and the count of steps.
  Adam restored(network);
  visit_parameters_together(
      [](std::string_view, auto to, auto from) { std::copy(from.begin(), from.end(), to.begin()); }, restored,
      adam);
  restored.steps = adam.steps;
  auto other = network;
  adam.step(network, gradient);
  restored.step(other, gradient);
  CHECK(all_parameters(other) == all_parameters(network));

  Sgd sgd(network, {.momentum = 0.9});
  sgd.step(network, gradient);
  CHECK(all_parameters(sgd) == all_parameters(gradient));
}

TEST_CASE("optimizers give the same bits on any number of threads", "[optimizer][threads]") {
  const auto steps = [](auto optimizer, Dense<float> network, int threads) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    for (int i = 0; i < 3; ++i) optimizer.step(network, Dense<float>(700, 500, 3), device);
    return all_parameters(network);
  };
  const Dense<float> network(700, 500, 2);
  const AdamW adam(network);
  const Sgd sgd(network, {.momentum = 0.9, .weight_decay = 0.1});
  CHECK(steps(adam, network, 1) == steps(adam, network, 3));
  CHECK(steps(sgd, network, 1) == steps(sgd, network, 3));
}

TEST_CASE("optimizers refuse options that make no sense", "[optimizer][errors]") {
  const Dense<double> dense(1, 1);
  CHECK(message_of<ValueError>([&] { Sgd(dense, {.momentum = -1.0}); }) ==
        "Sgd: learning_rate is 0.001, momentum -1, weight_decay 0, expected at least 0 each");
  CHECK(message_of<ValueError>([&] { Sgd(dense, {.nesterov = true}); }) ==
        "Sgd: nesterov with momentum 0 and dampening 0, expected momentum above 0 and no dampening");
  CHECK_THROWS_AS(AdamW(dense, {.weight_decay = -0.1}), ValueError);
}

TEST_CASE("schedules are PyTorch's", "[schedule][golden]") {
  const auto check = [](const std::string& name, const auto& schedule) {
    INFO(name);
    const auto rates = golden("schedule/" + name), momenta = golden("schedule/" + name + "/momentum");
    REQUIRE(rates.size() == 50);
    for (std::size_t t = 0; t < rates.size(); ++t) {
      REQUIRE(std::abs(schedule(static_cast<std::int64_t>(t)) - rates[t]) < 1e-12);
      if constexpr (requires { schedule.momentum(0); }) {
        REQUIRE(std::abs(schedule.momentum(static_cast<std::int64_t>(t)) - momenta[t]) < 1e-12);
      }
    }
  };
  CHECK(ConstantRate{0.1}(1000) == 0.1);
  check("step", StepRate{.rate = 0.2, .every = 7, .gamma = 0.3});
  check("cosine", CosineRate{.rate = 0.2, .steps = 50, .last = 1e-4});
  check("one-cycle", OneCycleRate{.max_rate = 0.2, .steps = 50});
  check("one-cycle-early", OneCycleRate{.max_rate = 0.2,
                                        .steps = 50,
                                        .rise = 0.1,
                                        .first_divisor = 10,
                                        .last_divisor = 100,
                                        .base_momentum = 0.8,
                                        .max_momentum = 0.9});
  CHECK(std::isfinite(OneCycleRate{.max_rate = 0.2, .steps = 1}(0)));
  CHECK(OneCycleRate{.max_rate = 0.2, .steps = 9}(1000) == OneCycleRate{.max_rate = 0.2, .steps = 9}(8));
}

TEST_CASE("losses and their gradients are PyTorch's", "[loss][golden]") {
  const Tensor2 logits = golden_rows("logits"), probabilities = golden_rows("probabilities"),
                targets = golden_rows("targets");
  const auto labels = golden<std::int64_t>("labels");
  const std::span<const std::int64_t> classes(labels);
  Tensor2 d(4, 5);
  const auto check = [&](const std::string& name, double loss) {
    INFO(name);
    CHECK(loss == Approx(golden("loss/" + name + "/value")[0]).epsilon(1e-13));
    const auto expected = golden("loss/" + name + "/d");
    for (std::size_t i = 0; i < expected.size(); ++i) {
      REQUIRE(d.data()[i] == Approx(expected[i]).epsilon(1e-11).margin(1e-14));
    }
  };
  check("cross-entropy", cross_entropy(logits, classes, d));
  check("cross-entropy-of-sigmoid", cross_entropy_of_sigmoid(logits, classes, d));
  check("binary", binary_cross_entropy(probabilities, targets, d));
  check("binary-of-logits", binary_cross_entropy_of_logits(logits, targets, d));
  CHECK(binary_cross_entropy(probabilities, targets) == binary_cross_entropy(probabilities, targets, d));
  CHECK(binary_cross_entropy_of_logits(logits, targets) == binary_cross_entropy_of_logits(logits, targets, d));

  CHECK(message_of<ValueError>([&] { binary_cross_entropy(logits, targets); }) ==
        "binary_cross_entropy: a probability is 800, expected 0 to 1");
  CHECK_THROWS_AS(binary_cross_entropy(probabilities, Tensor2(4, 4)), ShapeError);
}
