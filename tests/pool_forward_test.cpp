// The answers of GlobalAveragePool, GlobalMaxPool and their concat, against the float64 oracle.
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/oracle.hpp"

#include <bit>
#include <iomanip>
#include <sstream>
#include <string>

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

const ph::GlobalAveragePool average;
const ph::GlobalMaxPool maximum;
const auto both = ph::concat(average, maximum);
const AverageOracle average_oracle;
const MaxOracle max_oracle;
const ConcatOracle both_oracle(average_oracle, max_oracle);

/// Whether y is the reference to within the bound and, for 16-bit types, one rounding. NaN must be NaN.
template <class T, class Real>
bool is_within(T y, Real reference, Real bound) {
  const Real value = widen<Real>(y);
  if (std::isnan(reference)) return std::isnan(value);
  if constexpr (sizeof(T) == 2)
    return widen<Real>(narrow<T>(reference - bound)) <= value &&
           value <= widen<Real>(narrow<T>(reference + bound));
  else
    return value == reference || std::abs(value - reference) <= bound;
}

/// The first value of y that is not what the oracle says, as a sentence; empty if there is none.
template <class T, class Oracle, class Real>
std::string difference(const RowTensor<T>& y, const Oracle& oracle, const Planes<Real>& x) {
  const Table<Real> reference = oracle.forward(x);
  const Table<Real> bound = oracle.template bound<T>(x);
  if (y.dimension(0) != reference.n || y.dimension(1) != reference.features) return "wrong shape";
  for (Index i = 0; i < reference.n; ++i)
    for (Index j = 0; j < reference.features; ++j)
      if (!is_within(y(i, j), reference(i, j), bound(i, j))) {
        std::ostringstream out;
        out << std::setprecision(20) << "y(" << i << ", " << j << ") is " << widen<Real>(y(i, j))
            << ", expected " << reference(i, j) << " to " << bound(i, j) << ", x is " << x.extents;
        return out.str();
      }
  return {};
}

/// Runs forward into rows full of NaN and compares.
template <class Pool, class Oracle, class Type>
std::string forward_difference(const Pool& pool, const Oracle& oracle, const Map<Type>& x) {
  RowTensor<typename Type::Scalar> y(x.extents.n, oracle.features(x.extents.c));
  y.setConstant(std::numeric_limits<typename Type::Scalar>::quiet_NaN());
  auto cache = pool.make_cache(x.view());
  pool.forward(x.view(), y, cache);
  return difference(y, oracle, planes_of(x));
}

template <class Type>
std::string average_difference(const Map<Type>& x) {
  return forward_difference(average, average_oracle, x);
}

/// Compares the maximum, its argmax and, where it is a number, the bits of the element it stands for.
template <class Type>
std::string max_difference(const Map<Type>& x) {
  using Scalar = typename Type::Scalar;
  using Bits = std::conditional_t<sizeof(Scalar) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(Scalar) == 4, std::uint32_t, std::uint64_t>>;
  RowTensor<Scalar> y(x.extents.n, x.extents.c);
  auto cache = maximum.make_cache(x.view());
  maximum.forward(x.view(), y, cache);
  const auto planes = planes_of(x);
  for (Index n = 0; n < x.extents.n; ++n)
    for (Index c = 0; c < x.extents.c; ++c) {
      const Index expected = argmax(planes.plane(n, c));
      const Index got = cache.argmax.data()[n * x.extents.c + c];
      const bool same = std::bit_cast<Bits>(y(n, c)) == std::bit_cast<Bits>(x(n, c, expected));
      if (got != expected || !(same || std::isnan(widen<double>(x(n, c, expected))))) {
        std::ostringstream out;
        out << "argmax(" << n << ", " << c << ") is " << got << ", expected " << expected << ", y is "
            << widen<double>(y(n, c)) << ", expected " << widen<double>(x(n, c, expected)) << ", x is "
            << x.extents;
        return out.str();
      }
    }
  return difference(y, max_oracle, planes);
}

/// All three pools.
template <class Type>
std::string any_difference(const Map<Type>& x) {
  if (const std::string found = average_difference(x); !found.empty()) return "average: " + found;
  if (const std::string found = max_difference(x); !found.empty()) return "max: " + found;
  if (const std::string found = forward_difference(both, both_oracle, x); !found.empty())
    return "concat: " + found;
  return {};
}

/// Sizes around every vector width and its multiples.
std::vector<Index> sizes() {
  std::vector<Index> all;
  for (Index size = 1; size <= 40; ++size) all.push_back(size);
  for (Index size : {49, 63, 64, 65, 127, 128, 129, 196}) all.push_back(size);
  return all;
}

}  // namespace

TEMPLATE_PRODUCT_TEST_CASE("pools are right for every number of channels and positions", "[pool][forward]",
                           (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  std::vector<Index> channels = sizes();
  channels.push_back(2048);
  for (Index c : channels)
    for (Index s : sizes())
      if (c <= 40 || s <= 40 || c == s) {
        REQUIRE(any_difference(Map<TestType>({2, c, 1, s}, noise(1))) == "");
      }
  // Few channels at many positions.
  for (Index c : {1, 2, 3, 5, 12, 20, 24, 31})
    for (Index s : {403, 2051}) REQUIRE(any_difference(Map<TestType>({2, c, 1, s}, noise(1))) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("pools are right for maps of two spatial axes and any batch", "[pool][forward]",
                           (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  for (Index n : {1, 3, 8}) REQUIRE(any_difference(Map<TestType>({n, 19, 7, 5}, noise(2))) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("the average keeps its bound on hard data and long planes", "[pool][forward]",
                           (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  const auto check = [](const Extents& e) {
    REQUIRE(average_difference(Map<TestType>(e, noise(3))) == "");
    REQUIRE(average_difference(Map<TestType>(e, noise(4, 1e4))) == "");
    REQUIRE(average_difference(Map<TestType>(e, constant(0.1))) == "");
    REQUIRE(average_difference(Map<TestType>(e, denormals<typename TestType::Scalar>(5))) == "");
  };
  for (Index c : {1, 5, 19, 64})
    for (Index s : {7, 49, 196, 784, 1023, 1024, 1025, 3136, 12544}) check({1, c, 1, s});
  for (Index c : {1, 3}) check({1, c, 1000, 1000});
}

TEMPLATE_TEST_CASE("no data moves a long plane's average by more than an ulp", "[pool][forward]", Nchw<float>,
                   Nhwc<float>) {
  // Sums of neighbours in groups of two and of four all round the same way, whichever of a layout's groups they
  // are.
  const double unit = std::ldexp(1.0, -23);
  for (const Index distance : {1, 16, 8, 4}) {
    for (int add = 4; add < 200; add += 7) {
      const Map<TestType> x({1, 1, 1, 1024}, [&](Index, Index, Index s) {
        const int offsets[4] = {0, 3, 2, 0};
        const auto place = static_cast<std::size_t>(s / distance % 4);
        return ((1 << 24) - 4096 + (s < 16 ? add : offsets[place])) * unit;
      });
      double sum = 0;
      for (const float value : x.values) sum += static_cast<double>(value);
      const auto mean = static_cast<double>(ph::GlobalAveragePool{}(x.view())(0, 0));
      REQUIRE(std::abs(mean - sum / 1024) <= unit);
    }
  }
}

TEMPLATE_PRODUCT_TEST_CASE("the average of the largest numbers is one of them", "[pool][forward]", (Nchw, Nhwc),
                           (float, double, Eigen::half, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  const auto largest = static_cast<double>(std::numeric_limits<Scalar>::max());
  for (const Index positions : {1, 2, 3, 7, 64, 1500}) {
    for (const double value : {largest, -largest}) {
      const Map<TestType> x({2, 5, 1, positions}, constant(value));
      const auto y = ph::GlobalAveragePool{}(x.view());
      for (Index i = 0; i < y.size(); ++i) {
        const double error = std::abs(static_cast<double>(y.data()[i]) / value - 1);
        REQUIRE(error <= static_cast<double>(std::numeric_limits<Scalar>::epsilon()));
      }
    }
  }
}

TEMPLATE_PRODUCT_TEST_CASE("inference gives the bits that training gives, the sign of zero too",
                           "[pool][forward]", (Nchw, Nhwc), (float, double)) {
  using Scalar = typename TestType::Scalar;
  const Map<TestType> x({3, 19, 1, 131}, signed_zeros(9));
  RowTensor<Scalar> y(3, 19), without(3, 19);
  auto cache = ph::GlobalMaxPool{}.make_cache(x.view());
  ph::GlobalMaxPool{}.forward(x.view(), y, cache);
  ph::GlobalMaxPool{}.forward(x.view(), without);
  for (Index n = 0; n < 3; ++n)
    for (Index c = 0; c < 19; ++c) {
      REQUIRE(std::signbit(y(n, c)) == std::signbit(x(n, c, 0)));
      REQUIRE(std::signbit(without(n, c)) == std::signbit(y(n, c)));
    }
}

TEMPLATE_PRODUCT_TEST_CASE("16-bit averages are rounded once, to nearest even", "[pool][forward]", (Nchw, Nhwc),
                           (Eigen::half, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  // Neighbours of 1: their sums are exact in float, and half of the means of two lie between two neighbours.
  const double unit = ulp<Scalar>(1.0);
  for (Index s : {2, 4, 8, 32, 256}) {
    const Map<TestType> x({2, 21, 1, s},
                          [&](Index n, Index c, Index i) { return 1 + unit * ties(6, 8)(n, c, i); });
    const auto mean = average_oracle.forward(planes_of(x));
    const RowTensor<Scalar> y = average(x.view());
    for (Index n = 0; n < 2; ++n)
      for (Index c = 0; c < 21; ++c) REQUIRE(y(n, c) == narrow<Scalar>(mean(n, c)));
  }
  for (Index s : {4096, 65536}) {
    const RowTensor<Scalar> y = average(Map<TestType>({1, 3, 1, s}, constant(1)).view());
    for (Index c = 0; c < 3; ++c) REQUIRE(y(0, c) == Scalar(1));
  }
}

TEMPLATE_PRODUCT_TEST_CASE("the first of equal maxima wins, in (h, w) order", "[pool][forward]", (Nchw, Nhwc),
                           (float, double, Eigen::half, Eigen::bfloat16)) {
  for (Index c : {1, 3, 7, 8, 16, 17, 33, 64, 70, 131})
    for (Index s : {1, 2, 4, 7, 8, 15, 16, 17, 31, 32, 33, 49, 64, 100, 300}) {
      const Extents e{2, c, 1, s};
      REQUIRE(max_difference(Map<TestType>(e, ties(7, 2))) == "");
      REQUIRE(max_difference(Map<TestType>(e, ties(8, 5))) == "");
      REQUIRE(max_difference(Map<TestType>(e, constant(-1))) == "");
      REQUIRE(max_difference(Map<TestType>(e, signed_zeros(9))) == "");
      // Zeros of both signs above -1: the first of them, not the first +0.
      REQUIRE(max_difference(Map<TestType>(e, [](Index n, Index k, Index i) {
                return ties(10, 2)(n, k, i) == 0 ? -1.0 : signed_zeros(9)(n, k, i);
              })) == "");
      // The maximum at every position in turn, twice.
      for (Index first = 0; first < s; ++first)
        REQUIRE(max_difference(Map<TestType>(e, [&](Index, Index k, Index i) {
                  const Index at = (first + k) % s;
                  return i == at || i == (s + at) / 2 ? 1.0 : -2.0;
                })) == "");
    }
}

TEMPLATE_PRODUCT_TEST_CASE("a NaN anywhere makes the answer NaN and its first place the argmax",
                           "[pool][forward]", (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  for (Index c : {1, 3, 8, 17, 40, 131})
    for (Index s : {1, 2, 3, 8, 9, 16, 17, 33, 49, 70}) {
      for (Index first = 0; first < s; ++first) {
        // Each channel has its own first NaN and one more behind it; every fifth has none.
        const auto is_nan = [&](Index channel, Index position) {
          const Index at = (first + channel) % s;
          return channel % 5 != 4 && (position == at || position == (s + at) / 2);
        };
        REQUIRE(any_difference(Map<TestType>({1, c, 1, s}, with_nan(noise(11), is_nan))) == "");
        REQUIRE(any_difference(Map<TestType>({1, c, 1, s}, with_nan(constant(-infinity), is_nan))) == "");
        REQUIRE(any_difference(Map<TestType>({1, c, 1, s}, with_nan(constant(infinity), is_nan))) == "");
      }
    }
  for (Index c : {1, 3, 20})
    for (Index first : {0, 1, 17, 200, 401, 402}) {
      const auto is_nan = [&](Index channel, Index position) {
        return channel % 5 != 4 && (position == first || position == 402);
      };
      REQUIRE(any_difference(Map<TestType>({2, c, 1, 403}, with_nan(noise(11), is_nan))) == "");
    }
}

TEMPLATE_PRODUCT_TEST_CASE("rows of hundreds of channels hold ties, NaN and infinities as others do",
                           "[pool][forward]", (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  for (Index c : {96, 230, 460})
    for (Index s : {1, 2, 5, 33}) {
      const Extents e{2, c, 1, s};
      const auto each_third_nan = [&](Index channel, Index position) {
        return channel % 3 == 1 && position >= channel % s;
      };
      REQUIRE(any_difference(Map<TestType>(e, noise(12))) == "");
      REQUIRE(max_difference(Map<TestType>(e, ties(7, 2))) == "");
      REQUIRE(max_difference(Map<TestType>(e, signed_zeros(9))) == "");
      REQUIRE(any_difference(Map<TestType>(e, constant(-infinity))) == "");
      REQUIRE(any_difference(Map<TestType>(e, with_nan(noise(12), each_third_nan))) == "");
      REQUIRE(any_difference(Map<TestType>(e, with_nan(constant(infinity), each_third_nan))) == "");
      REQUIRE(max_difference(Map<TestType>(
                  e, [](Index, Index k, Index i) { return (k + i) % 2 == 0 ? infinity : -infinity; })) == "");
    }
}

TEMPLATE_PRODUCT_TEST_CASE("maps beyond a second-level cache, and positions beyond 15 bits", "[pool][forward]",
                           (Nchw, Nhwc), (float, Eigen::bfloat16)) {
  for (const Extents& e : {Extents{2, 60, 100, 100}, Extents{1, 40, 1, 33000}, Extents{1, 130, 1, 32800},
                           Extents{1, 2100, 1, 1200}})
    for (const Index last : {Index{1}, e.positions() / 2, e.positions() - 1})
      REQUIRE(any_difference(Map<TestType>(e, [&](Index n, Index c, Index i) {
                return i == last - c % 2 ? 9.0 : noise(13)(n, c, i);
              })) == "");
}

TEMPLATE_PRODUCT_TEST_CASE("every NaN is one: signalling, negative, with any payload", "[pool][forward]",
                           (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  using Bits = std::conditional_t<sizeof(Scalar) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(Scalar) == 4, std::uint32_t, std::uint64_t>>;
  const Bits exponent = std::bit_cast<Bits>(std::numeric_limits<Scalar>::infinity());
  const Bits sign = std::bit_cast<Bits>(Scalar(-0.0f));
  const auto negative_infinity = static_cast<Bits>(exponent | sign);
  for (Bits bits : {static_cast<Bits>(exponent | 1), static_cast<Bits>(negative_infinity | 1),
                    static_cast<Bits>(negative_infinity | (exponent >> 1)), static_cast<Bits>(~Bits{0})})
    for (Index s : {1, 5, 8, 33})
      for (Index c : {1, 9, 17}) {
        Map<TestType> x({1, c, 1, s}, constant(2));
        for (Index k = 0; k < c; ++k) x(0, k, (s / 2 + k) % s) = std::bit_cast<Scalar>(bits);
        REQUIRE(any_difference(x) == "");
      }
}

TEMPLATE_PRODUCT_TEST_CASE("infinities are numbers: a plane of -inf gives -inf at position 0",
                           "[pool][forward]", (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  for (Index c : {1, 8, 21, 131})
    for (Index s : {1, 8, 13, 64, 67}) {
      REQUIRE(any_difference(Map<TestType>({2, c, 1, s}, constant(-infinity))) == "");
      REQUIRE(any_difference(Map<TestType>({2, c, 1, s}, constant(infinity))) == "");
      // One number in -inf, and one +inf in numbers: at every position.
      for (Index at = 0; at < s; ++at) {
        const auto one = [&](double there, double elsewhere) {
          return [=](Index, Index k, Index i) { return i == (at + k) % s ? there : elsewhere; };
        };
        REQUIRE(any_difference(Map<TestType>({1, c, 1, s}, one(-3, -infinity))) == "");
        REQUIRE(any_difference(Map<TestType>({1, c, 1, s}, one(infinity, 1))) == "");
        REQUIRE(max_difference(Map<TestType>({1, c, 1, s}, one(infinity, -infinity))) == "");
        REQUIRE(max_difference(Map<TestType>({1, c, 1, s}, one(-infinity, infinity))) == "");
      }
    }
}

TEMPLATE_PRODUCT_TEST_CASE("pointers of any alignment are read and written within their bounds",
                           "[pool][forward]", (Nchw, Nhwc), (float, double, Eigen::half, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  const Scalar guard = std::numeric_limits<Scalar>::quiet_NaN();
  const Scalar mark(-77);
  // Without slack the next element is not ours (the sanitizer's part); with slack it is a NaN that would show.
  for (Index slack : {0, 16})
    for (Index offset = 1; offset < 16; ++offset)
      for (const Extents& e :
           {Extents{2, 3, 1, 7}, {1, 5, 3, 3}, {2, 17, 1, 4}, {1, 40, 1, 33}, {3, 1, 1, 67}}) {
        CAPTURE(slack, offset, e);
        const auto begin = static_cast<std::size_t>(offset);
        const auto size = static_cast<std::size_t>(e.size());
        const auto features = static_cast<std::size_t>(2 * e.n * e.c);
        std::vector<Scalar> memory(begin + size + static_cast<std::size_t>(slack), guard);
        std::vector<Scalar> answer(begin + features + static_cast<std::size_t>(slack), mark);
        const Scalar* x = memory.data() + begin;
        fill<TestType>(memory.data() + begin, e, noise(12));

        Eigen::TensorMap<RowTensor<Scalar>> y(answer.data() + begin, e.n, 2 * e.c);
        const auto view = TestType::view(x, e);
        auto cache = both.make_cache(view);
        both.forward(view, y, cache);

        REQUIRE(difference(RowTensor<Scalar>(y), both_oracle, planes_of<TestType>(x, e)) == "");
        for (std::size_t i = 0; i < begin; ++i) REQUIRE(answer[i] == mark);
        for (std::size_t i = begin + features; i < answer.size(); ++i) REQUIRE(answer[i] == mark);
      }
}

TEMPLATE_PRODUCT_TEST_CASE("rows may be a tensor, a matrix, a map or columns of a wider matrix",
                           "[pool][forward]", (Nchw, Nhwc), (float, Eigen::bfloat16)) {
  using Scalar = typename TestType::Scalar;
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Map<TestType> x({3, 9, 2, 5}, noise(13));
  const RowTensor<Scalar> expected = both(x.view());
  auto cache = both.make_cache(x.view());
  const auto check = [&](auto&& y) {
    both.forward(x.view(), y, cache);
    for (Index i = 0; i < 3; ++i)
      for (Index j = 0; j < 18; ++j) REQUIRE(y(i, j) == expected(i, j));
  };
  const Scalar mark(-77);
  Matrix matrix(3, 18);
  check(matrix);
  check(RowTensor<Scalar>(3, 18));
  check(Eigen::Matrix<Scalar, 3, 18, Eigen::RowMajor>());
  std::vector<Scalar> memory(3 * 18);
  check(Eigen::Map<Matrix>(memory.data(), 3, 18));
  check(Eigen::TensorMap<RowTensor<Scalar>>(memory.data(), 3, 18));
  check(Eigen::Ref<Matrix>(matrix));
  check(ph::Rows<Scalar>(memory.data(), 3, 18));

  Matrix wide = Matrix::Constant(5, 30, mark);
  check(wide.block(1, 4, 3, 18));
  Matrix around = wide;
  around.block(1, 4, 3, 18).setConstant(mark);
  CHECK(around == Matrix::Constant(5, 30, mark));  // only its own columns are written

  std::vector<Scalar> strided(3 * 25, mark);
  check(Eigen::Map<Matrix, 0, Eigen::OuterStride<>>(strided.data(), 3, 18, Eigen::OuterStride<>(25)));
  for (std::size_t i = 0; i < strided.size(); ++i)
    if (i % 25 >= 18) REQUIRE(strided[i] == mark);
}

TEMPLATE_PRODUCT_TEST_CASE("an empty batch gives no rows", "[pool][forward]", (Nchw, Nhwc),
                           (float, double, Eigen::half, Eigen::bfloat16)) {
  const Map<TestType> x({0, 4, 3, 3});
  REQUIRE(any_difference(x) == "");
  const RowTensor<typename TestType::Scalar> y = both(x.view());
  CHECK(y.dimension(0) == 0);
  CHECK(y.dimension(1) == 8);
}
