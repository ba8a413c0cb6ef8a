// explain and layers: pictures of where a network looks and of what its layers hold.
#include "progress.hpp"
#include "trained.hpp"

#include <poolhead/explain/render.hpp>
#include <poolhead/io/picture_file.hpp>

#include <algorithm>
#include <cstdio>

namespace {

namespace fs = std::filesystem;
constexpr ph::Index least_width = 224;

std::string default_layer(const TrainedNetwork& trained) {
  return std::string(network_info(trained.card.options.model).features);
}

/// A class by name or number.
std::optional<ph::Index> class_of(const std::string& text, const std::vector<std::string>& names) {
  if (text.empty()) return {};
  const auto found = std::ranges::find(names, text);
  if (found != names.end()) return found - names.begin();
  const bool number = text.find_first_not_of("0123456789") == text.npos && text.size() < 4;
  if (number && std::stol(text) < static_cast<long>(names.size())) return std::stol(text);
  std::string list;
  for (const auto& name : names) list += (list.empty() ? "" : ", ") + name;
  throw ph::ValueError("there is no class \"" + text + "\", expected a number below " +
                       std::to_string(names.size()) + " or one of " + list);
}

/// A layer's name as a part of a file's.
std::string file_part(std::string layer) {
  std::ranges::replace(layer, '/', '_');
  return layer;
}

}  // namespace

int explain(const ExplainCommand& command) {
  const TrainedNetwork trained = load(command);
  const auto& names = trained.card.class_names;
  const auto target = class_of(command.target, names);
  const std::string layer = command.layer.empty() ? default_layer(trained) : command.layer;
  const bool all = command.method == "all";
  std::string text;
  std::vector<std::pair<fs::path, ph::Picture>> files;
  for (const NamedImage& one : images_for(trained, command)) {
    Explainer explainer(trained, one.image, target);
    const auto shown = static_cast<std::size_t>(explainer.target()),
               answer = static_cast<std::size_t>(explainer.answer());
    text += format("%s: answer %s (%.2f %%)%s%s, map of %s at %s\n", one.name.c_str(), names[answer].c_str(),
                   100.0 * explainer.probabilities()[answer], one.labelled ? ", truth " : "",
                   one.labelled ? names[one.image.labels[0]].c_str() : "", names[shown].c_str(), layer.c_str());
    const ph::Picture picture = magnified(one.picture, least_width);
    for (const std::string& method : all ? explain_methods() : std::vector{command.method}) {
      ph::HeatMaps map;
      try {
        map = explainer.map(method, layer);
      } catch (const ph::ValueError&) {
        // Of all methods, those that apply.
        if (!all || method != "cam") throw;
        continue;
      }
      files.emplace_back(fs::path(command.out) / (one.name + "-" + method + ".png"), ph::overlay(picture, map));
    }
  }
  // Nothing is written or said before everything has worked.
  make_directory(command.out);
  for (const auto& file : files) {
    ph::write_png(file.first, file.second);
    text += "  " + file.first.string() + "\n";
  }
  std::printf("%s", text.c_str());
  return done;
}

int layers(const LayersCommand& command) {
  const TrainedNetwork trained = load(command);
  const std::string layer = command.layer.empty() ? default_layer(trained) : command.layer;
  std::string text;
  std::vector<std::pair<fs::path, ph::Picture>> files;
  for (const NamedImage& one : images_for(trained, command)) {
    const Explainer explainer(trained, one.image);
    const auto answer = static_cast<std::size_t>(explainer.answer());
    text += format("%s: answer %s%s%s\n", one.name.c_str(), trained.card.class_names[answer].c_str(),
                   one.labelled ? ", truth " : "",
                   one.labelled ? trained.card.class_names[one.image.labels[0]].c_str() : "");
    for (const std::string& name : layer == "all" ? explainer.layers() : std::vector{layer}) {
      const auto view = explainer.activations(name).view();
      const ph::Index scale = std::max<ph::Index>(1, 56 / std::max(view.height(), view.width()));
      files.emplace_back(fs::path(command.out) / (one.name + "-" + file_part(name) + ".png"),
                         ph::activation_grid(view, 0, 0, scale, 2));
      text += format("  %s: %td maps of %tdx%td\n", files.back().first.c_str(), view.channels(), view.height(),
                     view.width());
    }
  }
  make_directory(command.out);
  for (const auto& file : files) ph::write_png(file.first, file.second);
  std::printf("%s", text.c_str());
  return done;
}
