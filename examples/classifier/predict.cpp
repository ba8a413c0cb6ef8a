// predict: what a trained network takes image files for.
#include "trained.hpp"

#include <poolhead/io/picture_file.hpp>

#include <algorithm>
#include <cstdio>

int predict(const PredictCommand& command) {
  const TrainedNetwork trained = load(command);
  // All files are read before the first answer, so that a bad one is not found half way.
  std::vector<ph::LabelledImages> inputs;
  for (const std::string& path : command.images) {
    inputs.push_back(as_input(ph::read_picture(path), trained.card.network));
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Outputs outputs = outputs_of(trained.network, inputs[i], trained.card.normalisation,
                                       trained.card.options.channels_last(), Network::this_thread());
    const auto probabilities = softmax(outputs.of(0));
    auto order = in_order(outputs.classes);
    std::ranges::stable_sort(order, std::greater{},
                             [&](ph::Index k) { return probabilities[static_cast<std::size_t>(k)]; });
    std::printf("%s\n", command.images[i].c_str());
    const auto shown = std::min(static_cast<std::size_t>(command.top), order.size());
    for (std::size_t rank = 0; rank < shown; ++rank) {
      const auto k = static_cast<std::size_t>(order[rank]);
      std::printf("  %6.2f %%  %s\n", 100.0 * probabilities[k], trained.card.class_names[k].c_str());
    }
  }
  return done;
}
