#include "program.hpp"

#include <poolhead/nn/cbam.hpp>
#include <poolhead/nn/net_vlad.hpp>
#include <poolhead/nn/squeeze_excitation.hpp>

namespace {

using Shape = std::vector<poolhead::Index>;

/// x is the block's own input: unless the options say else, it has as many channels as it has.
poolhead::Index channels(Options& options, const Shape& x) {
  return options.number("in_channels", x[1] > 0 ? x[1] : 512);
}

template <class T>
auto squeeze_excitation(Options& options, const Shape& x) {
  const auto in = channels(options, x);
  return poolhead::squeeze_excitation<T>(in, options.number("reduction", 16));
}
template <class T>
auto cbam(Options& options, const Shape& x) {
  const auto in = channels(options, x);
  return poolhead::cbam<T>(in, options.number("reduction", 16));
}
template <class T>
auto net_vlad(Options& options, const Shape& x) {
  const auto in = channels(options, x);
  const auto clusters = options.number("clusters", 64);
  return poolhead::NetVlad<T>(in, clusters, options.flag("intra_normalise", false));
}

}  // namespace

std::vector<Model> blocks() {
  return {POOLHEAD_FORWARD_MODEL("squeeze-excitation", squeeze_excitation),
          POOLHEAD_FORWARD_MODEL("cbam", cbam), POOLHEAD_FORWARD_MODEL("netvlad", net_vlad)};
}
