// Cross-entropy of logits.
#pragma once

#include "poolhead/core/rows.hpp"
#include "poolhead/pool/pool.hpp"

#include <cmath>

namespace poolhead::inline POOLHEAD_ISA {

/// A sum over samples: of losses, and of right answers. The answer to a row of logits is its first maximum.
struct LossSum {
  double loss = 0.0;
  Index correct = 0;
};

namespace detail {

/// Adds up -log softmax(logits[n])[labels[n]]; dlogits, where given, gets (softmax - onehot) / divisor.
template <class T, std::integral Label>
LossSum cross_entropy_sum(const Rows<const T>& logits, std::span<const Label> labels, const Rows<T>& dlogits,
                          Index divisor) {
  const Index classes = logits.features();
  if (static_cast<Index>(labels.size()) != logits.batch()) {
    fail<ShapeError>("cross_entropy: labels are [", labels.size(), "], expected [", logits.batch(), "]");
  }
  for (std::size_t n = 0; n < labels.size(); ++n) {
    if (std::cmp_less(labels[n], 0) || std::cmp_greater_equal(labels[n], classes)) {
      fail<ValueError>("cross_entropy: label ", n, " is ", +labels[n], ", expected 0..", classes - 1);
    }
  }
  LossSum sum;
  for (Index n = 0; n < logits.batch(); ++n) {
    const T* const row = logits.row(n);
    const Index label = static_cast<Index>(labels[static_cast<std::size_t>(n)]);
    const Index best = std::max_element(row, row + classes) - row;
    const double shift = static_cast<double>(row[best]);
    double total = 0.0;
    for (Index k = 0; k < classes; ++k) total += std::exp(static_cast<double>(row[k]) - shift);
    sum.loss += std::log(total) - (static_cast<double>(row[label]) - shift);
    sum.correct += best == label;
    if (dlogits.data() == nullptr) continue;
    for (Index k = 0; k < classes; ++k) {
      const double softmax = std::exp(static_cast<double>(row[k]) - shift) / total;
      dlogits(n, k) = static_cast<T>((softmax - (k == label ? 1.0 : 0.0)) / static_cast<double>(divisor));
    }
  }
  return sum;
}

}  // namespace detail

/// mean over n of -log softmax(logits[n])[labels[n]], natural logarithm, max-shifted. logits (N, K) rows of
/// float or double; labels N integers in 0 .. K - 1. Throws ShapeError where their numbers differ, ValueError
/// for a label out of range. torch.nn.CrossEntropyLoss.
template <class Logits, std::integral Label>
double cross_entropy(const Logits& logits, std::span<const Label> labels) {
  using T = typename Logits::Scalar;
  const auto rows = detail::as_rows<const T>(logits);
  const auto sum = detail::cross_entropy_sum<T, Label>(rows, labels, {}, 1);
  return sum.loss / static_cast<double>(rows.batch());
}

/// The same; dlogits is overwritten with the mean's gradient, (softmax - onehot) / N.
template <class Logits, std::integral Label, class DLogits>
double cross_entropy(const Logits& logits, std::span<const Label> labels, DLogits&& dlogits) {
  using T = typename Logits::Scalar;
  const auto rows = detail::as_rows<const T>(logits);
  const auto gradient = detail::as_rows<T>(dlogits);
  detail::check_rows("cross_entropy", "", "dlogits", gradient, rows.batch(), rows.features());
  const auto sum = detail::cross_entropy_sum<T, Label>(rows, labels, gradient, rows.batch());
  return sum.loss / static_cast<double>(rows.batch());
}

/// Cross-entropy as the global pooling article takes it: of s = sigmoid(logits) in the logits' place,
/// mean over n of -log softmax(s[n])[labels[n]]. dlogits is overwritten with its gradient,
/// (softmax(s) - onehot) s (1 - s) / N. A network that ends in a sigmoid has this loss with cross_entropy.
/// Throws as cross_entropy does. torch.nn.CrossEntropyLoss of torch.sigmoid.
template <class Logits, std::integral Label, class DLogits>
double cross_entropy_of_sigmoid(const Logits& logits, std::span<const Label> labels, DLogits&& dlogits) {
  using T = typename Logits::Scalar;
  const auto rows = detail::as_rows<const T>(logits);
  const auto gradient = detail::as_rows<T>(dlogits);
  detail::check_rows("cross_entropy_of_sigmoid", "", "dlogits", gradient, rows.batch(), rows.features());
  Eigen::Tensor<T, 2, Eigen::RowMajor> sigmoid(rows.batch(), rows.features());
  for (Index n = 0; n < rows.batch(); ++n) {
    for (Index k = 0; k < rows.features(); ++k) sigmoid(n, k) = T(1) / (T(1) + std::exp(-rows(n, k)));
  }
  const double loss = cross_entropy(sigmoid, labels, gradient);
  for (Index n = 0; n < rows.batch(); ++n) {
    for (Index k = 0; k < rows.features(); ++k) gradient(n, k) *= sigmoid(n, k) * (T(1) - sigmoid(n, k));
  }
  return loss;
}

}  // namespace poolhead::inline POOLHEAD_ISA
