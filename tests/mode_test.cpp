// Modes: training, evaluation and inference; what they keep, and the walks over it. Windows, dropout, frozen
// parts.
#define EIGEN_USE_THREADS

#include <poolhead/model/conv_gap.hpp>
#include <poolhead/nn/average_pool2d.hpp>
#include <poolhead/nn/batch_norm2d.hpp>
#include <poolhead/nn/dense_block.hpp>
#include <poolhead/nn/dropout.hpp>
#include <poolhead/nn/freezable.hpp>
#include <poolhead/nn/optional.hpp>
#include <poolhead/nn/repeat.hpp>
#include <poolhead/nn/residual.hpp>
#include <poolhead/nn/walk.hpp>
#include <poolhead/poolhead.hpp>

#include "support/allocation.hpp"
#include "support/catch.hpp"
#include "support/layer.hpp"
#include "support/message.hpp"

#include <map>

using namespace poolhead;
using namespace poolhead::test;

namespace {

/// Every container of a deep network, small.
template <class T>
auto deep_network() {
  const auto block = [](Index in, Index out) {
    const auto shortcut = [&] {
      return sequential(Conv2d<T>(in, out, 1, {.bias = false}), BatchNorm2d<T>(out));
    };
    return residual(
        sequential(Conv2d<T>(in, out, 3, {.padding = 1, .bias = false}, 1), BatchNorm2d<T>(out), ReLU{},
                   Conv2d<T>(out, out, 3, {.padding = 1, .bias = false}, 2), BatchNorm2d<T>(out)),
        in == out ? Optional<decltype(shortcut())>() : Optional(shortcut()));
  };
  const auto appended = [](Index in) { return sequential(BatchNorm2d<T>(in), ReLU{}, Conv2d<T>(in, 2, 1)); };
  return sequential(named<"stage">(Repeat(std::vector{block(2, 5), block(5, 5), block(5, 5)})),
                    MaxPool2d(3, {.stride = 2, .padding = 1}),
                    DenseBlock(std::vector{appended(5), appended(7)}), AveragePool2d(2), GlobalAveragePool{},
                    Dropout(0.25, 3), Dense<T>(9, 4, 5));
}

/// The window that torch's pooling has at (oh, ow), place by place.
template <class X, class F>
void each_place(const X& x, Index k, Index s, Index p, Index oh, Index ow, const F& f) {
  for (Index h = oh * s - p; h < oh * s - p + k; ++h)
    for (Index w = ow * s - p; w < ow * s - p + k; ++w)
      f(h, w, h >= 0 && h < x.height() && w >= 0 && w < x.width());
}
Index windows(Index in, Index k, Index s, Index p, bool ceil) {
  Index count = 0;
  while (count * s + k <= in + 2 * p ||
         (ceil && count * s < in + p && (count == 0 || (count - 1) * s + k < in + 2 * p)))
    ++count;
  return count;
}

}  // namespace

TEMPLATE_TEST_CASE("windows with padding and ceil mode are torch's", "[layer]", ChannelsFirst, ChannelsLast) {
  const Image<double, TestType> x(2, 19, 7, 10, 3);
  for (const Index k : {2, 3}) {
    for (const Index s : {1, 2, 3}) {
      for (const Index p : {0, 1}) {
        for (const bool ceil : {false, true}) {
          for (const bool count_pad : {false, true}) {
            INFO("kernel " << k << ", stride " << s << ", padding " << p << ceil << count_pad);
            const WindowOptions options{
                .stride = s, .padding = p, .ceil_mode = ceil, .count_include_pad = count_pad};
            Run max(MaxPool2d(k, options), x.view());
            Run average(AveragePool2d(k, options), x.view());
            max.forward(), average.forward(), max.backward(), average.backward();
            REQUIRE(max.y().height() == windows(7, k, s, p, ceil));
            REQUIRE(max.y().width() == windows(10, k, s, p, ceil));
            REQUIRE(average.y().shape() == max.y().shape());
            std::vector<double> max_dx(x.values.size()), average_dx(x.values.size());
            const FeatureMap<double, TestType> to_max(max_dx.data(), x.shape),
                to_average(average_dx.data(), x.shape);
            for (Index n = 0; n < 2; ++n) {
              for (Index c = 0; c < 19; ++c) {
                for (Index o = 0; o < max.y().positions(); ++o) {
                  const Index oh = o / max.y().width(), ow = o % max.y().width();
                  double best = -1e9, sum = 0.0;
                  Index at = 0, inside = 0, padded = 0;
                  each_place(x.view(), k, s, p, oh, ow, [&](Index h, Index w, bool in) {
                    padded += h < 7 + p && w < 10 + p;
                    if (!in) return;
                    const double value = x.view()(n, c, h * 10 + w);
                    if (value > best) best = value, at = h * 10 + w;
                    sum += value, ++inside;
                  });
                  const auto size = static_cast<double>(count_pad ? padded : inside);
                  REQUIRE(max.y()(n, c, o) == best);
                  REQUIRE(average.y()(n, c, o) == Approx(sum / size).margin(1e-15));
                  to_max(n, c, at) += max.dy()(n, c, o);
                  each_place(x.view(), k, s, p, oh, ow, [&](Index h, Index w, bool in) {
                    if (in) to_average(n, c, h * 10 + w) += average.dy()(n, c, o) / size;
                  });
                }
              }
            }
            for (std::size_t i = 0; i < max_dx.size(); ++i) {
              REQUIRE(std::abs(max.dx_values[i] - max_dx[i]) < 1e-14);
              REQUIRE(std::abs(average.dx_values[i] - average_dx[i]) < 1e-14);
            }
          }
        }
      }
    }
  }
  CHECK_THROWS_AS(AveragePool2d(3, {.padding = 2}), ValueError);
  CHECK_THROWS_AS(MaxPool2d(2, Extent2d(0)), ValueError);
}

TEST_CASE("dropout's mask follows from seed, step and sample", "[dropout]") {
  const std::vector<float> ones(64 * 500, 1.0f);
  const Rows<const float> x(ones.data(), 64, 500);
  const auto mask = [&](Dropout layer, std::uint64_t step, Index first, Index count) {
    std::vector<float> y(ones.size()), dx(ones.size());
    auto cache = layer.make_cache(x.samples(first, count));
    start_step(layer, cache, step, first);
    layer.forward(x.samples(first, count), Rows<float>(y.data(), count, 500), cache);
    layer.backward(x.samples(first, count), Rows<const float>(y.data(), count, 500), x.samples(first, count),
                   Rows<float>(dx.data(), count, 500), cache, layer);
    CHECK(dx == y);
    y.resize(static_cast<std::size_t>(count * 500));
    return y;
  };
  const Dropout layer(0.3, 7);
  const auto whole = mask(layer, 5, 0, 64);
  std::size_t kept = 0;
  for (const float value : whole) {
    REQUIRE((value == 0.0f || value == static_cast<float>(1.0 / 0.7)));
    kept += value != 0.0f;
  }
  CHECK(static_cast<double>(kept) / 32000.0 == Approx(0.7).epsilon(0.02));
  const auto part = mask(layer, 5, 24, 16);
  CHECK(std::equal(part.begin(), part.end(), whole.begin() + 24 * 500));
  CHECK(mask(layer, 6, 0, 64) != whole);
  CHECK(mask(Dropout(0.3, 8), 5, 0, 64) != whole);

  std::vector<float> y(ones.size());
  auto evaluation = layer.make_cache(x, Mode::evaluation);
  layer.forward(x, Rows<float>(y.data(), 64, 500), evaluation);
  CHECK(y == ones);

  // A cache counts its own steps where nobody sets them; both layouts have one mask.
  Run rows(layer, x);
  rows.forward();
  const auto first = rows.y_values;
  rows.forward();
  CHECK(rows.y_values != first);
  const Image<float, ChannelsFirst> a(2, 3, 4, 5);
  const Image<float, ChannelsLast> b(2, 3, 4, 5);
  Run run_a(layer, a.view());
  Run run_b(layer, b.view());
  run_a.forward(), run_b.forward();
  CHECK(logical(run_a.y()) == logical(run_b.y()));
  CHECK_THROWS_AS(Dropout(1.0), ValueError);
}

TEMPLATE_TEST_CASE("modes", "[mode]", ChannelsFirst, ChannelsLast) {
  auto network = deep_network<double>();
  const Image<double, TestType> x(3, 2, 9, 8, 5);
  Run run(network, x.view());

  SECTION("training moves the running statistics only when it is told to, evaluation and inference use them") {
    run.forward();
    const auto state = [](const auto& value) {
      std::vector<double> all;
      visit_state(value, [&](std::string_view, auto values) {
        for (const auto one : values) all.push_back(static_cast<double>(one));
      });
      return all;
    };
    const auto before = state(network);
    CHECK(before.size() > all_parameters(network).size());
    update_buffers(network, run.cache);
    CHECK(state(network) != before);
    CHECK(all_parameters(network) == all_parameters(run.layer));

    Run other(network, x.view());
    other.cache = network.make_cache(x.view(), Mode::evaluation);
    other.forward();
    const auto evaluated = other.y_values;
    CHECK(evaluated != run.y_values);
    update_buffers(other.layer, other.cache);
    CHECK(state(other.layer) == state(network));

    other.cache = network.make_cache(x.view(), Mode::inference);
    other.y_values.assign(other.y_values.size(), 0.0);
    other.forward();
    CHECK(other.y_values == evaluated);
    CHECK(other.cache.activations.size() == 0);  // borrowed from the thread
    CHECK(message_of<ValueError>([&] { other.backward(); }) ==
          "Sequential::backward: the cache was made for inference, expected one that backward may use");
  }
  SECTION("the bits are the same on any number of threads") {
    for (const int count : {2, 3}) CHECK(same_bits_on_threads(network, x.view(), count));
  }
  SECTION("a copied cache works on its own") {
    run.forward();
    const auto cache = run.cache;
    run.backward();
    const auto expected = run.dx_values;
    run.dx_values.assign(expected.size(), 0.0);
    network.backward(run.x, run.y(), run.dy(), run.dx(), cache, run.gradient);
    CHECK(run.dx_values == expected);
  }
  SECTION("outputs and gradients are found by name, where they are") {
    Mode mode;
    mode.keeps_gradients = true;
    Run kept(network, x.view());
    kept.cache = network.make_cache(x.view(), mode);
    kept.forward();
    kept.backward();
    run.forward();
    run.backward();
    CHECK(kept.dx_values == run.dx_values);

    std::map<std::string, std::vector<Index>> shapes;
    const void* output = nullptr;
    visit_outputs(network, kept.y(), kept.cache, [&](std::string_view name, auto view) {
      shapes[std::string(name)] = {view.batch(), view.size()};
      if (name.empty()) output = view.data();
    });
    CHECK(output == kept.y_values.data());
    CHECK(shapes.at("stage.1") == std::vector<Index>{3, 3 * 5 * 72});
    CHECK(shapes.at("1") == std::vector<Index>{3, 3 * 5 * 20});
    CHECK(shapes.at("4") == std::vector<Index>{3, 3 * 9});

    // The gradient at the global average's output is dy of what follows; at its input, a share of that.
    std::map<std::string, std::vector<double>> gradients;
    visit_gradients(network, kept.dy(), kept.cache,
                    [&](std::string_view name, auto view) { gradients[std::string(name)] = logical(view); });
    CHECK(gradients.at("") == logical(kept.dy()));
    REQUIRE(gradients.at("4").size() == 27);
    REQUIRE(gradients.at("3").size() == 27 * 4);
    for (std::size_t i = 0; i < 27; ++i) CHECK(gradients.at("3")[4 * i] == Approx(gradients.at("4")[i] / 4));
    CHECK_THROWS_AS(visit_gradients(network, run.dy(), run.cache, [](auto...) {}), ValueError);
  }
}

TEST_CASE("a single value per channel has no variance", "[batch_norm]") {
  const Image<float, ChannelsLast> x(1, 3, 1, 1);
  Run run(BatchNorm2d<float>(3), x.view());
  CHECK(message_of<ValueError>([&] { run.forward(); }) ==
        "BatchNorm2d::forward: x is [1, 1, 1, 3], expected more than one value per channel in training");
  CHECK_THROWS_AS(BatchNorm2d<float>(4).make_cache(x.view()), ShapeError);
}

TEST_CASE("a frozen part has no gradient and keeps nothing", "[frozen]") {
  const auto backbone =
      sequential(Conv2d<float>(2, 3, 3), BatchNorm2d<float>(3), ReLU{}, Conv2d<float>(3, 3, 1));
  const Image<float, ChannelsLast> x(2, 2, 6, 6, 4);
  const auto build = [&](bool frozen) {
    return sequential(named<"backbone">(Freezable(backbone, frozen)), GlobalAveragePool{}, Dense<float>(3, 2));
  };
  const auto network = build(true);
  Run run(network, x.view());
  Run open(build(false), x.view());
  open.cache = open.layer.make_cache(x.view(), Mode::evaluation);
  run.forward();
  open.forward();
  CHECK(run.y_values == open.y_values);  // the running statistics, also in training
  CHECK(parameter_count(network) == 8);
  CHECK(std::get<0>(run.gradient.parts).layer.empty());
  CHECK(std::get<0>(run.cache.parts).layer.activations.size() == 0);
  CHECK_THROWS_AS(run.backward(), ValueError);
  open.backward();
  network.backward(run.x, run.y(), open.dy(), no_gradient, run.cache, run.gradient);
  const auto all = all_parameters(open.gradient), top = all_parameters(run.gradient);
  CHECK(std::equal(top.begin(), top.end(), all.end() - 8));
}

TEST_CASE("steps of a deep network allocate nothing after the first", "[mode][allocation]") {
  auto network = deep_network<float>();
  const Image<float, ChannelsLast> x(3, 2, 9, 8, 5);
  Run run(network, x.view());
  auto inference = network.make_cache(x.view(), Mode::inference);
  const auto step = [&] {
    run.forward();
    run.backward();
    update_buffers(network, run.cache);
    start_step(network, run.cache, 3);
    network.forward(run.x, run.y(), inference);
  };
  step();
  const std::size_t before = allocations;
  step();
  CHECK(allocations == before);
}

TEST_CASE("conv-gap trains to the same bits on any number of threads", "[training][threads]") {
  const Image<float, ChannelsLast> x(48, 1, 28, 28, 9);
  std::vector<int> labels;
  for (int n = 0; n < 48; ++n) labels.push_back(n % 10);
  using Network = decltype(conv_gap<float>());
  const auto train = [&](int threads) {
    auto network = conv_gap<float>({}, 1);
    Adam adam(network, {.learning_rate = 3e-3});
    auto gradient = zeros_like(network);
    DataParallel<Network, FeatureMap<const float, ChannelsLast>> parallel;
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    double loss = 0.0;
    for (int step = 0; step < 20; ++step) {
      loss = parallel.gradient(network, x.view(), std::span<const int>(labels), gradient, device).loss;
      adam.step(network, gradient, device);
    }
    return std::pair{loss, all_parameters(network)};
  };
  const auto serial = train(1);
  CHECK(serial.second != all_parameters(conv_gap<float>({}, 1)));
  for (const int threads : {2, 3}) CHECK(train(threads) == serial);
}
