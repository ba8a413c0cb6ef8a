// MNIST, Fashion-MNIST and every data set stored under the same four names (opt-in: link zlib).
#pragma once

#include "poolhead/io/idx.hpp"
#include "poolhead/io/labelled_images.hpp"

#include <filesystem>
#include <string>
#include <utility>

namespace poolhead::inline POOLHEAD_ISA {

namespace detail {
/// directory/name, or directory/name.gz where only that exists.
inline std::filesystem::path find_maybe_gzip(const std::filesystem::path& directory, const std::string& name) {
  std::error_code error;
  const auto plain = directory / name, gzip = directory / (name + ".gz");
  if (std::filesystem::exists(plain, error)) return plain;
  if (std::filesystem::exists(gzip, error)) return gzip;
  fail<FileError>(directory.string(), ": has neither ", name, " nor ", name, ".gz");
}
}  // namespace detail

/// Reads one split of an MNIST-like directory: {train,t10k}-images-idx3-ubyte and
/// {train,t10k}-labels-idx1-ubyte, each plain or with .gz; the t10k files are the validation split.
///
/// num_classes is 1 to 256. Throws FileError where a file is missing or malformed (see read_idx), where images
/// and labels differ in number, where a label is not below num_classes, or where there are more than 2^20
/// pixels for each label.
inline LabelledImages read_mnist(const std::filesystem::path& directory, Split split, int num_classes = 10) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    detail::fail<FileError>(directory.string(), ": is not a directory");
  }
  const std::string prefix = split == Split::train ? "train" : "t10k";
  const auto image_path = detail::find_maybe_gzip(directory, prefix + "-images-idx3-ubyte");
  const auto label_path = detail::find_maybe_gzip(directory, prefix + "-labels-idx1-ubyte");

  // Limits keep a small gzip file from filling the memory before it is seen to be nonsense.
  constexpr Index most_labels = Index{1} << 26, most_pixels = Index{1} << 20;
  IdxArray labels = read_idx(label_path, 1, most_labels);
  for (std::size_t i = 0; i < labels.values.size(); ++i) {
    if (labels.values[i] >= num_classes) {
      detail::fail<FileError>(label_path.string(), ": label is ", int{labels.values[i]}, " at byte ", 8 + i,
                              ", expected 0 to ", num_classes - 1);
    }
  }
  IdxArray images = read_idx(image_path, 3, std::min(max_idx_values, labels.extents[0] * most_pixels));
  if (images.extents[0] != labels.extents[0]) {
    detail::fail<FileError>(image_path.string(), ": has ", images.extents[0], " images, expected ",
                            labels.extents[0], " as ", label_path.filename().string(), " has labels");
  }
  return {.height = images.extents[1],
          .width = images.extents[2],
          .pixels = std::move(images.values),
          .labels = std::move(labels.values)};
}

}  // namespace poolhead::inline POOLHEAD_ISA
