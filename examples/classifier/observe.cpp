// observe: what goes through every layer while the network runs over validation images.
#include "progress.hpp"
#include "trained.hpp"

#include <poolhead/explain/observer.hpp>

#include <algorithm>
#include <cstdio>

int observe(const ObserveCommand& command) {
  const TrainedNetwork trained = load(command);
  const DataSet data = data_for(trained, command);
  const Threads threads(command.threads);
  const auto& images = data.validation;
  const ph::Index count = std::min(command.images, images.size());
  constexpr ph::Index batch_size = 50;

  std::vector<std::pair<std::string, ph::LayerObserver>> observers;
  std::vector<std::string> shapes;
  Batch batch(trained.card.options.channels_last());
  const auto order = in_order(count);
  Progress progress("observing", count);
  for (ph::Index first = 0; first < count; first += batch_size) {
    const ph::Index size = std::min(batch_size, count - first);
    batch.gather(images, trained.card.normalisation,
                 std::span(order).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size)));
    const Images& x = batch.images();
    Network::Cache cache = trained.network.make_cache(x, ph::Mode::evaluation);
    const auto shape = trained.network.output_shape(x);
    std::vector<float> y(static_cast<std::size_t>(shape.size()));
    const ph::Rows<float> outputs(y.data(), size, shape.features());
    trained.network.forward(x, outputs, cache, threads.device);
    trained.network.model().outputs(
        x, outputs, cache, [](std::string_view) { return true; },
        [&](Tap&& tap) {
          if (tap.name.empty()) tap.name = "(output)";
          auto found = std::ranges::find(observers, tap.name, [](const auto& one) { return one.first; });
          if (found == observers.end()) {
            observers.emplace_back(tap.name, ph::LayerObserver{});
            found = observers.end() - 1;
            shapes.push_back(
                tap.rows ? format("%td", tap.shape.channels)
                         : format("%tdx%tdx%td", tap.shape.channels, tap.shape.height(), tap.shape.width()));
          }
          found->second.count(tap.view());
        });
    progress.show(first + size, format("%td of %td images", first + size, count));
  }
  progress.finish(format("%td images", count));

  std::printf("%-24s %12s %11s %11s %11s %11s %7s %10s %6s\n", "layer", "shape", "mean", "deviation", "least",
              "largest", "zeros", "dead", "NaN");
  ph::Index not_finite = 0;
  for (std::size_t i = 0; i < observers.size(); ++i) {
    const ph::LayerObserver& o = observers[i].second;
    std::printf("%-24s %12s %11.4g %11.4g %11.4g %11.4g %5.1f %% %4td/%-5td %6td\n", observers[i].first.c_str(),
                shapes[i].c_str(), o.mean(), o.deviation(), o.least(), o.largest(), 100.0 * o.zeros(),
                o.dead_channels(), o.channels(), o.not_finite());
    not_finite += o.not_finite();
  }
  std::printf("dead: channels with one value at every place of every image; NaN: values that are not finite\n");
  if (not_finite > 0) std::printf("warning: %td values are not finite\n", not_finite);
  return done;
}
