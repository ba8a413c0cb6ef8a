// Networks by name.
#include "network.hpp"

#include "make_networks.hpp"

#include <poolhead/core/error.hpp>

#include <algorithm>

const Network::Device& Network::this_thread() {
  // A pool of one thread is never given anything: work stays on the caller's.
  static Eigen::ThreadPool pool(1);
  static const Device device(&pool, 1);
  return device;
}

const std::vector<NetworkInfo>& all_networks() {
  static const std::vector<NetworkInfo> networks{
      {"four-head", "one stem, four pools on it: average, maximum, GeM, pyramid", false, "conv_layers.5", "",
       make_four_head},
      {"four-head-norm", "the same four pools on three convolutions with batch-norm: the fast recipe", false,
       "conv_layers.10", "", make_four_head_norm},
      {"four-head-basic", "one stem, four convolutions on it, each closed by a maximum or an average", false,
       "conv_layers.5", "", make_four_head_basic},
      {"conv-gap", "the global pooling article's network, global average pooling", false, "network.15", "-",
       make_conv_gap},
      {"conv-gmp", "the same with global max pooling", false, "network.15", "-", make_conv_gmp},
      {"pooled", "three convolutions, one head of choice (--pool), a dense layer", true, "features.7",
       "classifier", make_pooled},
  };
  return networks;
}

const NetworkInfo& network_info(std::string_view name) {
  const auto& networks = all_networks();
  const auto found = std::ranges::find(networks, name, &NetworkInfo::name);
  if (found != networks.end()) return *found;
  std::string names;
  for (const auto& info : networks) names.append(names.empty() ? "" : ", ").append(info.name);
  throw ph::ValueError("there is no network \"" + std::string(name) + "\", expected one of " + names);
}

const std::map<std::string, std::string, std::less<>>& pool_names() {
  static const std::map<std::string, std::string, std::less<>> names{
      {"gap", "avg"},
      {"gmp", "max"},
      {"gap+gmp", "mixed"},
      {"gem", "gem"},
      {"lse", "lse"},
      {"soft", "soft"},
      {"spp", "spp"},
      {"flatten", "flatten"},
      {"improved-spp", "improved-spp"},
      {"attention", "softmax-attention"},
      {"sigmoid-attention", "sigmoid-attention"},
  };
  return names;
}

Network make_network(const NetworkOptions& options) {
  const NetworkInfo& info = network_info(options.model);
  if (info.takes_pool && !pool_names().contains(options.pool)) {
    std::string names;
    for (const auto& name : pool_names()) names.append(names.empty() ? "" : ", ").append(name.first);
    throw ph::ValueError("there is no pool \"" + options.pool + "\", expected one of " + names);
  }
  return Network(info.make(options));
}
