#include "program.hpp"

#include <poolhead/model/conv_gap.hpp>
#include <poolhead/model/gap_classification.hpp>
#include <poolhead/model/keras_cnn.hpp>
#include <poolhead/model/pooled_cnn.hpp>
#include <poolhead/model/simple_cnn.hpp>

namespace {

using Shape = std::vector<poolhead::Index>;

poolhead::ConvGapOptions read(Options& options) {
  poolhead::ConvGapOptions read;
  read.num_classes = options.number("num_classes", read.num_classes);
  read.in_channels = options.number("in_channels", read.in_channels);
  return read;
}
poolhead::PooledCnnOptions read(Options& options, const Shape& x, poolhead::PooledCnnOptions defaults) {
  defaults.num_classes = options.number("num_classes", defaults.num_classes);
  defaults.in_channels = options.number("in_channels", defaults.in_channels);
  defaults.head = forward::read_head(options, x);
  return defaults;
}

template <class T>
auto conv_gap(Options& options, const Shape&) {
  return poolhead::conv_gap<T>(read(options));
}
template <class T>
auto conv_gmp(Options& options, const Shape&) {
  return poolhead::conv_gmp<T>(read(options));
}
template <class T>
auto pooled_cnn(Options& options, const Shape& x) {
  return poolhead::pooled_cnn<T>(read(options, x, {}));
}
template <class T>
auto keras_cnn(Options& options, const Shape& x) {
  return poolhead::keras_cnn<T>(read(options, x, {}));
}
template <class T>
auto simple_cnn(Options& options, const Shape& x) {
  return poolhead::simple_cnn<T>(read(options, x, {.num_classes = 1}));
}
template <class T>
auto gap_classification(Options& options, const Shape& x) {
  return poolhead::gap_classification<T>(read(options, x, {.in_channels = 512, .num_classes = 1000}));
}

}  // namespace

std::vector<Model> stacks() {
  return {POOLHEAD_FORWARD_MODEL("conv-gap", conv_gap),
          POOLHEAD_FORWARD_MODEL("conv-gmp", conv_gmp),
          POOLHEAD_FORWARD_MODEL("pooled-cnn", pooled_cnn),
          POOLHEAD_FORWARD_MODEL("simple-cnn", simple_cnn),
          POOLHEAD_FORWARD_MODEL("keras-cnn", keras_cnn),
          POOLHEAD_FORWARD_MODEL("gap-classification", gap_classification)};
}
