// compare: the same backbone under different heads, over seeds.
#include "comparison.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "trained.hpp"

#include <poolhead/io/atomic_write.hpp>

#include <malloc.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <fstream>

namespace {

namespace fs = std::filesystem;

/// The most memory that the program has had since reset_peak_memory(), in MiB; where Linux does not tell, since
/// it began.
double peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtod(line.c_str() + 6, nullptr) / 1024.0;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}
void reset_peak_memory() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}

void on_interrupt(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);
}

std::string table(const std::vector<Comparison>& rows) {
  std::string text = format("%-18s %12s %10s %8s %6s %10s %9s\n", "head", "parameters", "accuracy", "spread",
                            "seeds", "s/epoch", "peak MiB");
  for (const Comparison& row : rows) {
    text += format("%-18s %12td %8.2f %% %8s %6zu %10.1f %9.0f\n", row.pool.c_str(), row.parameters,
                   100.0 * row.mean(), spread_text(row).c_str(), row.accuracies.size(), row.seconds_per_epoch,
                   row.peak_megabytes);
  }
  return text;
}

void write_csv(const fs::path& path, const std::vector<Comparison>& rows) {
  std::string text =
      "head,parameters,accuracy_mean,accuracy_deviation,seeds,seconds_per_epoch,peak_mebibytes\n";
  for (const Comparison& row : rows) {
    text += format("%s,%td,%.6f,%.6f,%zu,%.3f,%.1f\n", row.pool.c_str(), row.parameters, row.mean(),
                   row.spread(), row.accuracies.size(), row.seconds_per_epoch, row.peak_megabytes);
  }
  const std::array<std::span<const std::byte>, 1> piece{std::as_bytes(std::span(text))};
  ph::write_atomically(path, piece);
}

}  // namespace

int compare(const CompareCommand& command) {
  TrainOptions options = command.options;
  options.model = "pooled";
  for (const std::string& pool : command.pools) {
    if (pool_names().contains(pool)) continue;
    std::string names;
    for (const auto& name : pool_names()) names.append(names.empty() ? "" : ", ").append(name.first);
    throw ph::ValueError("there is no pool \"" + pool + "\", expected some of " + names);
  }
  Augmentation::from(options.augment);
  const DataSet data = read_data({.source = options.data,
                                  .image_size = options.image_size,
                                  .classes = options.classes,
                                  .seed = options.seed});
  options.data = data.source;
  Threads threads(command.threads);
  make_directory(command.out);
  std::signal(SIGINT, on_interrupt);
  std::printf("%s: %td + %td images, %td classes; %zu heads, %d seed%s, %d epochs each; %d thread%s\n",
              data.source.c_str(), data.train.size(), data.validation.size(), data.classes(),
              command.pools.size(), command.seeds, command.seeds == 1 ? "" : "s", options.epochs,
              threads.device.numThreads(), threads.device.numThreads() == 1 ? "" : "s");

  const fs::path out = command.out;
  std::vector<Comparison> rows;
  struct Best {
    TrainedNetwork network;
    std::vector<Epoch> history;
    double accuracy() const { return history.back().validation_accuracy; }
  };
  std::optional<Best> best;
  bool complete = true;
  for (const std::string& pool : command.pools) {
    Comparison row{.pool = pool};
    std::optional<Best> best_of_row;
    double seconds = 0.0;
    reset_peak_memory();
    for (int seed = 0; seed < command.seeds; ++seed) {
      std::printf(
          "\n%s, seed %llu\n", pool.c_str(),
          static_cast<unsigned long long>(command.options.seed) + static_cast<unsigned long long>(seed));
      options.pool = pool;
      options.seed = command.options.seed + static_cast<std::uint64_t>(seed);
      Trainer trainer(options, data);
      complete = trainer.run(threads.device, nullptr);
      if (!complete) break;
      row.parameters = ph::parameter_count(trainer.network());
      row.histories.push_back(trainer.history());
      row.accuracies.push_back(trainer.history().back().validation_accuracy);
      for (const Epoch& epoch : trainer.history()) seconds += epoch.seconds;
      if (!best_of_row || row.accuracies.back() > best_of_row->accuracy())
        best_of_row.emplace(Best{{trainer.card(), trainer.network()}, trainer.history()});
    }
    if (!complete) break;
    row.seconds_per_epoch = seconds / (command.seeds * options.epochs);
    row.peak_megabytes = peak_memory();
    rows.push_back(std::move(row));
    if (!best || best_of_row->accuracy() > best->accuracy()) best = std::move(best_of_row);
    write_csv(out / "compare.csv", rows);  // what has taken so long is not lost to whatever comes
  }
  if (!complete)
    std::printf("stopped; %s\n", rows.empty() ? "no head was complete, nothing is kept"
                                              : "the heads that were complete are kept");
  if (rows.empty()) return stopped;

  std::printf("\n%s", table(rows).c_str());
  const Outputs outputs = outputs_of(best->network.network, data.validation, best->network.card.normalisation,
                                     options.channels_last(), threads.device);
  Report report;
  report.title = "Pooling heads on " + fs::path(data.source).filename().string() + ": " +
                 best->network.card.options.pool + " is best";
  report.options = option_list(best->network.card.options);
  report.data = &data;
  report.network = &best->network;
  report.outputs = &outputs;
  report.history = best->history;
  report.comparison = rows;
  write_report(out / "report.html", report);
  std::printf("\ntable:  %s\nreport: %s\n", (out / "compare.csv").c_str(),
              fs::absolute(out / "report.html").c_str());
  return complete ? done : stopped;
}
