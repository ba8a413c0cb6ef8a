// The four-head networks whose pools differ.
#include "make_networks.hpp"
#include "network_of.hpp"

#include <poolhead/model/four_head.hpp>
#include <poolhead/nn/batch_norm2d.hpp>

namespace {

/// The card's four pools on a stem that trains fast: a third convolution, and batch-norm after each, which
/// comes after the maximum of 2x2 so that it has a quarter of the work.
auto with_norm(const NetworkOptions& options) {
  auto pools = ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}, ph::GeneralizedMeanPool<float>(3.0f),
                          ph::SpatialPyramidPool({1, 2, 4}));
  const ph::Index channels = 128, features = pools.features(channels);
  const auto conv = [](ph::Index in, ph::Index out) {
    return ph::Conv2d<float>(in, out, 3, {.padding = 1, .bias = false});
  };
  using Norm = ph::BatchNorm2d<float>;
  auto network = ph::sequential(
      ph::named<"conv_layers">(ph::sequential(conv(options.channels, 32), ph::MaxPool2d(2), Norm(32),
                                              ph::ReLU{}, conv(32, 64), ph::MaxPool2d(2), Norm(64), ph::ReLU{},
                                              conv(64, channels), Norm(channels), ph::ReLU{})),
      ph::named<"pools">(std::move(pools)),
      ph::named<"fc">(
          ph::sequential(ph::Dense<float>(features, 256), ph::ReLU{}, ph::Dense<float>(256, options.classes))));
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
