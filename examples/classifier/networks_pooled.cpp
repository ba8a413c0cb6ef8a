// The network whose head is chosen at run time.
#include "make_networks.hpp"
#include "network_of.hpp"

#include <poolhead/nn/any_head.hpp>
#include <poolhead/nn/conv2d.hpp>
#include <poolhead/nn/dense.hpp>
#include <poolhead/nn/max_pool2d.hpp>
#include <poolhead/nn/relu.hpp>
#include <poolhead/nn/sequential.hpp>

namespace {

/// The stem of the four-head networks and one more convolution, closed by one head of choice and a dense layer:
/// what compare compares.
auto pooled(const NetworkOptions& options) {
  const auto conv = [](ph::Index in, ph::Index out) { return ph::Conv2d<float>(in, out, 3, {.padding = 1}); };
  const ph::AnyHead<float> head({.pool = pool_names().find(options.pool)->second,
                                 .height = options.height / 4,
                                 .width = options.width / 4},
                                128, options.seed);
  auto network = ph::sequential(ph::named<"features">(ph::sequential(
                                    conv(options.channels, 32), ph::ReLU{}, ph::MaxPool2d(2), conv(32, 64),
                                    ph::ReLU{}, ph::MaxPool2d(2), conv(64, 128), ph::ReLU{})),
                                ph::named<"global_pool">(head),
                                ph::named<"classifier">(ph::Dense<float>(head.features(128), options.classes)));
  ph::initialise(network, ph::LinearUniform{}, options.seed);
  return network;
}

}  // namespace

std::unique_ptr<Network::Model> make_pooled(const NetworkOptions& options) {
  return wrap(pooled(options), options);
}
