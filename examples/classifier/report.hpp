// report.html: all about a run in one file, which needs no network and runs no script.
#pragma once

#include "comparison.hpp"
#include "runner.hpp"

#include <filesystem>

struct Report {
  std::string title;
  std::vector<std::pair<std::string, std::string>> options;
  const DataSet* data = nullptr;
  const TrainedNetwork* network = nullptr;  ///< whose answers, mistakes and layers are shown
  const Outputs* outputs = nullptr;         ///< of the validation split
  std::vector<Epoch> history;
  std::vector<Comparison> comparison;
};

/// Replaces the file as a whole.
void write_report(const std::filesystem::path& path, const Report& report);

/// The options as a report lists them.
std::vector<std::pair<std::string, std::string>> option_list(const TrainOptions& options);

/// counts[truth * classes + answer].
std::vector<ph::Index> confusion_counts(const Outputs& outputs);
