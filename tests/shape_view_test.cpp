// Views: extents, data, element order and constness; extents that no memory can have are refused.
#include "support/catch.hpp"
#include "support/layout.hpp"

#include <numeric>
#include <string>

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

template <class T, int Rank>
using Tensor = Eigen::Tensor<T, Rank, Eigen::RowMajor>;

template <class Call>
std::string shape_error_of(Call call) {
  try {
    call();
  } catch (const ph::ShapeError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

// Constness follows the tensor, and a view of T converts to a view of const T but not back.
using MapOfFloat = ph::FeatureMap<float, ph::ChannelsFirst>;
using MapOfConst = ph::FeatureMap<const float, ph::ChannelsFirst>;
static_assert(std::is_convertible_v<MapOfFloat, MapOfConst>);
static_assert(!std::is_constructible_v<MapOfFloat, MapOfConst>);
static_assert(!std::is_constructible_v<MapOfConst, ph::FeatureMap<float, ph::ChannelsLast>>);
static_assert(std::same_as<decltype(ph::nchw(std::declval<Tensor<float, 4>&>())), MapOfFloat>);
static_assert(std::same_as<decltype(ph::nchw(std::declval<const Tensor<float, 4>&>())), MapOfConst>);
static_assert(std::same_as<decltype(ph::nhwc(std::declval<const Tensor<float, 4>&>())),
                           ph::FeatureMap<const float, ph::ChannelsLast>>);

TEMPLATE_PRODUCT_TEST_CASE("a view sees each element where its layout puts it", "[view]", (Nchw, Nhwc),
                           (float, double, Eigen::half, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  const Extents e{2, 3, 4, 5};
  Tensor<Scalar, 4> tensor(TestType::dimensions(e));
  const auto view = TestType::view(tensor);
  CHECK(view.data() == tensor.data());
  CHECK(view.batch() == 2);
  CHECK(view.channels() == 3);
  CHECK(view.depth() == 1);
  CHECK(view.height() == 4);
  CHECK(view.width() == 5);
  CHECK(view.positions() == 20);
  CHECK(view.size() == 120);
  CHECK(view.shape() == TestType::view(tensor.data(), e).shape());

  bool right = true;
  for (Index n = 0; n < e.n; ++n)
    for (Index c = 0; c < e.c; ++c)
      for (Index h = 0; h < e.h; ++h)
        for (Index w = 0; w < e.w; ++w) {
          const Scalar* element = tensor.data() + TestType::offset(e, n, c, h * e.w + w);
          constexpr bool first = std::same_as<typename TestType::Layout, ph::ChannelsFirst>;
          right = right && &view(n, c, h * e.w + w) == element;
          right = right && &(first ? tensor(n, c, h, w) : tensor(n, h, w, c)) == element;
        }
  CHECK(right);

  const auto last = view.samples(1, 1);
  CHECK(last.batch() == 1);
  CHECK(last.channels() == 3);
  CHECK(last.height() == 4);
  CHECK(last.data() == tensor.data() + 60);
  CHECK(view.sample(1) == last.data());
}

TEST_CASE("views take TensorMaps and pointers, const or not, and keep their constness", "[view]") {
  std::vector<float> memory(2 * 3 * 4 * 5);
  const std::vector<float>& read_only = memory;
  Eigen::TensorMap<Tensor<float, 4>> map(memory.data(), 2, 3, 4, 5);
  const Eigen::TensorMap<Tensor<float, 4>> const_map(memory.data(), 2, 3, 4, 5);
  const Eigen::TensorMap<const Tensor<float, 4>> map_of_const(read_only.data(), 2, 3, 4, 5);

  const MapOfFloat writable = ph::nchw(map);
  const MapOfFloat also_writable = ph::nchw(const_map);  // the map is const, not what it maps
  const MapOfConst readable = ph::nchw(map_of_const);
  const MapOfFloat of_temporary = ph::nchw(Eigen::TensorMap<Tensor<float, 4>>(memory.data(), 2, 3, 4, 5));
  const MapOfConst of_pointer = ph::nchw(read_only.data(), 2, 3, 4, 5);
  const MapOfConst converted = writable;
  for (const MapOfConst& view : {MapOfConst(writable), MapOfConst(also_writable), readable,
                                 MapOfConst(of_temporary), of_pointer, converted}) {
    CHECK(view.data() == memory.data());
    CHECK(view.shape() == writable.shape());
  }
  const auto last = ph::nhwc(map_of_const);
  CHECK(last.channels() == 5);
  CHECK(last.height() == 3);
  CHECK(last.width() == 4);
  static_assert(std::same_as<decltype(ph::nchw(map_of_const)), MapOfConst>);
  static_assert(std::same_as<decltype(ph::nchw(const_map)), MapOfFloat>);
}

TEST_CASE("a tensor with 32-bit indices is viewed as any other", "[view]") {
  Eigen::Tensor<float, 4, Eigen::RowMajor, int> tensor(2, 3, 4, 5);
  const MapOfFloat view = ph::nchw(tensor);
  CHECK(view.data() == tensor.data());
  CHECK(view.size() == 120);
}

TEST_CASE("channels_first and channels_last take ranks 3, 4 and 5", "[view]") {
  Tensor<float, 3> rank3(2, 3, 5);
  Tensor<float, 4> rank4(2, 3, 4, 5);
  const Tensor<float, 5> rank5(2, 3, 4, 5, 6);

  CHECK(ph::channels_first(rank3).shape() == ph::FeatureShape{2, 3, {1, 1, 5}, 3});
  CHECK(ph::channels_last(rank3).shape() == ph::FeatureShape{2, 5, {1, 1, 3}, 3});
  CHECK(ph::channels_first(rank4).shape() == ph::nchw(rank4).shape());
  CHECK(ph::channels_last(rank4).shape() == ph::nhwc(rank4).shape());
  CHECK(ph::channels_first(rank5).shape() == ph::FeatureShape{2, 3, {4, 5, 6}, 5});
  CHECK(ph::channels_last(rank5).shape() == ph::FeatureShape{2, 6, {3, 4, 5}, 5});

  // Positions count in (depth, height, width) order.
  CHECK(&ph::channels_first(rank5)(1, 2, (3 * 5 + 4) * 6 + 5) == &rank5(1, 2, 3, 4, 5));
  CHECK(&ph::channels_last(rank5)(1, 5, (2 * 4 + 3) * 5 + 4) == &rank5(1, 2, 3, 4, 5));
  CHECK(&ph::channels_last(rank3)(1, 4, 2) == &rank3(1, 2, 4));
}

TEST_CASE("a view refuses extents below zero", "[view]") {
  float memory[1];
  CHECK(shape_error_of([&] { ph::nchw(memory, 2, -1, 3, 4); }) ==
        "nchw: extents are [2, -1, 3, 4], expected none below 0");
  CHECK(shape_error_of([&] { ph::nhwc(memory, 2, 1, 3, -4); }) ==
        "nhwc: extents are [2, 1, 3, -4], expected none below 0");
  CHECK(shape_error_of([&] { ph::nhwc(memory, -1, 0, 0, 0); }) ==
        "nhwc: extents are [-1, 0, 0, 0], expected none below 0");
}

TEST_CASE("a view refuses extents whose product no index holds", "[view]") {
  float* const nowhere = nullptr;
  const Index two32 = Index{1} << 32;
  CHECK(shape_error_of([&] { ph::nchw(nowhere, two32, two32, 1, 1); }) ==
        "nchw: extents are [4294967296, 4294967296, 1, 1], expected a product below 2^63");
  CHECK_THROWS_AS(ph::nhwc(nowhere, 1, two32, 1, two32 / 2), ph::ShapeError);
  CHECK_THROWS_AS(ph::nhwc(nowhere, 3, two32, two32 / 4, 3), ph::ShapeError);
  // Zero times anything is nothing, but the rest of the shape must still be one that can be counted.
  CHECK_THROWS_AS(ph::nchw(nowhere, 0, two32, two32, two32), ph::ShapeError);
  // The largest that fits, and elements beyond 2^31.
  CHECK(ph::nchw(nowhere, two32, two32 / 4, 1, 1).size() == two32 / 4 * two32);
  CHECK(ph::nchw(nowhere, 0, two32, 1, 1).size() == 0);
}

TEST_CASE("a view of nothing stands for its shape", "[view]") {
  const auto view = ph::nhwc(static_cast<const float*>(nullptr), 2, 3, 4, 5);
  CHECK(view.data() == nullptr);
  CHECK(view.size() == 120);
  CHECK(view.samples(1, 1).data() == nullptr);
  CHECK(MapOfFloat().size() == 0);
}
