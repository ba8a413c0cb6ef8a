// Class activation maps against PyTorch (tests/golden/make_explain_goldens.py), pictures of them, observers.
#define EIGEN_USE_THREADS

#include <poolhead/explain/class_activation.hpp>
#include <poolhead/explain/observer.hpp>
#include <poolhead/explain/render.hpp>
#include <poolhead/explain/score_cam.hpp>
#include <poolhead/io/safetensors.hpp>
#include <poolhead/nn/conv2d.hpp>
#include <poolhead/nn/max_pool2d.hpp>
#include <poolhead/nn/relu.hpp>
#include <poolhead/nn/sequential.hpp>

#include "support/catch.hpp"
#include "support/layer.hpp"
#include "support/message.hpp"

using namespace poolhead;
using namespace poolhead::test;

namespace {

const TensorFile& goldens() {
  static const TensorFile file = read_safetensors(POOLHEAD_GOLDEN_DIR "/explain.safetensors");
  return file;
}
std::vector<double> golden(const std::string& name) {
  const StoredTensor& tensor = goldens().tensors.at(name);
  std::vector<double> values(tensor.bytes.size() / sizeof(double));
  copy_values(tensor, std::span<double>(values));
  return values;
}
template <class L>
Image<double, L> golden_map(const std::string& name) {
  const auto& shape = goldens().tensors.at(name).shape;
  const auto values = golden(name);
  Image<double, L> image(shape[0], shape[1], shape[2], shape[3]);
  auto from = values.begin();
  for (Index n = 0; n < shape[0]; ++n)
    for (Index c = 0; c < shape[1]; ++c)
      for (Index s = 0; s < shape[2] * shape[3]; ++s) image.view()(n, c, s) = *from++;
  return image;
}
void check_maps(const std::string& name, const HeatMaps& maps) {
  INFO(name);
  const auto expected = golden("maps/" + name);
  REQUIRE(maps.size() == static_cast<Index>(expected.size()));
  double largest = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    REQUIRE(std::abs(maps.data()[i] - expected[i]) < 1e-12);
    largest = std::max(largest, std::abs(expected[i]));
  }
  CHECK(largest > 0.01);
}
template <class T>
HeatMaps maps_of(std::initializer_list<T> values) {
  HeatMaps maps(1, 1, static_cast<Index>(values.size()));
  std::copy(values.begin(), values.end(), maps.data());
  return maps;
}

}  // namespace

TEMPLATE_TEST_CASE("class activation maps are their definitions", "[explain][golden]", ChannelsFirst,
                   ChannelsLast) {
  const auto a = golden_map<TestType>("a"), g = golden_map<TestType>("g");
  const auto fc = golden("weights.fc.weight");
  check_maps("cam", class_activation_map(a.view(), std::span(fc).subspan(4, 4)));
  check_maps("grad", grad_cam(a.view(), g.view()));
  check_maps("grad++", grad_cam_plus_plus(a.view(), g.view()));
  check_maps("layer", layer_cam(a.view(), g.view()));

  // The network itself, run by Score-CAM on masked images.
  auto layers = sequential(Conv2d<double>(2, 4, 3, {.padding = 1}), ReLU{}, MaxPool2d(2));
  visit_parameters(layers, [](std::string_view name, auto values) {
    const auto stored = golden("weights." + std::string(name));
    std::copy(stored.begin(), stored.end(), values.begin());
  });
  const auto x = golden_map<TestType>("x");
  const auto score = [&](const FeatureMap<const double, TestType>& image) {
    auto cache = layers.make_cache(image);
    Image<double, TestType> y(1, 4, 3, 4);
    layers.forward(image, y.view(), cache);
    double logit = golden("weights.fc.bias")[1];
    for (Index k = 0; k < 4; ++k) {
      for (Index s = 0; s < 12; ++s)
        logit += fc[static_cast<std::size_t>(4 + k)] * y.view()(0, k, s) * y.view()(0, k, s) / 12;
    }
    return logit;
  };
  CHECK(score(x.view().samples(0, 1)) == Approx(golden("logits")[1]).epsilon(1e-12));
  check_maps("score", score_cam(x.view().samples(0, 1), a.view().samples(0, 1), score));

  CHECK(message_of<ShapeError>([&] { class_activation_map(a.view(), std::span(fc)); }) ==
        "class_activation_map: 12 weights, expected 4, one per channel");
  CHECK_THROWS_AS(grad_cam(a.view(), x.view()), ShapeError);
  CHECK_THROWS_AS(score_cam(x.view(), a.view(), score), ShapeError);
}

TEST_CASE("the mean of CAM is the score of a pooled network", "[explain]") {
  const auto a = golden_map<ChannelsFirst>("a");
  const std::vector<double> w{0.5, -1.0, 2.0, 0.25};
  const auto maps = class_activation_map(a.view(), std::span(w));
  double mean = 0.0, score = 0.0;
  for (Index s = 0; s < 12; ++s) mean += maps.data()[s] / 12;
  for (Index k = 0; k < 4; ++k)
    for (Index s = 0; s < 12; ++s) score += w[static_cast<std::size_t>(k)] * a.view()(0, k, s) / 12;
  CHECK(mean == Approx(score).epsilon(1e-13));
}

TEST_CASE("maps are normalised, flat ones and not finite ones to nothing", "[explain]") {
  auto maps = maps_of({-2.0, 0.0, 2.0, 6.0});
  normalise(maps);
  CHECK(std::vector(maps.data(), maps.data() + 4) == std::vector{0.0, 0.25, 0.5, 1.0});
  for (auto flat : {maps_of({3.0, 3.0, 3.0}), maps_of({0.0, 0.0, 0.0}), maps_of({1.0, std::nan(""), 2.0}),
                    maps_of({1.0, std::numeric_limits<double>::infinity(), 2.0})}) {
    normalise(flat);
    CHECK(std::vector(flat.data(), flat.data() + 3) == std::vector{0.0, 0.0, 0.0});
  }
}

TEST_CASE("images change size as PyTorch's do", "[explain][golden]") {
  const auto ramp = golden("ramp");
  for (const auto& size : std::vector<std::array<Index, 2>>{{7, 10}, {3, 4}, {11, 25}, {2, 30}}) {
    const auto expected = golden("ramp/" + std::to_string(size[0]) + "x" + std::to_string(size[1]));
    const auto got = resize_values(ramp.data(), 7, 10, 1, size[0], size[1]);
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(std::abs(got[i] - expected[i]) < 1e-12);
  }
}

TEST_CASE("the colour map is even: lightness rises by equal steps", "[explain]") {
  // CIE lightness of sRGB, from its definition; the map was made in another space.
  const auto lightness = [](const Colour& colour) {
    const double weights[] = {0.2126, 0.7152, 0.0722};
    double y = 0.0;
    for (std::size_t i = 0; i < 3; ++i) {
      const double v = colour[i] / 255.0;
      y += weights[i] * (v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4));
    }
    return y > 0.008856 ? 116 * std::cbrt(y) - 16 : 903.3 * y;
  };
  CHECK(lightness(colour_of(0.0)) < 12);
  CHECK(lightness(colour_of(1.0)) > 93);
  for (int i = 0; i < 20; ++i) {
    const double step = lightness(colour_of((i + 1) / 20.0)) - lightness(colour_of(i / 20.0));
    CHECK(step == Approx((lightness(colour_of(1.0)) - lightness(colour_of(0.0))) / 20).epsilon(0.45));
  }
  CHECK(colour_of(-1.0) == colour_of(0.0));
  CHECK(colour_of(std::nan("")) == colour_of(0.0));
  CHECK(colour_of(2.0) == colour_of(1.0));
}

TEST_CASE("overlays and grids", "[explain]") {
  HeatMaps maps(2, 2, 2);
  maps.setValues({{{9, 9}, {9, 9}}, {{0, 1}, {2, 3}}});
  const Picture grey{4, 4, 1, std::vector<std::uint8_t>(16, 200)};
  const Picture flat = overlay(grey, maps, 0, 1.0), map = overlay(grey, maps, 1, 1.0),
                faint = overlay(grey, maps, 1, 0.0);
  for (Index i = 0; i < 16; ++i) {
    for (Index c = 0; c < 3; ++c) {
      REQUIRE(flat(i / 4, i % 4, c) == colour_of(0.0)[static_cast<std::size_t>(c)]);
      REQUIRE(faint(i / 4, i % 4, c) == 200);
    }
  }
  for (Index c = 0; c < 3; ++c) {
    CHECK(map(0, 0, c) == colour_of(0.0)[static_cast<std::size_t>(c)]);
    CHECK(map(3, 3, c) == colour_of(1.0)[static_cast<std::size_t>(c)]);
  }

  Image<float, ChannelsLast> a(1, 3, 2, 2);
  for (Index k = 0; k < 3; ++k)
    for (Index s = 0; s < 4; ++s) a.view()(0, k, s) = static_cast<float>(k * 4 + s);
  a.view()(0, 1, 1) = std::numeric_limits<float>::quiet_NaN();
  const Picture grid = activation_grid(a.view(), 0, 2, 3, 1);
  CHECK((grid.height == 15 && grid.width == 15));
  CHECK(grid(0, 0) == 64);
  CHECK(grid(1, 1) == 0);
  CHECK(grid(6, 6) == std::lround(255.0 * 3 / 11));
  CHECK(grid(1, 8) == std::lround(255.0 * 4 / 11));
  CHECK(grid(1, 11) == 0);  // NaN
  CHECK(grid(13, 6) == 255);
  CHECK(grid(13, 13) == 64);  // the place of a fourth channel
}

TEST_CASE("an observer counts over batches", "[explain]") {
  Image<float, ChannelsFirst> a(4, 3, 3, 5, 7);
  for (Index n = 0; n < 4; ++n)
    for (Index s = 0; s < 15; ++s) {
      a.view()(n, 1, s) = 0.0f;
      a.view()(n, 2, s) += 1e4f;
    }
  a.view()(3, 0, 14) = std::numeric_limits<float>::quiet_NaN();
  a.view()(0, 0, 0) = -std::numeric_limits<float>::infinity();
  LayerObserver observer;
  observer.count(a.view().samples(0, 1));
  observer.count(a.view().samples(1, 3));
  double mean = 0.0, squares = 0.0;
  std::vector<double> finite;
  for (const double v : logical(a.view()))
    if (std::isfinite(v)) finite.push_back(v);
  for (const double v : finite) mean += v / static_cast<double>(finite.size());
  for (const double v : finite) squares += (v - mean) * (v - mean) / static_cast<double>(finite.size());
  CHECK((observer.values() == 180 && observer.not_finite() == 2 && observer.channels() == 3));
  CHECK(observer.mean() == Approx(mean).epsilon(1e-13));
  CHECK(observer.deviation() == Approx(std::sqrt(squares)).epsilon(1e-13));
  CHECK(observer.least() == *std::min_element(finite.begin(), finite.end()));
  CHECK(observer.largest() == *std::max_element(finite.begin(), finite.end()));
  CHECK(observer.dead_channels() == 1);
  CHECK(observer.zeros() == Approx(60.0 / 178).epsilon(1e-13));
  LayerObserver rows;
  const float values[] = {1, 0, 2, 0};
  rows.count(Rows<const float>(values, 2, 2));
  CHECK((rows.dead_channels() == 1 && rows.channels() == 2));
  CHECK(LayerObserver{}.deviation() == 0.0);
}
