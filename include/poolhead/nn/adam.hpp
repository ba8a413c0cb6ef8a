// The Adam and AdamW optimizers.
#pragma once

#include "poolhead/core/device.hpp"
#include "poolhead/core/parameters.hpp"

#include <cmath>

namespace poolhead::inline POOLHEAD_ISA {

struct AdamOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  bool decoupled = false;  ///< whether the decay shrinks the weights themselves (AdamW)
};

/// m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2;
/// w -= learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)   at step t = 1, 2, ...
/// Weight decay adds weight_decay w to g; decoupled, it takes learning_rate weight_decay w from w instead.
///
/// A value: moments are two values of the network's own type, so an optimizer copies and saves as a network
/// does (visit_parameters names them first_moment.* and second_moment.*). options may change between steps.
/// Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015; torch.optim.Adam.
template <class Network>
struct Adam {
  static constexpr bool is_composition = true;

  AdamOptions options;
  Network first_moment;
  Network second_moment;
  std::int64_t steps = 0;

  /// Throws ValueError for a rate, eps or decay below 0 or betas out of [0, 1).
  explicit Adam(const Network& network, const AdamOptions& chosen = {})
      : options(chosen), first_moment(zeros_like(network)), second_moment(zeros_like(network)) {
    const auto outside = [](double beta) { return !(beta >= 0.0 && beta < 1.0); };
    if (!(options.learning_rate >= 0.0) || outside(options.beta1) || outside(options.beta2) ||
        !(options.eps >= 0.0) || !(options.weight_decay >= 0.0)) {
      detail::fail<ValueError>("Adam: learning_rate is ", options.learning_rate, ", beta1 ", options.beta1,
                               ", beta2 ", options.beta2, ", eps ", options.eps, ", weight_decay ",
                               options.weight_decay, ", expected rate, eps and decay >= 0, betas in [0, 1)");
    }
  }

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    f("first_moment", self.first_moment...);
    f("second_moment", self.second_moment...);
  }

  /// Moves the network's parameters against the gradient.
  template <Device D = Eigen::DefaultDevice>
  void step(Network& network, const Network& gradient, const D& device = D{}) {
    ++steps;
    const double t = static_cast<double>(steps);
    const double correction1 = 1.0 - std::pow(options.beta1, t);
    const double correction2 = std::sqrt(1.0 - std::pow(options.beta2, t));
    visit_parameters_together(
        [&](std::string_view, auto w, auto g, auto m, auto v) {
          using T = typename decltype(w)::value_type;
          const T beta1 = static_cast<T>(options.beta1), beta2 = static_cast<T>(options.beta2);
          const T keep1 = static_cast<T>(1.0 - options.beta1), keep2 = static_cast<T>(1.0 - options.beta2);
          const T rate = static_cast<T>(options.learning_rate / correction1);
          const T scale = static_cast<T>(1.0 / correction2), eps = static_cast<T>(options.eps);
          const T added = static_cast<T>(options.decoupled ? 0.0 : options.weight_decay);
          const T shrink =
              static_cast<T>(1.0 - (options.decoupled ? options.learning_rate * options.weight_decay : 0.0));
          detail::parallel_for(
              device, static_cast<Index>(w.size()), 7.0 * sizeof(T), [&](Index begin, Index end) {
                for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
                  const T slope = g[i] + added * w[i];
                  m[i] = beta1 * m[i] + keep1 * slope;
                  v[i] = beta2 * v[i] + keep2 * slope * slope;
                  w[i] = shrink * w[i] - rate * m[i] / (std::sqrt(v[i]) * scale + eps);
                }
              });
        },
        network, gradient, first_moment, second_moment);
  }
};

/// Adam with decoupled weight decay, 0.01 unless chosen. Loshchilov and Hutter, Decoupled Weight Decay
/// Regularization, 2019; torch.optim.AdamW.
template <class Network>
struct AdamW : Adam<Network> {
  explicit AdamW(const Network& network, AdamOptions chosen = {.weight_decay = 1e-2})
      : Adam<Network>(network, (chosen.decoupled = true, chosen)) {}
};

}  // namespace poolhead::inline POOLHEAD_ISA
