#include "data_set.hpp"

#include "synthetic.hpp"

#include <poolhead/io/cifar10.hpp>
#include <poolhead/io/image_folder.hpp>
#include <poolhead/io/mnist.hpp>

#include <cinttypes>

namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

/// Fashion-MNIST's labels mean these; of other IDX files nobody knows.
const std::vector<std::string> fashion_names{"T-shirt", "trouser", "pullover", "dress", "coat",
                                             "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};

void hash_bytes(std::uint64_t& hash, const std::vector<std::uint8_t>& bytes) {
  for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3u;  // FNV-1a
}

}  // namespace

std::string DataSet::fingerprint() const {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const auto* split : {&train, &validation}) {
    hash_bytes(hash, split->pixels);
    hash_bytes(hash, split->labels);
  }
  char text[40];
  std::snprintf(text, sizeof text, "%016" PRIx64, hash);
  return text;
}

DataSet read_data(const DataOptions& options) {
  DataSet data;
  const auto both = [&](const auto& read) {
    data.train = read(ph::Split::train);
    data.validation = read(ph::Split::validation);
  };
  if (options.source == "synthetic") {
    data.source = data.format = "synthetic";
    both([&](ph::Split split) {
      const bool training = split == ph::Split::train;
      return synthetic::generate(split, training ? synthetic::train_size : synthetic::validation_size,
                                 options.seed);
    });
    for (const auto& info : synthetic::classes) data.class_names.emplace_back(info.name);
    return data;
  }
  const fs::path directory = options.source;
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    throw ph::FileError(options.source + ": is not a directory (nor the word synthetic)");
  }
  data.source = fs::absolute(directory).lexically_normal().string();
  const std::string labels = "train-labels-idx1-ubyte";
  if (is_there(directory / labels) || is_there(directory / (labels + ".gz"))) {
    data.format = "IDX";
    both([&](ph::Split split) { return ph::read_mnist(directory, split, options.classes); });
    const bool fashion = data.source.find("ashion") != std::string::npos && options.classes == 10;
    for (int i = 0; i < options.classes; ++i) {
      data.class_names.push_back(fashion ? fashion_names[static_cast<std::size_t>(i)] : std::to_string(i));
    }
  } else if (ph::is_cifar10(directory)) {
    data.format = "CIFAR-10";
    both([&](ph::Split split) { return ph::read_cifar10(directory, split); });
    data.class_names = data.train.class_names;
  } else {
    bool folders = false;
    for (const auto& entry : fs::directory_iterator(directory, error))
      folders = folders || entry.is_directory();
    if (!folders) {
      throw ph::FileError(options.source +
                          ": has neither train-images-idx3-ubyte[.gz] and its three companions (IDX), nor "
                          "data_batch_1.bin (CIFAR-10), nor a folder for each class");
    }
    data.format = "images";
    const ph::ImageFolderOptions images{.height = options.image_size, .width = options.image_size};
    both([&](ph::Split split) { return ph::read_image_folder(directory, split, images); });
    data.class_names = data.train.class_names;
  }
  const auto& train = data.train;
  const auto& validation = data.validation;
  if (train.height != validation.height || train.width != validation.width) {
    throw ph::FileError(ph::detail::message(options.source, ": training images are ", train.height, "x",
                                            train.width, ", those of validation ", validation.height, "x",
                                            validation.width));
  }
  return data;
}
