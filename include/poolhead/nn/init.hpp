// Initial values of weights, from a seed.
#pragma once

#include "poolhead/core/parameters.hpp"
#include "poolhead/core/random.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// How many inputs (outputs) one output (input) of a weight is connected to; weights are (out, in, ...).
struct Fans {
  double in;
  double out;
};

/// PyTorch's own start of convolutions and dense layers: weights and biases uniform in +-1/sqrt(fan_in).
struct LinearUniform {
  double weight(const Random& random, std::uint64_t i, const Fans& fans) const {
    return (2.0 * random.uniform(i) - 1.0) / std::sqrt(fans.in);
  }
  double bias(const Random& random, std::uint64_t i, const Fans& fans) const { return weight(random, i, fans); }
};

/// Glorot and Bengio, 2010: uniform in +-sqrt(6 / (fan_in + fan_out)).
struct XavierUniform {
  double bias_value = 0.0;
  double weight(const Random& random, std::uint64_t i, const Fans& fans) const {
    return (2.0 * random.uniform(i) - 1.0) * std::sqrt(6.0 / (fans.in + fans.out));
  }
  double bias(const Random&, std::uint64_t, const Fans&) const { return bias_value; }
};

/// Glorot and Bengio, 2010: normal of variance 2 / (fan_in + fan_out).
struct XavierNormal {
  double bias_value = 0.0;
  double weight(const Random& random, std::uint64_t i, const Fans& fans) const {
    return random.normal(i) * std::sqrt(2.0 / (fans.in + fans.out));
  }
  double bias(const Random&, std::uint64_t, const Fans&) const { return bias_value; }
};

/// He et al., 2015, for ReLU: uniform in +-sqrt(6 / fan_in).
struct KaimingUniform {
  double bias_value = 0.0;
  double weight(const Random& random, std::uint64_t i, const Fans& fans) const {
    return (2.0 * random.uniform(i) - 1.0) * std::sqrt(6.0 / fans.in);
  }
  double bias(const Random&, std::uint64_t, const Fans&) const { return bias_value; }
};

/// He et al., 2015, for ReLU: normal of variance 2 / fan_in.
struct KaimingNormal {
  double bias_value = 0.0;
  double weight(const Random& random, std::uint64_t i, const Fans& fans) const {
    return random.normal(i) * std::sqrt(2.0 / fans.in);
  }
  double bias(const Random&, std::uint64_t, const Fans&) const { return bias_value; }
};

/// Fills every "weight" of two axes or more, and the "bias" that follows one, by the scheme. Each parameter has
/// a stream of its own, so a network's numbers depend on the seed and on the order of its parameters, and on
/// nothing else. A bias has the fans of the weight before it. Other parameters keep their values.
template <class Value, class Scheme>
void initialise(Value& value, const Scheme& scheme, std::uint64_t seed) {
  const Random root(seed);
  std::uint64_t stream = 0;
  Fans fans{1.0, 1.0};
  bool connects = false;  // whether the last weight was of two axes or more, and not a norm's
  visit_parameters(value, [&](std::string_view name, auto values) {
    using T = typename decltype(values)::value_type;
    const Random random = root.stream(stream++);
    const auto shape = values.shape();
    const bool weight = name.ends_with("weight") && shape.size() >= 2;
    if (name.ends_with("weight")) connects = weight;
    if (weight) {
      const double receptive = static_cast<double>(values.size()) / static_cast<double>(shape[0] * shape[1]);
      fans = {static_cast<double>(shape[1]) * receptive, static_cast<double>(shape[0]) * receptive};
    }
    if (!weight && !(connects && name.ends_with("bias"))) return;
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<T>(weight ? scheme.weight(random, i, fans) : scheme.bias(random, i, fans));
    }
  });
}

}  // namespace poolhead::inline POOLHEAD_ISA
