// The four-head networks whose pools differ.
#include "make_networks.hpp"
#include "network_of.hpp"

#include <poolhead/model/four_head.hpp>
#include <poolhead/nn/batch_norm2d.hpp>
#include <poolhead/nn/dropout.hpp>

namespace {

/// four-head as it trains fast: batch-norm after both convolutions, dropout before the dense layers. The stem
/// and the four pools are the card's.
auto with_norm(const NetworkOptions& options) {
  auto pools = ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}, ph::GeneralizedMeanPool<float>(3.0f),
                          ph::SpatialPyramidPool({1, 2, 4}));
  const ph::Index features = pools.features(64);
  const auto conv = [](ph::Index in, ph::Index out) {
    return ph::Conv2d<float>(in, out, 3, {.padding = 1, .bias = false});
  };
  auto network =
      ph::sequential(ph::named<"conv_layers">(ph::sequential(
                         conv(options.channels, 32), ph::BatchNorm2d<float>(32), ph::ReLU{}, ph::MaxPool2d(2),
                         conv(32, 64), ph::BatchNorm2d<float>(64), ph::ReLU{}, ph::MaxPool2d(2))),
                     ph::named<"pools">(std::move(pools)), ph::named<"dropout">(ph::Dropout(0.2, options.seed)),
                     ph::named<"fc">(ph::sequential(ph::Dense<float>(features, 256), ph::ReLU{},
                                                    ph::Dense<float>(256, options.classes))));
  ph::initialise(network, ph::LinearUniform{}, options.seed);
  return network;
}

}  // namespace

std::unique_ptr<Network::Model> make_four_head(const NetworkOptions& options) {
  return wrap(
      ph::four_head<float>({.in_channels = options.channels, .num_classes = options.classes}, options.seed),
      options);
}
std::unique_ptr<Network::Model> make_four_head_norm(const NetworkOptions& options) {
  return wrap(with_norm(options), options);
}
