// train: a run from its first epoch, or from where it was stopped, to its last.
#include "progress.hpp"
#include "report.hpp"
#include "trained.hpp"

#include <csignal>
#include <cstdio>

namespace {

namespace fs = std::filesystem;

void on_interrupt(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);  // twice means at once
}

/// What a killed run has left of files that were being written.
void remove_leftovers(const fs::path& directory) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(".poolhead-") && name.ends_with(".tmp")) fs::remove(entry.path(), error);
  }
}

void report_run(const RunFiles& files, const Trainer& trainer, const DataSet& data,
                const Network::Device& device) {
  const TrainedNetwork best = load_trained(files.best());
  const Outputs outputs = outputs_of(best.network, data.validation, best.card.normalisation,
                                     best.card.options.channels_last(), device);
  Report report;
  report.title = best.card.options.model + " on " + fs::path(data.source).filename().string();
  report.options = option_list(trainer.card().options);
  report.data = &data;
  report.network = &best;
  report.outputs = &outputs;
  report.history = trainer.history();
  write_report(files.report(), report);
}

}  // namespace

int train(const TrainCommand& command) {
  const TrainOptions& options = command.options;
  const RunFiles files{command.out};
  network_info(options.model);  // before anything that takes long
  Augmentation::from(options.augment);
  const DataSet data = read_data({.source = options.data,
                                  .image_size = options.image_size,
                                  .classes = options.classes,
                                  .seed = options.seed});
  TrainOptions stored = options;
  stored.data = data.source;
  Trainer trainer(stored, data);
  Threads threads(command.threads);
  make_directory(files.directory);
  remove_leftovers(files.directory);
  std::string note;
  std::error_code error;
  if (fs::exists(files.checkpoint(), error)) {
    if (command.resume) {
      trainer.resume(files);
      note = format("going on after epoch %zu\n", trainer.history().size());
    } else {
      note = command.out + " held a run: it is replaced\n";
      for (const auto& file :
           {files.checkpoint(), files.best(), files.last(), files.metrics(), files.report()}) {
        fs::remove(file, error);
      }
    }
  } else if (command.resume) {
    note = command.out + " has no checkpoint: starting from the beginning\n";
  }
  const auto& images = data.train;
  std::printf("%s: %td + %td images of %tdx%tdx%td, %td classes (%s); %s: %td parameters; %d thread%s\n",
              data.source.c_str(), images.size(), data.validation.size(), images.height, images.width,
              images.channels, data.classes(), data.format.c_str(), options.model.c_str(),
              ph::parameter_count(trainer.network()), threads.device.numThreads(),
              threads.device.numThreads() == 1 ? "" : "s");

  std::printf("%s", note.c_str());
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  if (!trainer.run(threads.device, &files)) {
    std::printf("stopped, and saved in %s; the same command with --resume goes on\n", command.out.c_str());
    return stopped;
  }
  report_run(files, trainer, data, threads.device);
  const auto& history = trainer.history();
  std::printf("validation accuracy %.2f %% after epoch %d (best), %.2f %% after the last\n",
              100.0 * history[static_cast<std::size_t>(trainer.best_epoch() - 1)].validation_accuracy,
              trainer.best_epoch(), 100.0 * history.back().validation_accuracy);
  std::printf("weights: %s (best), %s\nmetrics: %s\nreport:  %s\n", files.best().c_str(), files.last().c_str(),
              files.metrics().c_str(), fs::absolute(files.report()).c_str());
  return done;
}
