// The files of a run: weights with what they are for, checkpoints, metrics.
#include "progress.hpp"
#include "trainer.hpp"

#include <poolhead/io/weights.hpp>
#include <poolhead/version.hpp>

#include <nlohmann/json.hpp>

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// The key of our part of a file's metadata.
constexpr const char* key = "poolhead_classifier";

/// Bit for bit, and NaN as well, which JSON does not have.
std::string exact(double value) { return format("%a", value); }
double exact(const json& text) { return std::strtod(text.get_ref<const std::string&>().c_str(), nullptr); }

json card_json(const ModelCard& card) {
  const NetworkOptions& network = card.network;
  return {{"options", to_json(card.options)},
          {"epoch", card.epoch},
          {"input", {network.channels, network.height, network.width}},
          {"mean", card.normalisation.mean},
          {"scale", card.normalisation.scale},
          {"classes", card.class_names}};
}

ModelCard card_from(const json& value, const std::string& source) {
  ModelCard card;
  card.options = train_options_from(value.at("options"), source);
  card.epoch = value.at("epoch");
  card.class_names = value.at("classes").get<std::vector<std::string>>();
  card.normalisation = {value.at("mean"), value.at("scale")};
  const auto& input = value.at("input");
  card.network = {.model = card.options.model,
                  .pool = card.options.pool,
                  .channels = input.at(0),
                  .height = input.at(1),
                  .width = input.at(2),
                  .classes = static_cast<ph::Index>(card.class_names.size()),
                  .init = card.options.init,
                  .bias = card.options.bias,
                  .seed = card.options.seed};
  const bool sizes = card.network.channels >= 1 && card.network.channels <= 3 && card.network.height >= 1 &&
                     card.network.width >= 1 && card.network.height <= 4096 && card.network.width <= 4096;
  if (!sizes || card.class_names.empty() ||
      card.normalisation.mean.size() != static_cast<std::size_t>(card.network.channels) ||
      card.normalisation.scale.size() != card.normalisation.mean.size()) {
    throw ph::FileError(source + ": its description of the network contradicts itself");
  }
  return card;
}

/// Our part of the metadata; throws FileError where it is not there or something in it is of the wrong kind.
template <class F>
auto read_description(const ph::TensorFile& file, const std::string& source, const F& read) {
  const auto text = file.metadata.find(key);
  if (text == file.metadata.end()) {
    throw ph::FileError(source + ": was not written by poolhead_classifier train");
  }
  try {
    return read(json::parse(text->second));
  } catch (const json::exception&) {
    throw ph::FileError(source + ": its description of the network is broken");
  }
}

/// A safetensors file is what other programs understand; our description goes along as metadata.
void save_network(const fs::path& path, const Network& network, const ModelCard& card) {
  ph::save_parameters(path, network, {{"format", "pt"}, {key, card_json(card).dump()}});
}

json history_json(const std::vector<Epoch>& history) {
  json list = json::array();
  for (const Epoch& e : history) {
    list.push_back({exact(e.learning_rate), exact(e.train_loss), exact(e.train_accuracy),
                    exact(e.validation_loss), exact(e.validation_accuracy), exact(e.seconds)});
  }
  return list;
}

std::vector<Epoch> history_from(const json& list) {
  std::vector<Epoch> history;
  for (const json& e : list) {
    history.push_back({static_cast<int>(history.size()) + 1, exact(e.at(0)), exact(e.at(1)), exact(e.at(2)),
                       exact(e.at(3)), exact(e.at(4)), exact(e.at(5))});
  }
  return history;
}

}  // namespace

TrainedNetwork load_trained(const fs::path& path) {
  const ph::TensorFile file = ph::read_safetensors(path);
  ModelCard card =
      read_description(file, path.string(), [&](const json& value) { return card_from(value, path.string()); });
  Network network = make_network(card.network);
  ph::restore_state(file, network, "", path.string());
  return {std::move(card), std::move(network)};
}

void write_metrics(const fs::path& path, const std::vector<Epoch>& history) {
  std::string text =
      "epoch,learning_rate,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds\n";
  for (const Epoch& e : history) {
    text += format("%d,%.9g,%.9g,%.9g,%.9g,%.9g,%.3f\n", e.number, e.learning_rate, e.train_loss,
                   e.train_accuracy, e.validation_loss, e.validation_accuracy, e.seconds);
  }
  const std::array<std::span<const std::byte>, 1> piece{std::as_bytes(std::span(text))};
  ph::write_atomically(path, piece);
}

void Trainer::save_checkpoint(const RunFiles& files) const {
  ph::TensorFile file;
  ph::store_state(file, network_, "network.");
  std::visit([&](const auto& optimizer) { ph::store_state(file, optimizer, "optimizer."); }, optimizer_);
  json value = card_json(card_);
  value["version"] = {POOLHEAD_VERSION_MAJOR, POOLHEAD_VERSION_MINOR, POOLHEAD_VERSION_PATCH};
  value["data"] = data_.fingerprint();
  value["step"] = step_;
  value["loss"] = exact(sum_.loss);
  value["correct"] = sum_.correct;
  value["seconds"] = exact(seconds_);
  value["optimizer_steps"] = std::visit([](const auto& optimizer) { return optimizer.steps; }, optimizer_);
  value["history"] = history_json(history_);
  file.metadata[key] = value.dump();
  ph::write_safetensors(files.checkpoint(), file);
}

void Trainer::save_epoch(const RunFiles& files) const {
  // The checkpoint last: killed before it, the epoch is trained again, to the same bits.
  if (best_epoch() == static_cast<int>(history_.size())) save_network(files.best(), network_, card_);
  save_network(files.last(), network_, card_);
  write_metrics(files.metrics(), history_);
  save_checkpoint(files);
}

void Trainer::resume(const RunFiles& files) {
  const std::string source = files.checkpoint().string();
  const ph::TensorFile file = ph::read_safetensors(files.checkpoint());
  read_description(file, source, [&](const json& value) {
    const ModelCard card = card_from(value, source);
    TrainOptions stored = card.options;
    // More epochs may be asked for where earlier ones do not depend on how many there are.
    if (options_.schedule == "constant" && options_.epochs > stored.epochs) stored.epochs = options_.epochs;
    stored.data = options_.data;  // what counts is what is in it
    if (const std::string different = first_difference(stored, options_); !different.empty()) {
      throw ph::FileError(source + ": was made with --" + different + " " +
                          to_json(card.options).at(different).dump() + ", not " +
                          to_json(options_).at(different).dump());
    }
    if (value.at("data") != data_.fingerprint()) {
      throw ph::FileError(source + ": was made with other data than " + data_.source + " holds now");
    }
    auto history = history_from(value.at("history"));
    const std::int64_t step = value.at("step"), optimizer_steps = value.at("optimizer_steps");
    if (step < 0 || step >= steps_per_epoch() || card.epoch != static_cast<int>(history.size())) {
      throw ph::FileError(source + ": its description of the network contradicts itself");
    }
    ph::restore_state(file, network_, "network.", source);
    std::visit(
        [&](auto& optimizer) {
          ph::restore_state(file, optimizer, "optimizer.", source);
          optimizer.steps = optimizer_steps;
        },
        optimizer_);
    card_.epoch = card.epoch;
    step_ = step;
    sum_ = {exact(value.at("loss")), value.at("correct")};
    seconds_ = exact(value.at("seconds"));
    history_ = std::move(history);
    return 0;
  });
  // Files that a kill kept from being written, or written again.
  if (!history_.empty()) write_metrics(files.metrics(), history_);
}
