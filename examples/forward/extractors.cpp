#include "program.hpp"

#include <poolhead/model/attention_classifier.hpp>
#include <poolhead/model/progressive.hpp>

namespace {

using Shape = std::vector<poolhead::Index>;

template <class T>
auto multi_scale(Options& options, const Shape&) {
  return poolhead::MultiScale<T>(options.number("in_channels", 3));
}
template <class T>
auto progressive(Options& options, const Shape&) {
  poolhead::ProgressiveOptions read;
  read.num_classes = options.number("num_classes", read.num_classes);
  read.in_channels = options.number("in_channels", read.in_channels);
  return poolhead::progressive<T>(read);
}
template <class T>
auto attention_classifier(Options& options, const Shape&) {
  poolhead::AttentionClassifierOptions read{.dropout = {0.0, 0.0}};
  read.num_classes = options.number("num_classes", read.num_classes);
  read.in_channels = options.number("in_channels", read.in_channels);
  read.hidden = options.number("hidden", read.hidden);
  read.attention_hidden =
      options.number("attention_hidden", std::max<poolhead::Index>(read.in_channels / 8, 1));
  return poolhead::attention_classifier<T>(read);
}

}  // namespace

std::vector<Model> extractors() {
  return {POOLHEAD_FORWARD_MODEL("multi-scale", multi_scale),
          POOLHEAD_FORWARD_MODEL("progressive", progressive),
          POOLHEAD_FORWARD_MODEL("attention-classifier", attention_classifier)};
}
