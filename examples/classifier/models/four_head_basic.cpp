#include "../network_of.hpp"
#include "models.hpp"

#include <poolhead/model/four_head_basic.hpp>

std::unique_ptr<Network::Model> make_four_head_basic(const NetworkOptions& options) {
  return wrap(ph::four_head_basic<float>({.in_channels = options.channels, .num_classes = options.classes},
                                         options.seed),
              options);
}
