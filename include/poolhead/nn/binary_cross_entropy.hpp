// Binary cross-entropy, of probabilities and of logits.
#pragma once

#include "poolhead/core/rows.hpp"
#include "poolhead/pool/pool.hpp"

#include <cmath>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The mean over all elements of the first of term(prediction, target); their second, over N K, goes to dp.
template <class T, class Term>
double binary_loss(std::string_view call, const Rows<const T>& p, const Rows<const T>& targets,
                   const Rows<T>& dp, const Term& term) {
  check_rows(call, "", "targets", targets, p.batch(), p.features());
  const double count = static_cast<double>(p.size());
  double sum = 0.0;
  for (Index n = 0; n < p.batch(); ++n) {
    for (Index k = 0; k < p.features(); ++k) {
      const auto loss_and_slope = term(static_cast<double>(p(n, k)), static_cast<double>(targets(n, k)));
      sum += loss_and_slope.first;
      if (dp.data() != nullptr) dp(n, k) = static_cast<T>(loss_and_slope.second / count);
    }
  }
  return sum / count;
}

inline constexpr auto probability_term = [](double p, double t) {
  if (!(p >= 0.0 && p <= 1.0)) {
    fail<ValueError>("binary_cross_entropy: a probability is ", p, ", expected 0 to 1");
  }
  // The slope's divisor is PyTorch's, too: it keeps certainty from dividing by 0.
  const double loss = -(t * std::max(std::log(p), -100.0) + (1.0 - t) * std::max(std::log1p(-p), -100.0));
  return std::pair{loss, (p - t) / std::max(p * (1.0 - p), double{1e-12f})};
};

inline constexpr auto logit_term = [](double z, double t) {
  const double small = std::exp(-std::abs(z));  // the sigmoid without overflow
  const double sigmoid = (z >= 0.0 ? 1.0 : small) / (1.0 + small);
  return std::pair{std::max(z, 0.0) - z * t + std::log1p(small), sigmoid - t};
};

}  // namespace detail

/// mean over n and k of -(t log p + (1 - t) log(1 - p)), each logarithm at least -100; probabilities and
/// targets (N, K) in [0, 1]. dp, where given, is overwritten with the gradient. Throws ShapeError where shapes
/// differ, ValueError for a probability that is none. torch.nn.BCELoss.
template <class Probabilities, class Targets>
double binary_cross_entropy(const Probabilities& p, const Targets& targets) {
  using T = typename Probabilities::Scalar;
  return detail::binary_loss<T>("binary_cross_entropy", detail::as_rows<const T>(p),
                                detail::as_rows<const T>(targets), {}, detail::probability_term);
}
template <class Probabilities, class Targets, class DP>
double binary_cross_entropy(const Probabilities& p, const Targets& targets, DP&& dp) {
  using T = typename Probabilities::Scalar;
  const auto rows = detail::as_rows<const T>(p);
  const auto gradient = detail::as_rows<T>(dp);
  detail::check_rows("binary_cross_entropy", "", "dp", gradient, rows.batch(), rows.features());
  return detail::binary_loss<T>("binary_cross_entropy", rows, detail::as_rows<const T>(targets), gradient,
                                detail::probability_term);
}

/// The same of p = sigmoid(logits), at any magnitude: max(z, 0) - z t + log(1 + exp(-|z|)).
/// torch.nn.BCEWithLogitsLoss.
template <class Logits, class Targets>
double binary_cross_entropy_of_logits(const Logits& logits, const Targets& targets) {
  using T = typename Logits::Scalar;
  return detail::binary_loss<T>("binary_cross_entropy_of_logits", detail::as_rows<const T>(logits),
                                detail::as_rows<const T>(targets), {}, detail::logit_term);
}
template <class Logits, class Targets, class DLogits>
double binary_cross_entropy_of_logits(const Logits& logits, const Targets& targets, DLogits&& dlogits) {
  using T = typename Logits::Scalar;
  const auto rows = detail::as_rows<const T>(logits);
  const auto gradient = detail::as_rows<T>(dlogits);
  detail::check_rows("binary_cross_entropy_of_logits", "", "dlogits", gradient, rows.batch(), rows.features());
  return detail::binary_loss<T>("binary_cross_entropy_of_logits", rows, detail::as_rows<const T>(targets),
                                gradient, detail::logit_term);
}

}  // namespace poolhead::inline POOLHEAD_ISA
