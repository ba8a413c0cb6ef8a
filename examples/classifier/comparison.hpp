// What compare finds out about one head.
#pragma once

#include "trainer.hpp"

struct Comparison {
  std::string pool;
  ph::Index parameters = 0;
  std::vector<double> accuracies{};             ///< validation, last epoch, one for each seed
  std::vector<std::vector<Epoch>> histories{};  ///< one for each seed
  double seconds_per_epoch = 0.0;
  double peak_megabytes = 0.0;  ///< of the whole program while this head was trained

  double mean() const;
  /// The standard deviation of the accuracies (n - 1), 0 of a single one.
  double spread() const;
};

/// The spread in per cent, "-" of a single seed.
std::string spread_text(const Comparison& one);
