// Learning-rate schedules: the rate as a function of the step.
#pragma once

#include "poolhead/core/error.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace poolhead::inline POOLHEAD_ISA {

// A schedule is a value; schedule(t) is the rate for step t = 0, 1, 2, ... (of steps or of epochs, as the
// caller counts), so nothing needs to be saved to go on. Assign it to the optimizer's options before the step.

struct ConstantRate {
  double rate;
  double operator()(std::int64_t) const { return rate; }
};

/// rate gamma^floor(t / every). torch.optim.lr_scheduler.StepLR.
struct StepRate {
  double rate;
  std::int64_t every;
  double gamma = 0.1;

  double operator()(std::int64_t t) const { return rate * std::pow(gamma, static_cast<double>(t / every)); }
};

/// last + (rate - last) (1 + cos(pi t / steps)) / 2. Loshchilov and Hutter, SGDR, 2017;
/// torch.optim.lr_scheduler.CosineAnnealingLR.
struct CosineRate {
  double rate;
  std::int64_t steps;
  double last = 0.0;

  double operator()(std::int64_t t) const {
    const double angle = std::numbers::pi * static_cast<double>(t) / static_cast<double>(steps);
    return last + (rate - last) * (1.0 + std::cos(angle)) / 2.0;
  }
};

/// Up along half a cosine from max_rate / first_divisor to max_rate in the first `rise` of the steps, then down
/// to max_rate / (first_divisor last_divisor). The optimizer's momentum (beta1 of Adam) goes the other way,
/// from max_momentum to base_momentum and back. Smith and Topin, Super-Convergence, 2018;
/// torch.optim.lr_scheduler.OneCycleLR.
struct OneCycleRate {
  double max_rate;
  std::int64_t steps;
  double rise = 0.3;
  double first_divisor = 25.0;
  double last_divisor = 1e4;
  double base_momentum = 0.85;
  double max_momentum = 0.95;

  double operator()(std::int64_t t) const {
    const double first = max_rate / first_divisor;
    return between(t, first, max_rate, first / last_divisor);
  }
  double momentum(std::int64_t t) const { return between(t, max_momentum, base_momentum, max_momentum); }

 private:
  double between(std::int64_t t, double start, double peak, double end) const {
    const double top = rise * static_cast<double>(steps) - 1.0;
    const double bottom = static_cast<double>(steps) - 1.0;
    const double now = static_cast<double>(t);
    const auto anneal = [](double from, double to, double share) {
      return to + (from - to) / 2.0 * (1.0 + std::cos(std::numbers::pi * share));
    };
    if (now <= top) return anneal(start, peak, top > 0.0 ? now / top : 1.0);
    return anneal(peak, end, bottom > top ? std::min((now - top) / (bottom - top), 1.0) : 1.0);
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
