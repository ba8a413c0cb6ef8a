// Layers against definitions written out in loops, and their whole Jacobians.
#define EIGEN_USE_THREADS

#include <poolhead/nn/conv2d.hpp>
#include <poolhead/nn/dense.hpp>
#include <poolhead/nn/max_pool2d.hpp>
#include <poolhead/nn/relu.hpp>

#include "support/catch.hpp"
#include "support/jacobian.hpp"
#include "support/layer.hpp"
#include "support/message.hpp"

using namespace poolhead;
using namespace poolhead::test;

namespace {

struct ConvolutionCase {
  Index n, channels, height, width, outputs;
  Extent2d kernel;
  Conv2dOptions options;
};

std::vector<ConvolutionCase> convolution_cases() {
  return {
      {2, 3, 7, 6, 5, 3, {.padding = 1}},
      {3, 4, 8, 9, 6, 3, {}},
      {1, 2, 9, 11, 3, {3, 5}, {.stride = {2, 3}, .padding = {1, 2}}},
      {2, 3, 10, 9, 4, 3, {.padding = 2, .dilation = 2}},
      {2, 4, 9, 9, 6, {2, 3}, {.stride = 2, .padding = {0, 1}, .dilation = {3, 1}, .groups = 2}},
      {2, 6, 5, 5, 6, 3, {.padding = 1, .groups = 6, .bias = false}},
      {3, 17, 4, 5, 19, 1, {}},
      {2, 8, 5, 6, 4, 1, {.stride = 2, .groups = 2}},
      {1, 1, 1, 1, 1, 1, {.padding = 1}},
      {2, 1, 4, 3, 2, 5, {.padding = 3, .bias = false}},
      {40, 16, 12, 12, 8, 3, {.padding = 1}},  // several blocks of samples
  };
}

/// The definition in the docstring of Conv2d, in double.
template <class T, class L>
std::vector<double> convolution_by_definition(const Conv2d<T>& conv, const FeatureMap<const T, L>& x,
                                              const Conv2dOptions& options, const FeatureShape& out) {
  std::vector<double> y;
  const Index per_group = conv.weight.dimension(1);
  for (Index n = 0; n < x.batch(); ++n)
    for (Index o = 0; o < out.channels; ++o)
      for (Index oh = 0; oh < out.height(); ++oh)
        for (Index ow = 0; ow < out.width(); ++ow) {
          double sum = conv.bias.size() > 0 ? static_cast<double>(conv.bias(o)) : 0.0;
          const Index first = o / (out.channels / options.groups) * per_group;
          for (Index c = 0; c < per_group; ++c)
            for (Index kh = 0; kh < conv.weight.dimension(2); ++kh)
              for (Index kw = 0; kw < conv.weight.dimension(3); ++kw) {
                const Index h =
                    oh * options.stride.height - options.padding.height + kh * options.dilation.height;
                const Index w = ow * options.stride.width - options.padding.width + kw * options.dilation.width;
                if (h < 0 || h >= x.height() || w < 0 || w >= x.width()) continue;
                sum += static_cast<double>(conv.weight(o, c, kh, kw)) *
                       static_cast<double>(x(n, first + c, h * x.width() + w));
              }
          y.push_back(sum);
        }
  return y;
}

struct ConvolutionGradients {
  std::vector<double> x;           ///< in the order of (n, c, h, w)
  std::vector<double> parameters;  ///< weights, then biases
};

/// The derivatives of the same definition, in double, added up term by term.
template <class T, class L>
ConvolutionGradients gradients_by_definition(const Conv2d<T>& conv, const FeatureMap<const T, L>& x,
                                             const FeatureMap<const T, L>& dy, const Conv2dOptions& options) {
  const Index per_group = conv.weight.dimension(1), kh_count = conv.weight.dimension(2),
              kw_count = conv.weight.dimension(3);
  ConvolutionGradients out{
      std::vector<double>(static_cast<std::size_t>(x.size())),
      std::vector<double>(static_cast<std::size_t>(conv.weight.size() + conv.bias.size()))};
  for (Index n = 0; n < x.batch(); ++n)
    for (Index o = 0; o < dy.channels(); ++o)
      for (Index oh = 0; oh < dy.height(); ++oh)
        for (Index ow = 0; ow < dy.width(); ++ow) {
          const auto gradient = static_cast<double>(dy(n, o, oh * dy.width() + ow));
          if (conv.bias.size() > 0)
            out.parameters[static_cast<std::size_t>(conv.weight.size() + o)] += gradient;
          const Index first = o / (dy.channels() / options.groups) * per_group;
          for (Index c = 0; c < per_group; ++c)
            for (Index kh = 0; kh < kh_count; ++kh)
              for (Index kw = 0; kw < kw_count; ++kw) {
                const Index h =
                    oh * options.stride.height - options.padding.height + kh * options.dilation.height;
                const Index w = ow * options.stride.width - options.padding.width + kw * options.dilation.width;
                if (h < 0 || h >= x.height() || w < 0 || w >= x.width()) continue;
                const Index s = h * x.width() + w;
                out.x[static_cast<std::size_t>((n * x.channels() + first + c) * x.positions() + s)] +=
                    static_cast<double>(conv.weight(o, c, kh, kw)) * gradient;
                out.parameters[static_cast<std::size_t>(((o * per_group + c) * kh_count + kh) * kw_count +
                                                        kw)] +=
                    static_cast<double>(x(n, first + c, s)) * gradient;
              }
        }
  return out;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double error = std::abs(a[i] - b[i]);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

/// Runs it forward and backward, and looks at everything beside the definition.
template <class T, class L, Device D = Eigen::DefaultDevice>
void check_convolution(const Conv2d<T>& conv, const Image<T, L>& x, const Conv2dOptions& options, double of_y,
                       double of_dx, double of_parameters, const D& device = D{}) {
  Run run(conv, x.view());
  run.forward(device);
  run.backward(device);
  const auto y = convolution_by_definition(conv, x.view(), options, run.y().shape());
  const auto expected = gradients_by_definition(conv, x.view(), detail::read_only(run.dy()), options);
  CHECK(largest_difference(logical(run.y()), y) < of_y);
  CHECK(largest_difference(logical(run.dx()), expected.x) < of_dx);
  CHECK(largest_difference(all_parameters(run.gradient), expected.parameters) < of_parameters);
}

/// The Jacobians of a layer for its input and for its parameters.
template <class Layer, class X>
void check_jacobians(Layer layer, const X& input, double tolerance) {
  using T = typename X::Scalar;
  std::vector<T> x(input.data(), input.data() + input.size());
  const auto moved = detail::with_data(detail::shape_of(input), x.data());
  const auto forward = [&] {
    Run run(layer, detail::read_only(moved));
    run.forward();
    return std::vector<double>(run.y_values.begin(), run.y_values.end());
  };
  const auto run_backward = [&](const std::vector<double>& dy) {
    Run run(layer, detail::read_only(moved));
    run.forward();
    std::copy(dy.begin(), dy.end(), run.dy_values.begin());
    layer.backward(run.x, run.y(), run.dy(), run.dx(), run.cache, run.gradient);
    return run;
  };
  CHECK(jacobian_error(std::span<double>(x), forward,
                       [&](const std::vector<double>& dy) { return run_backward(dy).dx_values; }) < tolerance);
  visit_parameters(layer, [&](std::string_view name, auto values) {
    INFO(name);
    CHECK(jacobian_error(std::span<double>(values.data(), values.size()), forward,
                         [&](const std::vector<double>& dy) {
                           std::vector<double> out;
                           auto run = run_backward(dy);
                           visit_parameters(run.gradient, [&](std::string_view other, auto gradient) {
                             if (other == name) out.assign(gradient.begin(), gradient.end());
                           });
                           return out;
                         }) < tolerance);
  });
}

}  // namespace

TEMPLATE_TEST_CASE("a convolution is its definition", "[conv]", ChannelsFirst, ChannelsLast) {
  for (const auto& c : convolution_cases()) {
    INFO(c.n << "x" << c.channels << "x" << c.height << "x" << c.width << " kernel " << c.kernel.height << "x"
             << c.kernel.width << " groups " << c.options.groups);
    const Conv2d<float> conv(c.channels, c.outputs, c.kernel, c.options, 3);
    const Image<float, TestType> x(c.n, c.channels, c.height, c.width, 1);
    Run run(conv, x.view());
    run.forward();
    const auto expected = convolution_by_definition(conv, x.view(), c.options, run.y().shape());
    CHECK(largest_difference(logical(run.y()), expected) < 2e-6);
  }
}

TEMPLATE_TEST_CASE("a convolution's gradients are its Jacobian", "[conv]", ChannelsFirst, ChannelsLast) {
  for (const auto& c : convolution_cases()) {
    if (c.n > 3) continue;
    INFO(c.channels << " channels, kernel " << c.kernel.height << "x" << c.kernel.width << " groups "
                    << c.options.groups);
    const Image<double, TestType> x(std::min<Index>(c.n, 2), c.channels, c.height, c.width, 1);
    check_jacobians(Conv2d<double>(c.channels, c.outputs, c.kernel, c.options, 3), x.view(), 1e-8);
  }
}

TEMPLATE_PRODUCT_TEST_CASE("a convolution and its gradients are their definition over a grid of shapes",
                           "[conv]", (Nchw, Nhwc), (float, double)) {
  using T = typename TestType::Scalar;
  using L = typename TestType::Layout;
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice two_threads(&pool, 2);
  for (const Index channels : {1, 3, 8, 17})
    for (const Index kernel : {1, 3, 5})
      for (const Index padding : {0, 1, 2})
        for (const Index stride : {1, 2})
          for (const Index groups : {Index{1}, channels}) {
            const Index outputs = groups == 1 ? 20 - channels : 2 * channels;
            const Conv2dOptions options{.stride = stride, .padding = padding, .groups = groups};
            INFO(channels << " channels in " << groups << " groups, kernel " << kernel << ", padding "
                          << padding << ", stride " << stride);
            const Conv2d<T> conv(channels, outputs, kernel, options, 3);
            // On two threads from some 2 million products on; both shapes have odd sizes.
            const Image<T, L> x(padding == 1 ? 33 : 2, channels, 7, 6, 1);
            const double tolerance = std::same_as<T, float> ? 1e-6 : 1e-14;
            if (padding == 1)
              check_convolution(conv, x, options, 3 * tolerance, 20 * tolerance, 200 * tolerance, two_threads);
            else
              check_convolution(conv, x, options, 3 * tolerance, 20 * tolerance, 200 * tolerance);
          }
}

TEMPLATE_TEST_CASE("a convolution of a large map, of which a block is a band of rows, is its definition",
                   "[conv]", ChannelsFirst, ChannelsLast) {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice two_threads(&pool, 2);
  for (const Index stride : {1, 2}) {
    const Conv2dOptions options{.stride = stride, .padding = 1};
    const Conv2d<float> conv(24, 5, 3, options, 3);
    check_convolution(conv, Image<float, TestType>(1, 24, 80, 61, 1), options, 3e-6, 2e-5, 1e-3);
    // Threads share the one gradient by slices; what an earlier call left in their memory is of other data.
    check_convolution(conv, Image<float, TestType>(1, 24, 80, 61, 2), options, 3e-6, 2e-5, 1e-3, two_threads);
  }
}

TEMPLATE_TEST_CASE("a convolution takes maps smaller than its kernel, and none", "[conv]", ChannelsFirst,
                   ChannelsLast) {
  const Conv2dOptions options{.padding = 3};
  const Conv2d<float> conv(3, 9, 5, options, 3);
  for (const Index n : {0, 3}) {
    const Image<float, TestType> x(n, 3, 1, 2, 1);
    check_convolution(conv, x, options, 2e-6, 1e-5, 1e-5);
  }
}

TEMPLATE_TEST_CASE("a convolution is not finite where its definition is not", "[conv]", ChannelsFirst,
                   ChannelsLast) {
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  const auto inf = std::numeric_limits<double>::infinity();
  for (const Index stride : {1, 2}) {
    const Conv2dOptions options{.stride = stride, .padding = 1};
    const Conv2d<double> conv(3, 5, 3, options, 3);
    Image<double, TestType> x(2, 3, 6, 7, 1);
    x.view()(0, 1, 6) = nan;      // the end of the first row, beside the padding
    x.view()(1, 2, 5 * 7) = inf;  // the begin of the last
    x.view()(1, 0, 3 * 7 + 3) = -inf;
    Run run(conv, std::as_const(x).view());
    run.forward();
    run.backward();
    const auto expected =
        gradients_by_definition(conv, std::as_const(x).view(), detail::read_only(run.dy()), options);
    const auto agree = [](const std::vector<double>& got, const std::vector<double>& wanted) {
      REQUIRE(got.size() == wanted.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        if (std::isfinite(wanted[i]))
          REQUIRE(got[i] == Approx(wanted[i]).margin(1e-13));
        else
          REQUIRE((std::isnan(wanted[i]) ? std::isnan(got[i]) : got[i] == wanted[i]));
      }
    };
    agree(logical(run.y()), convolution_by_definition(conv, std::as_const(x).view(), options, run.y().shape()));
    agree(logical(run.dx()), expected.x);
    agree(all_parameters(run.gradient), expected.parameters);
  }
}

TEMPLATE_TEST_CASE("a convolution's results are the same bits on any number of threads", "[conv][threads]",
                   ChannelsFirst, ChannelsLast) {
  const auto check = [](const Conv2d<float>& conv, const Image<float, TestType>& x) {
    for (const int count : {2, 3, 5}) CHECK(same_bits_on_threads(conv, x.view(), count));
  };
  check(Conv2d<float>(32, 48, 3, {.padding = 1}, 5), {33, 32, 20, 20, 2});
  check(Conv2d<float>(8, 12, {5, 3}, {.stride = {2, 1}, .padding = 1, .dilation = {1, 2}, .groups = 2}, 5),
        {19, 8, 31, 17, 2});
  check(Conv2d<float>(16, 9, 3, {.stride = 2, .padding = 1}, 5), {1, 16, 90, 91, 2});  // bands of one sample
  check(Conv2d<float>(96, 100, 3, {.padding = 1}, 5), {3, 96, 5, 5, 2});               // slices of one gradient
}

TEMPLATE_TEST_CASE("a convolution's results do not depend on where its operands lie", "[conv]", ChannelsFirst,
                   ChannelsLast) {
  const Conv2d<float> conv(5, 11, 3, {.padding = 1}, 5);
  const Image<float, TestType> x(3, 5, 9, 10, 2);
  std::vector<float> moved(x.values.size() + 1);
  std::copy(x.values.begin(), x.values.end(), moved.begin() + 1);
  Run here(conv, x.view());
  Run there(conv, FeatureMap<const float, TestType>(moved.data() + 1, x.shape));
  for (auto* run : {&here, &there}) {
    run->forward();
    run->backward();
  }
  CHECK(here.y_values == there.y_values);
  CHECK(here.dx_values == there.dx_values);
  CHECK(all_parameters(here.gradient) == all_parameters(there.gradient));
}

TEST_CASE("backward of a layer adds to its gradient, and needs no dx", "[conv]") {
  const Conv2d<double> conv(3, 4, 3, {.padding = 1}, 1);
  const Image<double, ChannelsLast> x(2, 3, 5, 5, 2);
  Run run(conv, x.view());
  run.forward();
  run.backward();
  const auto once = all_parameters(run.gradient);
  conv.backward(run.x, run.y(), run.dy(), no_gradient, run.cache, run.gradient);
  const auto twice = all_parameters(run.gradient);
  for (std::size_t i = 0; i < once.size(); ++i) REQUIRE(twice[i] == Approx(2 * once[i]));
}

TEMPLATE_TEST_CASE("a dense layer is its definition", "[dense]", float, double) {
  using T = TestType;
  // Around what is multiplied together: rows, terms, vectors of columns and stretches of the depth.
  for (const Index n : {1, 2, 3, 4, 7, 8, 9, 66})
    for (const Index in : {1, 7, 16, 37, 300})
      for (const Index out : {1, 5, 16, 33, 67}) {
        CAPTURE(n, in, out);
        const Dense<T> dense(in, out, {.bias = out != 5}, 4);
        const Image<T, ChannelsLast> x(n, in, 1, 1, 9);
        const Rows<const T> rows(x.values.data(), n, in);
        Run run(dense, rows);
        run.forward();
        run.backward();
        run.backward();  // adds to the gradient
        const auto agree = [](T got, double start, Index terms, const auto& term) {
          double sum = start, magnitude = std::abs(start);
          for (Index k = 0; k < terms; ++k) {
            sum += static_cast<double>(term(k));
            magnitude += std::abs(static_cast<double>(term(k)));
          }
          return std::abs(static_cast<double>(got) - sum) <=
                 8 * static_cast<double>(std::numeric_limits<T>::epsilon()) * magnitude;
        };
        const auto dy = run.dy();
        for (Index i = 0; i < n; ++i)
          for (Index o = 0; o < out; ++o) {
            const double bias = dense.bias.size() > 0 ? static_cast<double>(dense.bias(o)) : 0.0;
            REQUIRE(agree(run.y()(i, o), bias, in, [&](Index k) { return dense.weight(o, k) * rows(i, k); }));
          }
        for (Index i = 0; i < n; ++i)
          for (Index k = 0; k < in; ++k)
            REQUIRE(agree(run.dx()(i, k), 0, out, [&](Index o) { return dense.weight(o, k) * dy(i, o); }));
        for (Index o = 0; o < out; ++o)
          for (Index k = 0; k < in; ++k)
            REQUIRE(agree(run.gradient.weight(o, k), 0, n, [&](Index i) { return 2 * dy(i, o) * rows(i, k); }));
        for (Index o = 0; o < dense.bias.size(); ++o)
          REQUIRE(agree(run.gradient.bias(o), 0, n, [&](Index i) { return 2 * dy(i, o); }));
      }
}

TEST_CASE("a dense layer takes Eigen's matrices and writes into columns of a wider one", "[dense]") {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Dense<float> dense(6, 3);
  const Matrix x = Matrix::Random(4, 6);
  Matrix wide = Matrix::Constant(4, 5, -1.0f);
  auto cache = dense.make_cache(x);
  auto columns = wide.middleCols(1, 3);
  dense.forward(x, columns, cache);
  Matrix y(4, 3);
  dense.forward(x, y, cache);
  CHECK(wide.middleCols(1, 3) == y);
  CHECK((wide.col(0).array() == -1.0f).all());
  CHECK((wide.col(4).array() == -1.0f).all());
}

TEMPLATE_TEST_CASE("ReLU", "[relu]", ChannelsFirst, ChannelsLast) {
  Image<double, TestType> x(2, 5, 3, 4, 6);
  check_jacobians(ReLU{}, std::as_const(x).view(), 1e-8);
  x.values[3] = std::numeric_limits<double>::quiet_NaN();
  x.values[4] = -std::numeric_limits<double>::infinity();
  Run run(ReLU{}, std::as_const(x).view());
  run.forward();
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    if (i == 3)
      CHECK(std::isnan(run.y_values[i]));
    else
      CHECK(run.y_values[i] == std::max(x.values[i], 0.0));
  }
}

TEMPLATE_PRODUCT_TEST_CASE("max-pool over windows is its definition", "[maxpool]", (Nchw, Nhwc),
                           (float, double)) {
  using T = typename TestType::Scalar;
  using L = typename TestType::Layout;
  struct Window {
    Index channels, height, width;
    Extent2d kernel, stride;
  };
  for (const auto& w : std::vector<Window>{{1, 4, 4, 2, 2},
                                           {3, 7, 5, 2, 2},
                                           {17, 6, 9, {2, 3}, {1, 2}},
                                           {33, 5, 5, 3, 1},
                                           {64, 2, 2, 2, 2},
                                           {3, 8, 38, 2, 2},
                                           {2, 5, 27, {3, 2}, {1, 2}},
                                           {2, 4, 64, 2, 2},
                                           {5, 9, 9, 2, 3}}) {
    INFO(w.channels << " channels, kernel " << w.kernel.height << "x" << w.kernel.width);
    const Image<T, L> x(2, w.channels, w.height, w.width, 8);
    const MaxPool2d pool(w.kernel, w.stride);
    Run run(pool, x.view());
    run.forward();
    run.backward();
    std::vector<double> y, dx(x.values.size(), 0.0);
    const auto out = run.y();
    for (Index n = 0; n < 2; ++n)
      for (Index c = 0; c < w.channels; ++c)
        for (Index oh = 0; oh < out.height(); ++oh)
          for (Index ow = 0; ow < out.width(); ++ow) {
            double best = -std::numeric_limits<double>::infinity();
            Index where = 0;
            for (Index kh = 0; kh < w.kernel.height; ++kh)
              for (Index kw = 0; kw < w.kernel.width; ++kw) {
                const Index s = (oh * w.stride.height + kh) * w.width + ow * w.stride.width + kw;
                const auto value = static_cast<double>(x.view()(n, c, s));
                if (value > best) best = value, where = s;
              }
            y.push_back(best);
            dx[static_cast<std::size_t>((n * w.channels + c) * w.height * w.width + where)] +=
                static_cast<double>(run.dy()(n, c, oh * out.width() + ow));
          }
    CHECK(logical(out) == y);
    CHECK(largest_difference(logical(run.dx()), dx) < 1e-6);
  }
}

TEMPLATE_TEST_CASE("max-pool over windows: ties go to the first, NaN to the first NaN", "[maxpool]",
                   ChannelsFirst, ChannelsLast) {
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  const auto inf = std::numeric_limits<float>::infinity();
  const std::vector<std::array<float, 4>> windows{
      {1, 1, 1, 1}, {0, nan, 5, nan}, {nan, 1, 2, 3}, {-inf, -inf, -inf, -inf}, {-0.0f, 0.0f, 0.0f, -1},
      {1, 2, 2, 0}};
  const std::vector<int> expected{0, 1, 0, 0, 0, 1};
  for (std::size_t i = 0; i < windows.size(); ++i) {
    Image<float, TestType> x(1, 1, 2, 2);
    x.values.assign(windows[i].begin(), windows[i].end());
    Run run(MaxPool2d(2), std::as_const(x).view());
    run.forward();
    CHECK(int{run.cache.argmax.data()[0]} == expected[i]);
    run.backward();
    for (int s = 0; s < 4; ++s)
      CHECK((run.dx_values[static_cast<std::size_t>(s)] != 0.0f) == (s == expected[i]));
  }
}

TEST_CASE("layers say what is wrong with their input", "[errors]") {
  const Image<float, ChannelsFirst> x(2, 3, 5, 5);
  const Conv2d<float> conv(4, 8, 3);
  CHECK(message_of<ShapeError>([&] { conv.make_cache(x.view()); }) ==
        "Conv2d::make_cache: x is [2, 3, 5, 5], expected 4 channels and, with padding "
        "0x0, a height and width of at least 3x3");
  CHECK_THROWS_AS(Conv2d<float>(3, 4, 7).make_cache(x.view()), ShapeError);
  CHECK_THROWS_AS(Conv2d<float>(3, 4, 0), ValueError);
  CHECK_THROWS_AS(Conv2d<float>(3, 4, 3, {.padding = -1}), ValueError);
  CHECK(message_of<ValueError>([&] { Conv2d<float>(3, 4, 3, {.groups = 2}); }) ==
        "Conv2d: groups is 2, expected a divisor of the channels 3 and 4");
  CHECK_THROWS_AS(Dense<float>(0, 3), ValueError);
  CHECK_THROWS_AS(MaxPool2d(0), ValueError);
  CHECK_THROWS_AS(MaxPool2d(6).make_cache(x.view()), ShapeError);

  const Conv2d<float> right(3, 4, 3);
  Run run(right, x.view());
  Image<float, ChannelsFirst> y(2, 4, 3, 4);
  CHECK(message_of<ShapeError>([&] { right.forward(x.view(), y.view(), run.cache); }) ==
        "Conv2d::forward: y is [2, 4, 3, 4], expected [2, 4, 3, 3]");
  CHECK(message_of<ValueError>([&] { run.backward(); }) ==
        "Conv2d::backward: the cache is empty, expected one that forward has filled");
  const Image<float, ChannelsFirst> other(1, 3, 5, 5);
  CHECK_THROWS_AS(right.forward(other.view(), y.view(), run.cache), ShapeError);
}
