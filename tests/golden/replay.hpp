// Replays the goldens of tests/golden/pools.safetensors: every case in both layouts, in float and in double, on
// one thread and on two. What the file holds is written down in make_pool_goldens.py, how inputs follow from
// seeds in golden_data.py. A unit defines EIGEN_USE_THREADS before it includes this.
#pragma once

#include <poolhead/io/safetensors.hpp>
#include <poolhead/poolhead.hpp>

#include "support/catch.hpp"
#include "support/data.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <map>
#include <optional>
#include <sstream>
#include <string>

namespace poolhead::test::golden {

using Json = nlohmann::json;

// ---------------------------------------------------------------------------------------------- the file

/// A value by its text: "0.5", "-0", "nan", "-inf".
inline double number(const Json& text) { return std::strtod(text.get<std::string>().c_str(), nullptr); }

/// The values that a description in a case stands for; each of them is a float.
class Generator {
 public:
  explicit Generator(const Json& spec) : seed_(spec.at("seed")) {
    if (spec.at("kind") == "noise") {
      offset_ = spec.at("offset");
      scale_ = spec.at("scale");
    } else {
      for (const Json& value : spec.at("values")) values_.push_back(number(value));
    }
    if (spec.contains("specials")) {
      for (const Json& special : spec.at("specials"))
        specials_.push_back({special.at("seed"), special.at("every"), number(special.at("value"))});
      std::ranges::reverse(specials_);  // the last one wins
    }
  }

  double operator()(Index n, Index c, Index s) const {
    for (const Special& special : specials_)
      if (hash(special.seed, n, c, s) % special.every == 0) return special.value;
    const std::uint64_t bits = hash(seed_, n, c, s);
    if (!values_.empty()) return values_[bits % values_.size()];
    const double u = std::ldexp(static_cast<double>(bits >> 40), -23) - 1;
    return static_cast<double>(static_cast<float>(offset_ + scale_ * u));
  }

 private:
  struct Special {
    std::uint64_t seed, every;
    double value;
  };
  std::uint64_t seed_;
  double offset_ = 0, scale_ = 0;
  std::vector<double> values_;
  std::vector<Special> specials_;
};

/// What a tensor of the file says: every element, or samples, projections and the sum of magnitudes.
struct Golden {
  std::vector<double> full, samples, projections;
};
struct GoldenIndices {
  std::vector<std::int64_t> full, samples, checksum;
};

class Goldens {
 public:
  /// The file, read once in a process.
  static const Goldens& file() {
    static const Goldens goldens;
    return goldens;
  }

  const std::vector<Json>& cases() const { return cases_; }

  Golden find(const std::string& name) const {
    Golden golden{get<double>(name), get<double>(name + ".samples"), get<double>(name + ".projections")};
    if (golden.full.empty() && (golden.samples.empty() || golden.projections.size() != 5))
      throw std::runtime_error("pools.safetensors has no " + name);
    return golden;
  }
  GoldenIndices find_indices(const std::string& name) const {
    return {get<std::int64_t>(name), get<std::int64_t>(name + ".samples"),
            get<std::int64_t>(name + ".checksum")};
  }

 private:
  Goldens() : file_(read_safetensors(POOLHEAD_GOLDEN_DIR "/pools.safetensors")) {
    cases_ = Json::parse(file_.metadata.at("cases")).get<std::vector<Json>>();
  }

  template <class T>
  std::vector<T> get(const std::string& name) const {
    const auto found = file_.tensors.find(name);
    if (found == file_.tensors.end()) return {};
    std::vector<T> values(found->second.bytes.size() / sizeof(T));
    copy_values(found->second, std::span(values));
    return values;
  }

  TensorFile file_;
  std::vector<Json> cases_;
};

/// The hashed places that stand for a tensor of so many elements.
inline std::size_t sample_place(std::size_t i, std::size_t size) { return hash(0x5A3D, i) % size; }
inline std::uint64_t projection_bits(std::size_t i) { return hash(0x9A71, i); }

// ---------------------------------------------------------------------------------------------- the bounds

/// An element may differ from what is expected by absolute + relative * |expected|.
struct Bound {
  double absolute = 0, relative = 0;
  double at(double expected) const { return absolute + (relative == 0 ? 0 : relative * std::abs(expected)); }
};

template <class T>
inline constexpr bool is_double = std::is_same_v<T, double>;
template <class T>
inline constexpr double epsilon = static_cast<double>(std::numeric_limits<T>::epsilon());
template <class T>
inline constexpr double y_error = is_double<T> ? 1e-12 : 16 * epsilon<float>;
template <class T>
inline constexpr double gradient_error = is_double<T> ? 1e-10 : 64 * epsilon<float>;
template <class T>
inline constexpr double parameter_error = is_double<T> ? 1e-10 : 256 * epsilon<float>;

/// The largest finite magnitude.
inline double largest(std::span<const double> values) {
  double result = 0;
  for (double value : values)
    if (std::isfinite(value)) result = std::max(result, std::abs(value));
  return result;
}

/// One case: its inputs in logical order, and how exact each element of y has to be.
struct Case {
  std::string name, key;
  Json pool;
  Extents e;
  std::vector<double> x, dy;
  std::vector<unsigned char> mask;
  std::map<std::string, Generator, std::less<>> parameters;
  Index features = 0;

  Case(const Json& spec, std::size_t number)
      : name(spec.at("name")), key(std::to_string(number) + "/"), pool(spec.at("pool")) {
    const std::vector<Index> shape = spec.at("shape");
    e = {shape.at(0), shape.at(1), shape.at(2), shape.at(3)};
    make_mask(spec);
    const Generator values(spec.at("x"));
    for (Index n = 0; n < e.n; ++n)
      for (Index c = 0; c < e.c; ++c)
        for (Index s = 0; s < e.positions(); ++s)
          x.push_back(valid(n, s) ? values(n, c, s) : number_behind_mask_);
    for (const Json& head : heads()) features += features_of(head);
    const Generator gradient(spec.at("dy"));
    for (Index n = 0; n < e.n; ++n)
      for (Index f = 0; f < features; ++f) dy.push_back(gradient(n, 0, f));
    for (const auto& [parameter, values_of] : spec.at("parameters").items())
      parameters.emplace(parameter, Generator(values_of));
  }

  bool valid(Index n, Index s) const {
    return mask.empty() || mask[static_cast<std::size_t>(n * e.positions() + s)] != 0;
  }
  double at(Index n, Index c, Index s) const {
    return x[static_cast<std::size_t>((n * e.c + c) * e.positions() + s)];
  }

  bool is_zero_behind_mask(std::span<const double> dx) const {
    bool zero = true;
    for (Index n = 0; n < e.n; ++n)
      for (Index c = 0; c < e.c; ++c)
        for (Index s = 0; s < e.positions(); ++s)
          zero &= valid(n, s) || dx[static_cast<std::size_t>((n * e.c + c) * e.positions() + s)] == 0;
    return zero;
  }

  /// A bound for every element of y. `reference` are the values of y.
  template <class T>
  std::vector<Bound> y_bounds(std::span<const double> reference) const {
    std::vector<Bound> bounds(static_cast<std::size_t>(e.n * features));
    Index first = 0;
    for (const Json& head : heads()) {
      for (Index n = 0; n < e.n; ++n)
        add_bounds<T>(head, n, reference, bounds, static_cast<std::size_t>(n * features + first));
      first += features_of(head);
    }
    return bounds;
  }

 private:
  double number_behind_mask_ = 0;

  void make_mask(const Json& spec) {
    if (!spec.contains("mask")) return;
    const Json& about = spec.at("mask");
    const std::uint64_t seed = about.at("seed"), percent = about.at("percent");
    number_behind_mask_ = number(about.at("garbage"));
    for (Index n = 0; n < e.n; ++n) {
      const std::uint64_t always = hash(seed, n, 1, 0) % static_cast<std::uint64_t>(e.positions());
      for (Index s = 0; s < e.positions(); ++s)
        mask.push_back(hash(seed, n, 0, s) % 100 < percent || static_cast<std::uint64_t>(s) == always);
    }
  }

  std::vector<Json> heads() const {
    if (!pool.contains("heads")) return {pool};
    return pool.at("heads").get<std::vector<Json>>();
  }

  /// The grids of bins that a head's features are laid out in.
  static std::vector<std::array<Index, 2>> grids(const Json& head) {
    if (head.contains("grid")) return {{head.at("grid").at(0), head.at("grid").at(1)}};
    if (!head.contains("levels")) return {{1, 1}};
    std::vector<std::array<Index, 2>> result;
    for (const Index level : head.at("levels")) result.push_back({level, level});
    return result;
  }
  Index features_of(const Json& head) const {
    Index bins = 0;
    for (const auto& [rows, columns] : grids(head)) bins += rows * columns;
    return e.c * bins;
  }

  /// The bounds of one head's columns in one row of y, from bounds[at] on.
  template <class T>
  void add_bounds(const Json& head, Index n, std::span<const double> reference, std::vector<Bound>& bounds,
                  std::size_t at) const {
    const std::string type = head.at("type");
    const bool average = type == "GlobalAveragePool" || type == "AdaptiveAveragePool" ||
                         (type == "SpatialPyramidPool" && head.at("kind") == "average");
    const bool half = type == "AverageMaxPool";
    const bool power = type == "GlobalLpPool" || type == "GeneralizedMeanPool";
    const bool exponential = type == "LogSumExpPool" || type == "SoftPool" || type == "AttentionPool";
    if (power || exponential) {
      const auto channels = static_cast<std::size_t>(e.c);
      // Tiny data has tiny powers: what is asked of them is relative to the data.
      const double unit = power ? std::min(1.0, largest(reference.subspan(at, channels))) : 1.0;
      for (std::size_t c = 0; c < channels; ++c)
        bounds[at + c] = {y_error<T> * unit + static_cast<double>(std::numeric_limits<T>::denorm_min()),
                          y_error<T>};
    } else if (average || half) {
      for (const auto& [rows, columns] : grids(head))
        for (Index c = 0; c < e.c; ++c)
          for (Index i = 0; i < rows; ++i)
            for (Index j = 0; j < columns; ++j) {
              const double bound = average_bound<T>(n, c, {i, rows}, {j, columns});
              bounds[at++] = half ? Bound{bound / 2, epsilon<T>} : Bound{bound, 0};
            }
    }
  }

  /// Bin number `index` of `count` over an axis.
  struct Bin {
    Index index, count;
    Index begin(Index length) const { return index * length / count; }
    Index end(Index length) const { return ((index + 1) * length + count - 1) / count; }
  };

  /// The project's bound on averages of floats. In double, it is the golden's sum that rounds.
  template <class T>
  double average_bound(Index n, Index c, const Bin& rows, const Bin& columns) const {
    double magnitude = 0, count = 0;
    for (Index h = rows.begin(e.h); h < rows.end(e.h); ++h)
      for (Index w = columns.begin(e.w); w < columns.end(e.w); ++w)
        if (valid(n, h * e.w + w)) {
          magnitude += std::abs(at(n, c, h * e.w + w));
          ++count;
        }
    const double units = is_double<T> ? 32 : count < 1024 ? 4 : 1;
    return units * ulp<T>(magnitude / count);
  }
};

// ---------------------------------------------------------------------------------------------- one replay

/// What a pool gave, in logical order.
struct Result {
  std::vector<double> y, inference, dx;
  std::vector<std::int64_t> argmax;
  std::map<std::string, std::vector<double>> gradients;

  bool same_bits(const Result& other) const {
    const auto same = [](const std::vector<double>& a, const std::vector<double>& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
    };
    return same(y, other.y) && same(inference, other.inference) && same(dx, other.dx) &&
           argmax == other.argmax &&
           std::ranges::equal(gradients, other.gradients, [&](const auto& a, const auto& b) {
             return a.first == b.first && same(a.second, b.second);
           });
  }
};

template <class T>
std::vector<double> widened(const RowTensor<T>& rows) {
  return {rows.data(), rows.data() + rows.size()};
}

/// Forward, inference and backward of a pool, into NaN wherever it writes.
template <class Type, bool IsMasked, class Pool, class Device>
Result run(const Case& one, const Pool& pool, const Device& device) {
  using T = typename Type::Scalar;
  using Byte = std::conditional_t<std::is_same_v<typename Type::Layout, ChannelsFirst>, bool, std::uint8_t>;
  const Extents& e = one.e;
  const Map<Type> x(e, [&](Index n, Index c, Index s) { return one.at(n, c, s); });
  Map<Type> dx(e);
  RowTensor<T> y(e.n, one.features), inference(e.n, one.features), dy(e.n, one.features);
  y.setConstant(std::numeric_limits<T>::quiet_NaN());
  inference.setConstant(std::numeric_limits<T>::quiet_NaN());
  std::transform(one.dy.begin(), one.dy.end(), dy.data(), [](double value) { return static_cast<T>(value); });
  Eigen::Tensor<Byte, 2, Eigen::RowMajor> mask(IsMasked ? e.n : 0, e.positions());
  std::transform(one.mask.begin(), one.mask.end(), mask.data(), [](unsigned char v) { return Byte(v); });

  Result result;
  auto gradient = zeros_like(pool);
  const auto run_on = [&](const auto& view) {
    auto cache = pool.make_cache(view);
    pool.forward(view, y, cache, device);
    pool.forward(view, inference, device);
    pool.backward(view, y, dy, dx.view(), cache, gradient, device);
    if constexpr (requires { cache.argmax.data(); })
      result.argmax.assign(cache.argmax.data(), cache.argmax.data() + cache.argmax.size());
  };
  if constexpr (IsMasked)
    run_on(masked(x.view(), mask));
  else
    run_on(x.view());

  result.y = widened(y);
  result.inference = widened(inference);
  for (Index n = 0; n < e.n; ++n)
    for (Index c = 0; c < e.c; ++c)
      for (Index s = 0; s < e.positions(); ++s) result.dx.push_back(static_cast<double>(dx(n, c, s)));
  visit_parameters(gradient, [&](std::string_view name, auto values) {
    result.gradients[std::string(name)].assign(values.begin(), values.end());
  });
  return result;
}

/// Compares what one pool gave with what the file says, and with what the same pool gave in double, NCHW: that
/// one is compared with the file as a whole (by its projections), so all elements of the others are checked,
/// too.
class Comparison {
 public:
  Comparison(const Case& one, std::string where) : one_(one), where_(std::move(where)) {}

  /// Where any: NaN in the golden stands for "not defined". Otherwise NaN must be NaN.
  template <class BoundOf>
  void values(const std::string& what, std::span<const double> got, const Golden& golden, bool any,
              double total_error, BoundOf bound) {
    if (!golden.full.empty()) {
      if (golden.full.size() != got.size()) return fail(what, " has another number of elements");
      for (std::size_t i = 0; i < got.size(); ++i) element(what, i, got[i], golden.full[i], any, bound(i));
      return;
    }
    for (std::size_t i = 0; i < golden.samples.size(); ++i) {
      const std::size_t place = sample_place(i, got.size());
      element(what, place, got[place], golden.samples[i], any, bound(place));
    }
    std::array<double, 4> projections{};
    for (std::size_t i = 0; i < got.size(); ++i) {
      const std::uint64_t bits = projection_bits(i);
      for (std::size_t k = 0; k < projections.size(); ++k)
        projections[k] += (bits >> k & 1) != 0 ? got[i] : -got[i];
    }
    const Bound bound_of_sum{total_error * (1 + golden.projections[4]), 0};
    for (std::size_t k = 0; k < projections.size(); ++k)
      element(what + " projected", k, projections[k], golden.projections[k], false, bound_of_sum);
  }

  template <class BoundOf>
  void values(const std::string& what, std::span<const double> got, std::span<const double> reference,
              const Golden& golden, bool any, BoundOf bound) {
    if (got.size() != reference.size()) return fail(what, " has another number of elements in double");
    for (std::size_t i = 0; i < got.size(); ++i) {
      const bool undefined = any && !golden.full.empty() && std::isnan(golden.full[i]);
      if (!undefined) element(what + " beside double", i, got[i], reference[i], false, bound(i));
    }
  }

  void indices(std::span<const std::int64_t> got, const GoldenIndices& golden) {
    if (golden.full.empty() && golden.samples.empty()) return;
    if (got.size() != static_cast<std::size_t>(one_.e.n * one_.features))
      return fail("argmax", " has another number of elements");
    for (std::size_t i = 0; i < golden.full.size(); ++i) index(i, got[i], golden.full[i]);
    for (std::size_t i = 0; i < golden.samples.size(); ++i)
      index(sample_place(i, got.size()), got[sample_place(i, got.size())], golden.samples[i]);
    if (!golden.checksum.empty()) {
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < got.size(); ++i)
        sum += (static_cast<std::uint64_t>(got[i]) + 1) * projection_bits(i);
      if (sum != static_cast<std::uint64_t>(golden.checksum[0])) fail("argmax", " has the wrong checksum");
    }
  }

  void check(bool holds, const std::string& sentence) {
    if (!holds) fail("", sentence);
  }

 private:
  /// The first element that is wrong speaks for its tensor.
  void element(const std::string& what, std::size_t i, double got, double expected, bool any,
               const Bound& bound) {
    if (any && std::isnan(expected)) return;
    ++compared;
    const bool exact = bound.absolute == 0 && bound.relative == 0;
    const bool right = std::isnan(expected) ? std::isnan(got)
                       : std::isinf(expected) || exact
                           ? got == expected && std::signbit(got) == std::signbit(expected)
                           : std::abs(got - expected) <= bound.at(expected);
    if (right || what == failed_) return;
    failed_ = what;
    std::ostringstream out;
    out << std::setprecision(17) << "[" << i << "] is " << got << ", expected " << expected << " to "
        << bound.at(expected);
    fail(what, out.str());
  }
  void index(std::size_t i, std::int64_t got, std::int64_t expected) {
    ++compared;
    if (got == expected || failed_ == "argmax") return;
    failed_ = "argmax";
    std::ostringstream out;
    out << "[" << i << "] is " << got << ", expected " << expected;
    fail("argmax", out.str());
  }
  void fail(const std::string& what, const std::string& sentence) {
    FAIL_CHECK(one_.name << ", " << where_ << ": " << what << sentence);
  }

  const Case& one_;
  std::string where_, failed_;

 public:
  std::size_t compared = 0;
};

inline const Eigen::ThreadPoolDevice& two_threads() {
  static Eigen::ThreadPool pool(2);
  static const Eigen::ThreadPoolDevice device(&pool, 2);
  return device;
}

/// The case in one layout and scalar. reference: what it gave in double, NCHW, or nothing when this is that.
template <class Type, bool IsMasked, class Make>
Result replay_as(const Case& one, const std::string& where, const Result* reference, const Make& make) {
  using T = typename Type::Scalar;
  auto pool = make(one.pool, one.e.c, T());
  std::size_t parameters = 0;
  visit_parameters(pool, [&](std::string_view name, auto values) {
    const auto found = one.parameters.find(name);
    if (found == one.parameters.end()) throw std::runtime_error("no golden for " + std::string(name));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<T>(found->second(0, 0, static_cast<Index>(i)));
    ++parameters;
  });

  Comparison comparison(one, where);
  comparison.check(parameters == one.parameters.size(), "the pool has other parameters");
  comparison.check(pool.features(one.e.c) == one.features, "the pool has another number of features");
  Result got = run<Type, IsMasked>(one, pool, Eigen::DefaultDevice{});
  const Result& beside = reference != nullptr ? *reference : got;
  const Goldens& file = Goldens::file();

  const Golden y = file.find(one.key + "y");
  const std::vector<Bound> bounds = one.y_bounds<T>(y.full.empty() ? beside.y : y.full);
  const auto y_bound = [&](std::size_t i) { return bounds[i]; };
  comparison.values("y", got.y, y, false, y_error<T>, y_bound);
  comparison.values("inference's y", got.inference, y, false, y_error<T>, y_bound);
  comparison.values("y", got.y, beside.y, y, false, y_bound);
  comparison.values("inference's y", got.inference, beside.y, y, false, y_bound);
  comparison.indices(got.argmax, file.find_indices(one.key + "argmax"));
  comparison.check(reference == nullptr || got.argmax == beside.argmax, "argmax is not that of double");

  const Golden dx = file.find(one.key + "dx");
  const Bound dx_bound{gradient_error<T> * std::min(1.0, largest(dx.full.empty() ? dx.samples : dx.full)),
                       gradient_error<T>};
  comparison.values("dx", got.dx, dx, true, gradient_error<T>, [&](std::size_t) { return dx_bound; });
  comparison.values("dx", got.dx, beside.dx, dx, true, [&](std::size_t) { return dx_bound; });
  comparison.check(one.is_zero_behind_mask(got.dx), "dx is not 0 behind the mask");

  for (const auto& [name, values] : got.gradients) {
    const Golden golden = file.find(one.key + "grad/" + name);
    const double unit =
        std::max({1.0, largest(one.dy), largest(golden.full.empty() ? golden.samples : golden.full)});
    // The gradient at an exponent is y dy times a difference of logarithms: it keeps a double's precision of y.
    const double rounding =
        name.ends_with('p') ? 16 * epsilon<double> * largest(beside.y) * largest(one.dy) : 0.0;
    const auto bound = [&](std::size_t) { return Bound{parameter_error<T> * unit + rounding, 0}; };
    comparison.values("gradient of " + name, values, golden, true, parameter_error<T>, bound);
    comparison.values("gradient of " + name, values, beside.gradients.at(name), golden, true, bound);
  }

  const Result threaded = run<Type, IsMasked>(one, pool, two_threads());
  comparison.check(threaded.same_bits(got), "two threads give other bits than one");
  comparison.check(comparison.compared > 0, "nothing was compared");
  return got;
}

/// Replays all cases of a type of pool (and kind, unless empty), with or without a mask, in both layouts and
/// scalars; says how many there were. make(description, channels, T()) makes the pool.
template <bool IsMasked = false, class Make>
int replay(const std::string& type, const std::string& kind, const Make& make) {
  int count = 0;
  const std::vector<Json>& cases = Goldens::file().cases();
  for (std::size_t number = 0; number < cases.size(); ++number) {
    const Json& pool = cases[number].at("pool");
    if (pool.at("type") != type || cases[number].contains("mask") != IsMasked) continue;
    if (!kind.empty() && pool.at("kind") != kind) continue;
    const Case one(cases[number], number);
    const Result reference = replay_as<Nchw<double>, IsMasked>(one, "NCHW double", nullptr, make);
    replay_as<Nhwc<double>, IsMasked>(one, "NHWC double", &reference, make);
    replay_as<Nchw<float>, IsMasked>(one, "NCHW float", &reference, make);
    replay_as<Nhwc<float>, IsMasked>(one, "NHWC float", &reference, make);
    ++count;
  }
  return count;
}

}  // namespace poolhead::test::golden
