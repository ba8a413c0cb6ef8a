// Streams: a map fed in tiles gives what the map gives.
#define EIGEN_USE_THREADS
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/pool_check.hpp"

namespace ph = poolhead;
using namespace ph::test;
using ph::Index;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Positions first .. first + count - 1 of every plane, in the layout of Type.
template <class Type, class Source>
Map<Type> tile(const Map<Source>& x, Index first, Index count) {
  Map<Type> out({x.extents.n, x.extents.c, 1, count});
  for (Index n = 0; n < x.extents.n; ++n)
    for (Index c = 0; c < x.extents.c; ++c)
      for (Index s = 0; s < count; ++s) out(n, c, s) = x(n, c, first + s);
  return out;
}

/// Adds positions first .. end - 1 in tiles of 1, 2, 3, ... positions, layouts in turn, some of them on
/// threads.
template <class Stream, class T>
void add_range(Stream& stream, const Map<Nchw<T>>& x, Index first, Index end, Index step = 1) {
  static Eigen::ThreadPool threads(2);
  static const Eigen::ThreadPoolDevice device(&threads, 2);
  for (Index size = 1; first < end; first += size, size += step) {
    size = std::min(size, end - first);
    if (size % 2 == 0)
      stream.add(tile<Nhwc<T>>(x, first, size).view());
    else
      stream.add(tile<Nchw<T>>(x, first, size).view(), device);
  }
}

template <class T, class Stream>
RowTensor<T> finished(const Stream& stream, Index n, Index c) {
  RowTensor<T> y(n, c);
  y.setConstant(std::numeric_limits<T>::quiet_NaN());
  stream.finish(y);
  return y;
}

/// What differs between a stream of x's tiles and the map, for a pool whose answer the oracle knows. exact: to
/// the bit.
template <class T, class Pool, class Oracle>
std::string stream_difference(const Pool& pool, const Oracle& oracle, const Map<Nchw<T>>& x,
                              bool exact = false) {
  const Index n = x.extents.n, c = x.extents.c;
  const Index size = x.extents.positions();
  const auto planes = planes_of(x);
  const RowTensor<T> whole = pool(x.view());
  const auto check = [&](const auto& stream, const std::string& what) {
    const RowTensor<T> y = finished<T>(stream, n, c);
    if (exact && !same_values(y, whole)) return what + ": not the bits of the whole";
    const std::string found = answer_difference(y, oracle, planes);
    return found.empty() ? found : what + ": " + found;
  };
  std::vector<std::string> found;
  const auto start = [&] { return pool.template start<T>(n, c); };

  auto once = start();
  once.add(x.view());
  found.push_back(check(once, "one tile"));
  auto rising = start();
  add_range(rising, x, 0, size);
  found.push_back(check(rising, "tiles"));
  auto single = start();
  add_range(single, x, 0, size, 0);
  found.push_back(check(single, "tiles of one position"));

  // Two halves, merged; and three, through numbers.
  const Index half = size / 2;
  auto first = start(), second = start(), empty = start();
  add_range(first, x, 0, half, 3);
  add_range(second, x, half, size, 2);
  auto merged = first;
  merged.merge(second);
  found.push_back(check(merged, "merged"));
  auto with_empty = empty;
  with_empty.merge(merged);
  with_empty.merge(empty);
  found.push_back(check(with_empty, "merged with nothing"));
  auto received = start();
  received.merge(std::span<const double>(first.partial()));
  received.merge(std::span<const double>(second.partial()));
  found.push_back(check(received, "merged from numbers"));
  if (!same_values(finished<T>(received, n, c), finished<T>(with_empty, n, c)))
    found.push_back("numbers lose something");
  // Another order of merging, where the sign of a zero may change.
  auto turned = second;
  turned.merge(first);
  if (std::string text = answer_difference(finished<T>(turned, n, c), oracle, planes); !text.empty())
    found.push_back("turned: " + text);
  for (std::string& text : found)
    if (!text.empty()) return text;
  return {};
}

template <class T>
ph::GeneralizedMeanPool<T> gem_of_channels(Index channels) {
  ph::GeneralizedMeanPool<T> pool(channels, T(3));
  for (Index c = 0; c < channels; ++c) pool.p(c) = narrow<T>(0.5 + 0.75 * static_cast<double>(c % 7));
  return pool;
}
template <class T>
GeneralizedMeanOracle oracle_of(const ph::GeneralizedMeanPool<T>& pool) {
  GeneralizedMeanOracle oracle{{}, widen<double>(pool.eps)};
  for (Index c = 0; c < pool.p.size(); ++c) oracle.p.push_back(widen<double>(pool.p(c)));
  return oracle;
}

/// Every pool that streams, over one map.
template <class T>
std::string any_difference(const Map<Nchw<T>>& x, bool attention = true) {
  const auto name = [](const std::string& pool, const std::string& text) {
    return text.empty() ? text : pool + ", " + text;
  };
  const ph::GeneralizedMeanPool<T> shared(T(3)), root(narrow<T>(2.5));
  const auto gem = gem_of_channels<T>(x.extents.c);
  std::vector<std::string> found{
      name("average", stream_difference(ph::GlobalAveragePool{}, AverageOracle{}, x)),
      name("max", stream_difference(ph::GlobalMaxPool{}, MaxOracle{}, x, true)),
      name("lp", stream_difference(ph::GlobalLpPool(2.5), LpOracle(2.5), x)),
      name("lp 2", stream_difference(ph::GlobalLpPool(2), LpOracle(2), x)),
      name("gem 3", stream_difference(shared, oracle_of(shared), x)),
      name("gem 2.5", stream_difference(root, oracle_of(root), x)),
      name("gem of channels", stream_difference(gem, oracle_of(gem), x)),
      name("lse", stream_difference(ph::LogSumExpPool<T>(T(2)), LogSumExpOracle(2), x)),
      name("soft", stream_difference(ph::SoftPool{}, SoftOracle{}, x))};
  if (attention)
    for (const auto kind : {ph::AttentionPool<T>::softmax, ph::AttentionPool<T>::sigmoid}) {
      const ph::AttentionPool<T> pool(x.extents.c, 3, kind);
      found.push_back(name("attention", stream_difference(pool, AttentionOracle(pool), x)));
    }
  for (std::string& text : found)
    if (!text.empty()) return text;
  return {};
}

}  // namespace

TEMPLATE_TEST_CASE("a stream of tiles gives what the map gives", "[stream]", float, double, Eigen::bfloat16) {
  using Type = Nchw<TestType>;
  for (const Extents& e : {Extents{2, 3, 1, 50}, {1, 8, 5, 7}, {3, 17, 1, 40}, {1, 1, 1, 2}, {2, 5, 1, 2000}}) {
    CAPTURE(e);
    REQUIRE(any_difference(Map<Type>(e, noise(1))) == "");
    if (e.positions() == 2000) continue;
    REQUIRE(any_difference(Map<Type>(e, noise(2, 5))) == "");
    REQUIRE(any_difference(Map<Type>(e, ties(3, 3))) == "");
    REQUIRE(any_difference(Map<Type>(e, signed_zeros(4))) == "");
    // Zeros of both signs above -1: the first of them, in whichever tile and wherever in it.
    const auto late_zeros = [](Index n, Index c, Index s) {
      return hash(13, n, c, s) % 3 != 0 ? -1.0 : signed_zeros(4)(n, c, s);
    };
    REQUIRE(stream_difference(ph::GlobalMaxPool{}, MaxOracle{}, Map<Type>(e, late_zeros), true) == "");
  }
}

TEMPLATE_TEST_CASE("values that grow and shrink from tile to tile", "[stream]", float, double) {
  using Type = Nchw<TestType>;
  const Extents e{1, 9, 1, 60};
  const auto rising = [](Index, Index c, Index s) { return std::ldexp(1.0 + double(c), int(2 * s) - 60); };
  const auto falling = [](Index, Index c, Index s) { return std::ldexp(1.0 + double(c), 60 - int(2 * s)); };
  REQUIRE(any_difference(Map<Type>(e, rising), false) == "");
  REQUIRE(any_difference(Map<Type>(e, falling), false) == "");
  for (const double scale : {10.0, 700.0}) {
    REQUIRE(any_difference(Map<Type>(e, [=](Index, Index, Index s) { return scale * double(s); }), false) ==
            "");
    REQUIRE(any_difference(Map<Type>(e, [=](Index, Index, Index s) { return -scale * double(s); }), false) ==
            "");
  }
  REQUIRE(any_difference(Map<Type>(e, constant(0)), false) == "");
  REQUIRE(any_difference(Map<Type>(e, denormals<TestType>(5)), false) == "");
  // The first tiles hold -inf alone; larger maxima come later.
  const Map<Type> late(e, [](Index, Index c, Index s) {
    return s < 20 + c ? -infinity : static_cast<double>(s) + noise(6)(0, c, s);
  });
  REQUIRE(stream_difference(ph::GlobalMaxPool{}, MaxOracle{}, late, true) == "");
  REQUIRE(stream_difference(ph::LogSumExpPool<TestType>(TestType(2)), LogSumExpOracle(2), late) == "");
  REQUIRE(stream_difference(ph::SoftPool{}, SoftOracle{}, late) == "");
  const ph::GeneralizedMeanPool<TestType> gem(TestType(2.5));
  REQUIRE(stream_difference(gem, oracle_of(gem), late) == "");
  // -inf alone.
  const Map<Type> nothing(e, constant(-infinity));
  REQUIRE(stream_difference(ph::GlobalMaxPool{}, MaxOracle{}, nothing, true) == "");
  REQUIRE(stream_difference(ph::LogSumExpPool<TestType>(TestType(2)), LogSumExpOracle(2), nothing) == "");
}

TEST_CASE("the average of the largest floats streams, too", "[stream]") {
  const auto largest = static_cast<double>(std::numeric_limits<float>::max());
  const Map<Nchw<float>> x({2, 5, 1, 40}, constant(largest));
  CHECK(stream_difference(ph::GlobalAveragePool{}, AverageOracle{}, x) == "");
}

TEST_CASE("attention streams scores that grow from tile to tile", "[stream]") {
  for (const auto kind : {ph::AttentionPool<float>::softmax, ph::AttentionPool<float>::sigmoid}) {
    ph::AttentionPool<float> pool(3, 2, kind);
    pool.hidden.weight.setConstant(1.0f);
    for (const float slope : {20.0f, -20.0f}) {
      pool.score.weight.setConstant(slope);
      for (const float bias : {0.0f, -200.0f}) {
        pool.score.bias(0) = bias;
        const Map<Nchw<float>> x({2, 3, 1, 50}, [](Index n, Index c, Index s) {
          return 0.2 * static_cast<double>(s + c) + noise(7)(n, c, s);
        });
        CHECK(stream_difference(pool, AttentionOracle(pool), x) == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("a NaN in any tile is in the answer", "[stream]", float, Eigen::bfloat16) {
  using Type = Nchw<TestType>;
  for (Index at = 0; at < 40; at += 3) {
    const auto is_nan = [=](Index c, Index s) { return c % 3 == 1 && s == (at + c) % 40; };
    REQUIRE(any_difference(Map<Type>({2, 9, 1, 40}, with_nan(noise(8), is_nan))) == "");
    REQUIRE(stream_difference(ph::GlobalMaxPool{}, MaxOracle{},
                              Map<Type>({1, 9, 1, 40}, with_nan(constant(-infinity), is_nan)), true) == "");
  }
}

TEST_CASE("tiles may be masked, a sample of one even whole", "[stream]") {
  using Type = Nhwc<float>;
  const Extents e{2, 11, 1, 30};
  const Map<Type> x(e, noise(9));
  RowTensor<bool> mask(2, 30);
  for (Index n = 0; n < 2; ++n)
    for (Index s = 0; s < 30; ++s) mask(n, s) = hash(10, n, 0, s) % 2 == 0 && !(n == 0 && s >= 10 && s < 20);
  const auto check = [&](const auto& pool, bool exact) {
    auto stream = pool.template start<float>(2, 11);
    for (Index first = 0; first < 30; first += 10) {
      Map<Type> part = tile<Type>(x, first, 10);
      RowTensor<bool> part_mask(2, 10);
      for (Index n = 0; n < 2; ++n)
        for (Index s = 0; s < 10; ++s) {
          part_mask(n, s) = mask(n, first + s);
          if (!part_mask(n, s))
            for (Index c = 0; c < 11; ++c) part(n, c, s) = std::numeric_limits<float>::quiet_NaN();
        }
      stream.add(ph::masked(part.view(), part_mask));
    }
    const RowTensor<float> y = finished<float>(stream, 2, 11), whole = pool(ph::masked(x.view(), mask));
    for (Index i = 0; i < y.size(); ++i) {
      const float bound = exact ? 0.0f : 16 * 1.2e-7f * (1 + std::abs(whole.data()[i]));
      REQUIRE(std::abs(y.data()[i] - whole.data()[i]) <= bound);
    }
  };
  check(ph::GlobalAveragePool{}, false);
  check(ph::GlobalMaxPool{}, true);
  check(ph::GeneralizedMeanPool<float>(2.5f), false);
  check(ph::GeneralizedMeanPool<float>(2.0f), false);
  check(ph::LogSumExpPool<float>(2.0f), false);
  check(ph::SoftPool{}, false);
  check(ph::AttentionPool<float>(11, 3), false);
}

TEST_CASE("streams are values, and go on after finish", "[stream]") {
  const Map<Nchw<float>> x({2, 5, 1, 24}, noise(11));
  const auto check = [&](const auto& pool) {
    auto stream = pool.template start<float>(2, 5);
    add_range(stream, x, 0, 10);
    const auto before = finished<float>(stream, 2, 5);
    auto copy = stream;
    add_range(copy, x, 10, 24);
    CHECK(same_bits<RowTensor<float>>(finished<float>(stream, 2, 5), before));
    add_range(stream, x, 10, 24);
    CHECK(same_bits<RowTensor<float>>(finished<float>(stream, 2, 5), finished<float>(copy, 2, 5)));
    CHECK_FALSE(same_bits<RowTensor<float>>(finished<float>(stream, 2, 5), before));
    // The stream has its own pool.
    auto other = std::make_unique<std::remove_cvref_t<decltype(pool)>>(pool);
    auto own = other->template start<float>(2, 5);
    other.reset();
    add_range(own, x, 0, 24);
    // Started from a view, and moved.
    auto from_view = pool.start(x.view());
    add_range(from_view, x, 0, 24);
    const auto moved = std::move(from_view);
    CHECK(same_bits<RowTensor<float>>(finished<float>(moved, 2, 5), finished<float>(own, 2, 5)));
  };
  check(ph::GlobalAveragePool{});
  check(ph::GlobalMaxPool{});
  check(ph::GeneralizedMeanPool<float>(5, 2.5f));
  check(ph::LogSumExpPool<float>(2.0f));
  check(ph::AttentionPool<float>(5, 3));
  auto parametric = ph::GeneralizedMeanPool<float>(5, 2.5f).start(2, 5);  // the parameters' scalar
  parametric.add(x.view());
  finished<float>(parametric, 2, 5);
}

TEST_CASE("streams refuse what does not belong to them", "[stream][error]") {
  const Map<Nchw<float>> x({2, 5, 3, 4}, noise(12));
  const auto check = [&](const auto& pool) {
    const std::string name(std::remove_cvref_t<decltype(pool)>::name);
    const auto shape = [](auto call) { return message_of<ph::ShapeError>(call); };
    const auto value = [](auto call) { return message_of<ph::ValueError>(call); };
    auto stream = pool.template start<float>(2, 5);
    RowTensor<float> y(2, 5), narrow_y(2, 4);
    y.setConstant(-77);
    CHECK(value([&] { stream.finish(y); }) ==
          name + "::finish: sample 0 has seen no position, expected at least one");
    CHECK(y(0, 0) == -77.0f);
    CHECK_THROWS_AS(stream.add(Map<Nchw<float>>({2, 4, 3, 4}).view()), ph::ShapeError);
    CHECK_THROWS_AS(stream.add(Map<Nhwc<float>>({2, 6, 3, 4}).view()), ph::ShapeError);
    CHECK_THROWS_AS(stream.add(Map<Nchw<float>>({3, 5, 3, 4}).view()), ph::ShapeError);
    CHECK_THROWS_AS(stream.add(Map<Nchw<float>>({2, 5, 0, 4}).view()), ph::ShapeError);
    CHECK_THAT(
        shape([&] {
          stream.add(Map<Nchw<float>>({2, 4, 3, 4}).view());
        }),
        Catch::Matchers::ContainsSubstring(name + "::add: the tile is [2, 4, 3, 4], expected a batch of 2, 5"));
    // A refused tile leaves no trace.
    stream.add(x.view());
    auto right = pool.template start<float>(2, 5);
    right.add(x.view());
    CHECK(same_bits<RowTensor<float>>(finished<float>(stream, 2, 5), finished<float>(right, 2, 5)));
    CHECK(shape([&] { stream.finish(narrow_y); }) == name + "::finish: y is [2, 4], expected [2, 5]");
    CHECK_THROWS_AS(stream.merge(pool.template start<float>(3, 5)), ph::ShapeError);
    std::vector<double> numbers = right.partial();
    const std::size_t size = numbers.size();
    numbers.push_back(0);
    CHECK(value([&] { stream.merge(std::span<const double>(numbers)); }) ==
          name + "::merge: there are " + std::to_string(size + 1) + " numbers, expected " +
              std::to_string(size));
    CHECK_THROWS_AS(stream.merge(std::span<const double>()), ph::ValueError);
    CHECK_THROWS_AS(pool.template start<float>(-1, 5), ph::ShapeError);
    CHECK_THROWS_AS(pool.template start<float>(2, 0), ph::ShapeError);
    // One sample of two has seen nothing.
    RowTensor<bool> mask(2, 12);
    mask.setConstant(true);
    for (Index s = 0; s < 12; ++s) mask(1, s) = false;
    auto half = pool.template start<float>(2, 5);
    half.add(ph::masked(x.view(), mask));
    CHECK(value([&] { half.finish(y); }) ==
          name + "::finish: sample 1 has seen no position, expected at least one");
    // An empty batch is no error.
    const auto empty = pool.template start<float>(0, 5);
    RowTensor<float> no_rows(0, 5);
    CHECK_NOTHROW(empty.finish(no_rows));
  };
  check(ph::GlobalAveragePool{});
  check(ph::GlobalMaxPool{});
  check(ph::GlobalLpPool(2.5));
  check(ph::GeneralizedMeanPool<float>(5, 2.5f));
  check(ph::LogSumExpPool<float>(2.0f));
  check(ph::SoftPool{});
  check(ph::AttentionPool<float>(5, 3));
  CHECK_THROWS_AS(ph::GeneralizedMeanPool<float>(5, 2.5f).start<float>(2, 6), ph::ShapeError);
  CHECK_THROWS_AS(ph::AttentionPool<float>(5, 2).start<float>(2, 6), ph::ShapeError);
}
