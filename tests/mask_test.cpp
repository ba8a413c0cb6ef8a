// Masked feature maps: a pool over the valid positions alone, whatever stands at the others.
#define EIGEN_USE_THREADS
#include <poolhead/poolhead.hpp>

#include "support/allocation.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/pool_check.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

// What computes is compiled for float; by tests/long.sh, in minutes, for bfloat16 too.
#ifdef POOLHEAD_LONG_TESTS
#define POOLHEAD_COMPUTING_SCALARS (float, Eigen::bfloat16)
#else
#define POOLHEAD_COMPUTING_SCALARS (float)
#endif

constexpr double infinity = std::numeric_limits<double>::infinity();
using Mask = RowTensor<bool>;

/// valid(n, s) for every position.
template <class Valid>
Mask make_mask(const Extents& e, Valid valid) {
  Mask mask(e.n, e.positions());
  for (Index n = 0; n < e.n; ++n)
    for (Index s = 0; s < e.positions(); ++s) mask(n, s) = valid(n, s);
  return mask;
}

/// Masks of every character: runs, gaps, single positions.
std::vector<Mask> masks(const Extents& e) {
  const Index last = e.positions() - 1;
  return {make_mask(e, [&](Index n, Index s) { return hash(1, n, 0, s) % 2 == 0 || s == n % (last + 1); }),
          make_mask(e, [&](Index n, Index s) { return hash(2, n, 0, s) % 8 != 0 || s == last; }),
          make_mask(e, [&](Index n, Index s) { return s <= (n + 1) * last / 3; }),
          make_mask(e, [&](Index n, Index s) { return s >= (n + 1) * last / (e.n + 1); }),
          make_mask(e, [&](Index n, Index s) { return s == (5 * n + 3) % (last + 1); }),
          make_mask(e, [&](Index, Index) { return true; })};
}

template <class Type>
void put_at_invalid(Map<Type>& x, const Mask& mask, double garbage) {
  for (Index n = 0; n < x.extents.n; ++n)
    for (Index c = 0; c < x.extents.c; ++c)
      for (Index s = 0; s < x.extents.positions(); ++s)
        if (!mask(n, s)) x(n, c, s) = narrow<typename Type::Scalar>(garbage);
}

std::vector<Index> valid_positions(const Mask& mask, Index n) {
  std::vector<Index> out;
  for (Index s = 0; s < mask.dimension(1); ++s)
    if (mask(n, s)) out.push_back(s);
  return out;
}

/// Sample n of x, its valid positions alone.
template <class Type>
Map<Type> compressed(const Map<Type>& x, const Mask& mask, Index n) {
  const std::vector<Index> valid = valid_positions(mask, n);
  Map<Type> out({1, x.extents.c, 1, static_cast<Index>(valid.size())});
  for (Index c = 0; c < x.extents.c; ++c)
    for (std::size_t i = 0; i < valid.size(); ++i) out(0, c, static_cast<Index>(i)) = x(n, c, valid[i]);
  return out;
}
template <class T>
RowTensor<T> row_of(const RowTensor<T>& rows, Index n) {
  RowTensor<T> row(1, rows.dimension(1));
  for (Index j = 0; j < rows.dimension(1); ++j) row(0, j) = rows(n, j);
  return row;
}

/// What differs between the pool over a masked map and the oracle over the valid positions of each sample.
template <class Pool, class Oracle, class Type>
std::string masked_difference(const Pool& pool, const Oracle& oracle, Map<Type> x, const Mask& mask,
                              double garbage) {
  using T = typename Type::Scalar;
  put_at_invalid(x, mask, garbage);
  const RowTensor<T> dy = noise_rows<T>(pool, x.extents);
  const auto view = ph::masked(x.view(), mask);
  const PoolRun<Type, Pool> run(pool, view, x.extents, dy);
  if (!same_bits<RowTensor<T>>(pool(view), run.y)) return "inference and training differ";

  std::vector<Reference<T>> parameters =
      oracle.parameter_gradient(planes_of(compressed(x, mask, 0)), table_of(row_of(dy, 0)));
  std::fill(parameters.begin(), parameters.end(), 0);
  for (Index n = 0; n < x.extents.n; ++n) {
    const Map<Type> valid = compressed(x, mask, n);
    const std::vector<Index> positions = valid_positions(mask, n);
    const auto planes = planes_of(valid);
    const auto g = table_of(row_of(dy, n));
    if (std::string found = answer_difference(row_of(run.y, n), oracle, planes); !found.empty()) return found;
    for (Index c = 0; c < x.extents.c; ++c)
      for (Index s = 0; s < x.extents.positions(); ++s)
        if (!mask(n, s) && run.dx(n, c, s) != T(0)) return "dx is not 0 where the mask is";
    Map<Type> dx = valid;
    for (Index c = 0; c < x.extents.c; ++c)
      for (std::size_t i = 0; i < positions.size(); ++i) dx(0, c, Index(i)) = run.dx(n, c, positions[i]);
    if (std::string found =
            gradient_difference<T>(planes_of(dx), oracle.backward(planes, g), oracle.magnitude(planes, g));
        !found.empty())
      return found;
    if constexpr (requires { run.cache.argmax; }) {
      for (Index c = 0; c < x.extents.c; ++c)
        if (run.cache.argmax(n, c) != positions[static_cast<std::size_t>(argmax(planes.plane(0, c)))])
          return "the argmax is wrong";
    }
    const auto own = oracle.parameter_gradient(planes, g);
    for (std::size_t i = 0; i < own.size(); ++i) parameters[i] += own[i];
  }
  return parameter_difference(run.parameters(), parameters, table_of(dy), x.extents);
}

/// masked_difference for every mask and every sort of garbage.
template <class Type, class Pool, class Oracle, class Generator>
std::string any_masked_difference(const Pool& pool, const Oracle& oracle, const Extents& e,
                                  Generator generator) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  std::size_t i = 0;
  for (const Mask& mask : masks(e))
    for (const double garbage : {nan, infinity, -infinity, 1e4}) {
      std::string found = masked_difference(pool, oracle, Map<Type>(e, generator), mask, garbage);
      if (!found.empty()) return "mask " + std::to_string(i) + ": " + found;
      ++i;
    }
  return {};
}

std::vector<Extents> shapes() {
  return {{2, 3, 1, 1}, {3, 5, 3, 7}, {2, 1, 1, 40}, {2, 17, 1, 9}, {1, 40, 5, 13}, {2, 33, 1, 131}};
}

template <class T>
ph::GeneralizedMeanPool<T> gem_of_channels(Index channels) {
  ph::GeneralizedMeanPool<T> pool(channels, T(3));
  for (Index c = 0; c < channels; ++c) pool.p(c) = narrow<T>(2 + 0.25 * static_cast<double>(c % 7));
  return pool;
}
template <class T>
GeneralizedMeanOracle oracle_of(const ph::GeneralizedMeanPool<T>& pool) {
  GeneralizedMeanOracle oracle{{}, widen<double>(pool.eps)};
  for (Index c = 0; c < pool.p.size(); ++c) oracle.p.push_back(widen<double>(pool.p(c)));
  return oracle;
}

}  // namespace

TEMPLATE_PRODUCT_TEST_CASE("masked averages and maxima are those of the valid positions", "[mask]",
                           (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  for (const Extents& e : shapes()) {
    CAPTURE(e);
    REQUIRE(any_masked_difference<TestType>(ph::GlobalAveragePool{}, AverageOracle{}, e, noise(3)) == "");
    REQUIRE(any_masked_difference<TestType>(ph::GlobalMaxPool{}, MaxOracle{}, e, noise(3)) == "");
    REQUIRE(any_masked_difference<TestType>(ph::GlobalMaxPool{}, MaxOracle{}, e, ties(4, 2)) == "");
    REQUIRE(any_masked_difference<TestType>(ph::GlobalMaxPool{}, MaxOracle{}, e, constant(-infinity)) == "");
    // A NaN that counts, and +inf: in some planes.
    const auto is_nan = [](Index c, Index s) { return c % 3 == 1 && s % 7 == 3; };
    REQUIRE(any_masked_difference<TestType>(ph::GlobalMaxPool{}, MaxOracle{}, e, with_nan(noise(5), is_nan)) ==
            "");
    REQUIRE(any_masked_difference<TestType>(ph::GlobalAveragePool{}, AverageOracle{}, e,
                                            with_nan(noise(5), is_nan)) == "");
    const auto largest = static_cast<double>(std::numeric_limits<typename TestType::Scalar>::max());
    REQUIRE(any_masked_difference<TestType>(ph::GlobalAveragePool{}, AverageOracle{}, e, constant(largest)) ==
            "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("masked powers and exponentials are those of the valid positions", "[mask]",
                           (Nchw, Nhwc), POOLHEAD_COMPUTING_SCALARS) {
  using T = typename TestType::Scalar;
  for (const Extents& e : shapes()) {
    CAPTURE(e);
    const ph::GeneralizedMeanPool<T> shared(T(3));
    const auto gem = gem_of_channels<T>(e.c);
    REQUIRE(any_masked_difference<TestType>(shared, oracle_of(shared), e, noise(6, 0.5)) == "");
    REQUIRE(any_masked_difference<TestType>(gem, oracle_of(gem), e, noise(6, 0.5)) == "");
    REQUIRE(any_masked_difference<TestType>(ph::LogSumExpPool<T>(T(2)), LogSumExpOracle(2), e, noise(7)) == "");
    REQUIRE(any_masked_difference<TestType>(ph::SoftPool{}, SoftOracle{}, e, noise(8)) == "");
    REQUIRE(any_masked_difference<TestType>(ph::GlobalLpPool(2.5), LpOracle(2.5), e, noise(9)) == "");
    REQUIRE(any_masked_difference<TestType>(ph::GlobalLpPool(2), LpOracle(2), e, noise(9)) == "");
    REQUIRE(any_masked_difference<TestType>(ph::AverageMaxPool{}, AverageMaxOracle{}, e, noise(10)) == "");
  }
}

TEMPLATE_PRODUCT_TEST_CASE("masked attention sees the valid positions alone", "[mask]", (Nchw, Nhwc),
                           POOLHEAD_COMPUTING_SCALARS) {
  using T = typename TestType::Scalar;
  using Attention = ph::AttentionPool<T>;
  for (const Extents& e : shapes())
    for (const auto kind : {Attention::softmax, Attention::sigmoid}) {
      CAPTURE(e, kind);
      const Attention pool(e.c, 3, kind, 2);
      REQUIRE(any_masked_difference<TestType>(pool, AttentionOracle(pool), e, noise(11)) == "");
    }
  // Many hidden weights: their gradient comes in parts of the channels.
  const Extents wide{2, 1003, 3, 3};
  const Attention pool(1003, 33);
  REQUIRE(any_masked_difference<TestType>(pool, AttentionOracle(pool), wide, noise(13)) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("masked heads in one pass", "[mask]", (Nchw, Nhwc), (float)) {
  using T = typename TestType::Scalar;
  for (const Extents& e : shapes()) {
    CAPTURE(e);
    const auto gem = gem_of_channels<T>(e.c);
    const ph::AttentionPool<T> attention(e.c, 2);
    const auto heads = ph::concat(ph::GlobalAveragePool{}, gem, ph::GlobalMaxPool{}, attention, ph::SoftPool{});
    const ConcatOracle oracle(AverageOracle{}, oracle_of(gem), MaxOracle{}, AttentionOracle(attention),
                              SoftOracle{});
    REQUIRE(any_masked_difference<TestType>(heads, oracle, e, noise(12)) == "");

    // All ones: as without a mask.
    const Map<TestType> x(e, noise(13));
    const Mask ones = make_mask(e, [](Index, Index) { return true; });
    const RowTensor<T> dy = noise_rows<T>(heads, e);
    using Run = PoolRun<TestType, std::remove_const_t<decltype(heads)>>;
    const Run with(heads, ph::masked(x.view(), ones), e, dy), without(heads, x.view(), e, dy);
    for (Index i = 0; i < dy.size(); ++i)
      REQUIRE(std::abs(with.y.data()[i] - without.y.data()[i]) <=
              16 * 1.2e-7f * (1 + std::abs(without.y.data()[i])));
    for (std::size_t i = 0; i < x.values.size(); ++i)
      REQUIRE(std::abs(with.dx.values[i] - without.dx.values[i]) <= 1e-5f);
    REQUIRE(same_bits(std::get<2>(with.cache.heads).argmax, std::get<2>(without.cache.heads).argmax));

    // Threads, which small maps would not get, do not change a bit.
    if (e.c != 33) continue;
    const Extents large{9, 33, 57, 59};
    const Map<TestType> map(large, noise(14));
    const auto large_gem = gem_of_channels<T>(33);
    const Mask mask = make_mask(large, [](Index n, Index s) { return s == n || hash(15, n, 0, s) % 3 != 0; });
    const RowTensor<T> large_dy = noise_rows<T>(heads, large);
    const Run serial(heads, ph::masked(map.view(), mask), large, large_dy);
    for (const int count : {2, 3, 7}) {
      Eigen::ThreadPool threads(count);
      const Eigen::ThreadPoolDevice device(&threads, count);
      const Run run(heads, ph::masked(map.view(), mask), large, large_dy, device);
      CHECK(same_bits(run.y, serial.y));
      CHECK(same_bits(run.dx.values, serial.dx.values));
      CHECK(same_bits(run.parameters(), serial.parameters()));
    }
  }
}

TEMPLATE_PRODUCT_TEST_CASE("a mask may be a tensor, a matrix, a map or rows, of bool or bytes", "[mask]",
                           (Nchw, Nhwc), (float)) {
  const Extents e{3, 5, 3, 7};
  const Map<TestType> x(e, noise(16));
  const Mask mask = masks(e)[0];
  const auto heads = ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{});
  const RowTensor<float> expected = heads(ph::masked(x.view(), mask));
  const auto check = [&](auto&& other) {
    CHECK(same_bits<RowTensor<float>>(heads(ph::masked(x.view(), other)), expected));
  };
  using Byte = std::uint8_t;
  Eigen::Matrix<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> bools(3, 21);
  Eigen::Matrix<Byte, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> bytes(3, 21);
  RowTensor<Byte> byte_tensor(3, 21);
  std::vector<Byte> wide(3 * 30, 77);
  for (Index n = 0; n < 3; ++n)
    for (Index s = 0; s < 21; ++s) {
      bools(n, s) = mask(n, s);
      // Any byte but 0 counts.
      const auto byte = static_cast<Byte>(!mask(n, s) ? 0 : s % 3 == 0 ? 1 : s % 3 == 1 ? 128 : 255);
      bytes(n, s) = byte_tensor(n, s) = wide[static_cast<std::size_t>(30 * n + 4 + s)] = byte;
    }
  check(bools);
  check(bytes);
  check(byte_tensor);
  check(std::as_const(byte_tensor));
  check(Eigen::TensorMap<const RowTensor<Byte>>(byte_tensor.data(), 3, 21));
  check(Eigen::Map<decltype(bytes), 0, Eigen::OuterStride<>>(wide.data() + 4, 3, 21, Eigen::OuterStride<>(30)));
  check(ph::Rows<const Byte>(wide.data() + 4, 3, 21, 30));
  check(ph::Rows<const bool>(mask.data(), 3, 21));
  // A view of a map of const, or of one that is not.
  Map<TestType> changing = x;
  CHECK(same_bits<RowTensor<float>>(heads(ph::masked(changing.view(), mask)), expected));
}

TEMPLATE_PRODUCT_TEST_CASE("masks of ranks 3 and 5 count positions in their order", "[mask]", (Nchw), (float)) {
  const Extents e{2, 3, 4, 6};
  const Map<TestType> x(e, noise(17));
  const Mask mask = masks(e)[0];
  const RowTensor<float> expected = ph::GlobalMaxPool{}(ph::masked(x.view(), mask));
  using Rank5 = Eigen::TensorMap<const Eigen::Tensor<float, 5, Eigen::RowMajor>>;
  const Rank5 deep(x.values.data(), 2, 3, 2, 3, 4);
  CHECK(same_bits<RowTensor<float>>(ph::GlobalMaxPool{}(ph::masked(ph::channels_first(deep), mask)), expected));
}

TEMPLATE_PRODUCT_TEST_CASE("a row without a valid position is refused by name, and nothing is written",
                           "[mask][error]", (Nchw, Nhwc), (float)) {
  const Extents e{3, 5, 3, 7};
  const Map<TestType> x(e, noise(18));
  const Mask good = masks(e)[0];
  const Mask bad = make_mask(e, [&](Index n, Index s) { return n != 1 && good(n, s); });
  const auto check = [&](const auto& pool) {
    const std::string name(std::remove_cvref_t<decltype(pool)>::name);
    const auto message = [&](auto call) { return message_of<ph::ValueError>(call); };
    RowTensor<float> y(3, pool.features(5));
    y.setConstant(-77);
    Map<TestType> dx(e, constant(-77));
    auto cache = pool.make_cache(ph::masked(x.view(), good));
    auto gradient = ph::zeros_like(pool);
    const std::string rest = ": row 1 of the mask has no valid position, expected at least one";
    CHECK(message([&] { pool.forward(ph::masked(x.view(), bad), y); }) == name + "::forward" + rest);
    CHECK(message([&] { pool.forward(ph::masked(x.view(), bad), y, cache); }) == name + "::forward" + rest);
    CHECK(message([&] { pool(ph::masked(x.view(), bad)); }) == name + "::forward" + rest);
    for (Index i = 0; i < y.size(); ++i) REQUIRE(y.data()[i] == -77.0f);
    CHECK_FALSE(cache.filled);
    pool.forward(ph::masked(x.view(), good), y, cache);
    CHECK(message([&] { pool.backward(ph::masked(x.view(), bad), y, y, dx.view(), cache, gradient); }) ==
          name + "::backward" + rest);
    for (const float value : dx.values) REQUIRE(value == -77.0f);
    for (const float value : parameters_of<float>(gradient)) REQUIRE(value == 0.0f);
  };
  check(ph::GlobalAveragePool{});
  check(ph::GlobalMaxPool{});
  check(ph::GeneralizedMeanPool<float>(3.0f));
  check(ph::AttentionPool<float>(5, 2));
  check(ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}));
}

TEST_CASE("a mask of another shape is refused", "[mask][error]") {
  const Map<Nchw<float>> x({2, 5, 3, 7}, noise(19));
  const auto message = [&](Index n, Index s) {
    RowTensor<bool> mask(n, s);
    mask.setConstant(true);
    return message_of<ph::ShapeError>([&] { ph::masked(x.view(), mask); });
  };
  CHECK(message(2, 20) == "masked: mask is [2, 20], expected [2, 21]");
  CHECK(message(3, 21) == "masked: mask is [3, 21], expected [2, 21]");
  CHECK(message(0, 0) == "masked: mask is [0, 0], expected [2, 21]");
  CHECK(message(2, 21) == "nothing was thrown");
}

TEMPLATE_PRODUCT_TEST_CASE("masked pools allocate nothing after their cache is made", "[mask][allocation]",
                           (Nchw, Nhwc), (float)) {
  const Extents e{3, 37, 5, 7};
  const Map<TestType> x(e, noise(20));
  Map<TestType> dx(e);
  const Mask mask = masks(e)[0];
  const auto check = [&](const auto& pool) {
    const auto view = ph::masked(x.view(), mask);
    RowTensor<float> y(3, pool.features(37));
    auto cache = pool.make_cache(view);
    auto gradient = ph::zeros_like(pool);
    const auto step = [&] {
      const auto again = ph::masked(x.view(), mask);
      pool.forward(again, y);
      pool.forward(again, y, cache);
      pool.backward(again, y, y, dx.view(), cache, gradient);
    };
    step();
    CHECK(allocations_of(step) == 0);
  };
  check(ph::concat(ph::GlobalAveragePool{}, gem_of_channels<float>(37), ph::GlobalMaxPool{},
                   ph::AttentionPool<float>(37, 2), ph::SoftPool{}));
  check(ph::AttentionPool<float>(37, 2));
  check(ph::LogSumExpPool<float>(2.0f));
}
