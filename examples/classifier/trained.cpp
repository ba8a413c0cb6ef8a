#include "trained.hpp"

#include <poolhead/io/picture_file.hpp>

#include <algorithm>

namespace fs = std::filesystem;

TrainedNetwork load(const TrainedCommand& command) {
  std::error_code error;
  const fs::path path = command.weights;
  return load_trained(fs::is_directory(path, error) ? RunFiles{path}.best() : path);
}

DataSet data_for(const TrainedNetwork& trained, const TrainedCommand& command) {
  const TrainOptions& options = trained.card.options;
  const NetworkOptions& network = trained.card.network;
  DataSet data = read_data({.source = command.data.empty() ? options.data : command.data,
                            .image_size = options.image_size,
                            .classes = options.classes,
                            .seed = options.seed});
  const auto& images = data.validation;
  if (images.channels != network.channels || images.height != network.height || images.width != network.width ||
      data.classes() != network.classes) {
    throw ph::FileError(ph::detail::message(data.source, ": has images of ", images.height, "x", images.width,
                                            "x", images.channels, " in ", data.classes(),
                                            " classes; the network takes ", network.height, "x", network.width,
                                            "x", network.channels, " in ", network.classes));
  }
  return data;
}

std::vector<NamedImage> images_for(const TrainedNetwork& trained, const ImagesCommand& command) {
  std::vector<NamedImage> result;
  for (const std::string& path : command.images) {
    const ph::Picture picture = ph::read_picture(path);
    result.push_back({fs::path(path).stem().string(), as_input(picture, trained.card.network), picture});
  }
  if (command.indices.empty()) {
    if (result.empty())
      throw ph::ValueError("no image: give files, or --index with numbers of validation images");
    return result;
  }
  const DataSet data = data_for(trained, command);
  for (const ph::Index index : command.indices) {
    if (index < 0 || index >= data.validation.size()) {
      throw ph::ValueError(ph::detail::message("--index ", index, ": there are validation images 0 to ",
                                               data.validation.size() - 1));
    }
    result.push_back({ph::detail::message("image-", index), one_of(data.validation, index),
                      as_picture(data.validation, index), true});
  }
  return result;
}

void make_directory(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!fs::is_directory(path)) {
    throw ph::FileError(path.string() + ": is no directory and cannot be made one" +
                        (error ? ": " + error.message() : ""));
  }
}
