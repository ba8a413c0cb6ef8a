// evaluate: a trained network on the validation split.
#include "progress.hpp"
#include "report.hpp"
#include "trained.hpp"

#include <cstdio>

int evaluate(const EvaluateCommand& command) {
  const TrainedNetwork trained = load(command);
  const DataSet data = data_for(trained, command);
  const Threads threads(command.threads);
  const Outputs outputs = outputs_of(trained.network, data.validation, trained.card.normalisation,
                                     trained.card.options.channels_last(), threads.device);
  std::printf("%s, epoch %d, on %td validation images of %s\n", trained.card.options.model.c_str(),
              trained.card.epoch, outputs.size(), data.source.c_str());
  std::printf("accuracy %.2f %%, loss %.4f\n\n", 100.0 * outputs.accuracy(), outputs.loss());

  const ph::Index classes = outputs.classes;
  const auto counts = confusion_counts(outputs);
  const auto at = [&](ph::Index truth, ph::Index answer) {
    return counts[static_cast<std::size_t>(truth * classes + answer)];
  };
  // A share of nothing is no number.
  const auto share = [](ph::Index part, ph::Index whole) {
    return whole > 0 ? format("%.2f %%", 100.0 * static_cast<double>(part) / static_cast<double>(whole))
                     : std::string("-");
  };
  std::printf("%-4s %-18s %8s %10s %10s\n", "", "class", "images", "precision", "recall");
  for (ph::Index k = 0; k < classes; ++k) {
    ph::Index row = 0, column = 0;
    for (ph::Index other = 0; other < classes; ++other) {
      row += at(k, other);
      column += at(other, k);
    }
    std::printf("%-4td %-18s %8td %10s %10s\n", k, data.class_names[static_cast<std::size_t>(k)].c_str(), row,
                share(at(k, k), column).c_str(), share(at(k, k), row).c_str());
  }
  std::printf("\nconfusion matrix: rows are the truth, columns the answer\n     ");
  for (ph::Index k = 0; k < classes; ++k) std::printf("%6td", k);
  for (ph::Index truth = 0; truth < classes; ++truth) {
    std::printf("\n%-5td", truth);
    for (ph::Index k = 0; k < classes; ++k) std::printf("%6td", at(truth, k));
  }
  std::printf("\n");
  return done;
}
