// The whole Jacobian by central differences, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace poolhead::test {

/// The largest |analytic - numeric| / max(1, |numeric|) over every output and every variable.
///
/// variables: the input or the parameters to differentiate for; they are moved in place and put back.
/// forward(): runs the function and returns its outputs as a std::vector<double>.
/// backward(dy): returns the gradient of sum dy * y for the variables, after a forward at the same point.
/// The step must stay within one smooth piece: no kink and no tie closer than it.
template <class Forward, class Backward>
double jacobian_error(std::span<double> variables, Forward forward, Backward backward, double step = 1e-5) {
  std::vector<std::vector<double>> columns;
  for (double& variable : variables) {
    const double value = variable;
    const double above = value + step;
    const double below = value - step;
    variable = above;
    std::vector<double> column = forward();
    variable = below;
    const std::vector<double> low = forward();
    variable = value;
    for (std::size_t i = 0; i < column.size(); ++i) column[i] = (column[i] - low[i]) / (above - below);
    columns.push_back(std::move(column));
  }

  double worst = 0;
  std::vector<double> dy(forward().size());
  for (std::size_t output = 0; output < dy.size(); ++output) {
    std::fill(dy.begin(), dy.end(), 0.0);
    dy[output] = 1;
    const std::vector<double> gradient = backward(dy);
    for (std::size_t j = 0; j < columns.size(); ++j) {
      const double numeric = columns[j][output];
      const double error = std::abs(gradient[j] - numeric) / std::max(1.0, std::abs(numeric));
      if (!(error <= worst)) worst = error;  // a NaN counts, and stays
      if (std::isnan(worst)) return worst;
    }
  }
  return worst;
}

}  // namespace poolhead::test
