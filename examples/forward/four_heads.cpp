#include "program.hpp"

#include <poolhead/model/four_head.hpp>
#include <poolhead/model/four_head_basic.hpp>
#include <poolhead/model/four_head_branches.hpp>
#include <poolhead/model/four_head_filters.hpp>

namespace {

using Shape = std::vector<poolhead::Index>;

poolhead::FourHeadOptions read(Options& options) {
  poolhead::FourHeadOptions read;
  read.num_classes = options.number("num_classes", read.num_classes);
  read.in_channels = options.number("in_channels", read.in_channels);
  read.hidden = options.number("hidden", read.hidden);
  return read;
}

template <class T>
auto basic(Options& options, const Shape&) {
  return poolhead::four_head_basic<T>(read(options));
}
template <class T>
auto branches(Options& options, const Shape&) {
  return poolhead::four_head_branches<T>(read(options));
}
template <class T>
auto filters(Options& options, const Shape&) {
  return poolhead::four_head_filters<T>(read(options));
}

/// The fourth pool makes two types of it.
template <class T>
std::unique_ptr<AnyNetwork> four_head(Options& options, const Shape&) {
  const auto common = read(options);
  const std::string fourth = options.choice("fourth", "spp", {"spp", "softmax-attention", "sigmoid-attention"});
  if (fourth == "spp") {
    const auto levels = options.numbers("levels", "1,2,4");
    const bool max = options.choice("spp_pool", "avg", {"avg", "max"}) == "max";
    return forward::wrap<T>(poolhead::four_head<T>(
        common, 0,
        poolhead::SpatialPyramidPool(
            levels, max ? poolhead::SpatialPyramidPool::max : poolhead::SpatialPyramidPool::average)));
  }
  const bool softmax = fourth == "softmax-attention";
  using Attention = poolhead::AttentionPool<T>;
  const auto hidden = options.number("attention_hidden", softmax ? 64 / 16 : 64 / 8);
  return forward::wrap<T>(poolhead::four_head<T>(
      common, 0, poolhead::AttentionHead<T>(64, hidden, softmax ? Attention::softmax : Attention::sigmoid)));
}

}  // namespace

std::vector<Model> four_heads() {
  return {POOLHEAD_FORWARD_MODEL("four-head-basic", basic),
          POOLHEAD_FORWARD_MODEL("four-head-branches", branches),
          POOLHEAD_FORWARD_MODEL("four-head-filters", filters),
          {"four-head", four_head<float>, four_head<double>}};
}
