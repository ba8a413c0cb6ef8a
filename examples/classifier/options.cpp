#include "options.hpp"

#include <poolhead/core/error.hpp>

#include <nlohmann/json.hpp>

#include <thread>

namespace {

/// Calls f(name, member) for every option.
template <class Options, class F>
void each_option(Options& options, const F& f) {
  f("model", options.model);
  f("pool", options.pool);
  f("data", options.data);
  f("image-size", options.image_size);
  f("classes", options.classes);
  f("epochs", options.epochs);
  f("batch-size", options.batch_size);
  f("learning-rate", options.learning_rate);
  f("optimizer", options.optimizer);
  f("momentum", options.momentum);
  f("weight-decay", options.weight_decay);
  f("schedule", options.schedule);
  f("augment", options.augment);
  f("normalise", options.normalise);
  f("order", options.order);
  f("init", options.init);
  f("bias", options.bias);
  f("seed", options.seed);
  f("layout", options.layout);
}

}  // namespace

nlohmann::json to_json(const TrainOptions& options) {
  nlohmann::json json;
  each_option(options, [&](const char* name, const auto& value) { json[name] = value; });
  return json;
}

TrainOptions train_options_from(const nlohmann::json& json, const std::string& source) {
  TrainOptions options;
  each_option(options, [&](const char* name, auto& value) {
    try {
      json.at(name).get_to(value);
    } catch (const nlohmann::json::exception&) {
      throw ph::FileError(source + ": its option " + name + " is missing or of the wrong kind");
    }
  });
  return options;
}

std::string first_difference(const TrainOptions& a, const TrainOptions& b) {
  const auto x = to_json(a), y = to_json(b);
  for (const auto& [name, value] : x.items()) {
    if (value != y.at(name)) return name;
  }
  return "";
}

int thread_count(int asked) {
  return asked > 0 ? asked : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}
