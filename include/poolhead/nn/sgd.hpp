// Stochastic gradient descent.
#pragma once

#include "poolhead/core/device.hpp"
#include "poolhead/core/parameters.hpp"

namespace poolhead::inline POOLHEAD_ISA {

struct SgdOptions {
  double learning_rate = 1e-3;
  double momentum = 0.0;
  double dampening = 0.0;
  double weight_decay = 0.0;
  bool nesterov = false;
};

/// g += weight_decay w;   b = momentum b + (1 - dampening) g, at the first step b = g;
/// w -= learning_rate b, with nesterov w -= learning_rate (g + momentum b).
///
/// A value, like Adam: b is a value of the network's own type (visit_parameters names it velocity.*).
/// Sutskever et al., On the importance of initialization and momentum in deep learning, 2013; torch.optim.SGD.
template <class Network>
struct Sgd {
  static constexpr bool is_composition = true;

  SgdOptions options;
  Network velocity;
  std::int64_t steps = 0;

  /// Throws ValueError for a rate, momentum or decay below 0, or nesterov without momentum or with dampening.
  explicit Sgd(const Network& network, const SgdOptions& chosen = {})
      : options(chosen), velocity(zeros_like(network)) {
    if (!(options.learning_rate >= 0.0) || !(options.momentum >= 0.0) || !(options.weight_decay >= 0.0)) {
      detail::fail<ValueError>("Sgd: learning_rate is ", options.learning_rate, ", momentum ", options.momentum,
                               ", weight_decay ", options.weight_decay, ", expected at least 0 each");
    }
    if (options.nesterov && (options.momentum == 0.0 || options.dampening != 0.0)) {
      detail::fail<ValueError>("Sgd: nesterov with momentum ", options.momentum, " and dampening ",
                               options.dampening, ", expected momentum above 0 and no dampening");
    }
  }

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    f("velocity", self.velocity...);
  }

  /// Moves the network's parameters against the gradient.
  template <Device D = Eigen::DefaultDevice>
  void step(Network& network, const Network& gradient, const D& device = D{}) {
    const bool first = steps++ == 0;
    visit_parameters_together(
        [&](std::string_view, auto w, auto g, auto b) {
          using T = typename decltype(w)::value_type;
          const T rate = static_cast<T>(options.learning_rate), decay = static_cast<T>(options.weight_decay);
          const T keep = static_cast<T>(first ? 0.0 : options.momentum);
          const T take = static_cast<T>(first ? 1.0 : 1.0 - options.dampening);
          const T ahead = static_cast<T>(options.momentum);
          detail::parallel_for(
              device, static_cast<Index>(w.size()), 5.0 * sizeof(T), [&](Index begin, Index end) {
                for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
                  const T slope = g[i] + decay * w[i];
                  b[i] = keep * b[i] + take * slope;
                  w[i] -= rate * (options.nesterov ? slope + ahead * b[i] : b[i]);
                }
              });
        },
        network, gradient, velocity);
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
