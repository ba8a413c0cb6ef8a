// CIFAR-10 in its binary version (opt-in).
#pragma once

#include "poolhead/core/error.hpp"
#include "poolhead/io/labelled_images.hpp"
#include "poolhead/io/regular_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Appends a batch file to images: records of one label and 3 planes of 32x32 bytes.
inline void append_cifar10_batch(const std::filesystem::path& path, LabelledImages& images) {
  constexpr std::size_t plane = 32 * 32, record = 1 + 3 * plane;
  const std::string name = path.string();
  require_regular_file(path);
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) fail<FileError>(name, ": cannot be opened: ", std::strerror(errno));
  const auto size = static_cast<std::size_t>(file.tellg());
  if (size == 0 || size % record != 0) {
    fail<FileError>(name, ": has ", size, " bytes, expected a multiple of ", record,
                    " (1 label, 32x32x3 pixels)");
  }
  file.seekg(0);
  std::vector<std::uint8_t> bytes(record);
  for (std::size_t offset = 0; offset < size; offset += record) {
    if (!file.read(reinterpret_cast<char*>(bytes.data()), record)) fail<FileError>(name, ": cannot be read");
    if (bytes[0] > 9) {
      fail<FileError>(name, ": label is ", int{bytes[0]}, " at byte ", offset, ", expected 0 to 9");
    }
    images.labels.push_back(bytes[0]);
    for (std::size_t i = 0; i < plane; ++i) {
      for (std::size_t c = 0; c < 3; ++c) images.pixels.push_back(bytes[1 + c * plane + i]);
    }
  }
}

}  // namespace detail

/// Whether directory looks like CIFAR-10's binary version.
inline bool is_cifar10(const std::filesystem::path& directory) {
  std::error_code error;
  return std::filesystem::exists(directory / "data_batch_1.bin", error);
}

/// Reads one split of a CIFAR-10 directory: data_batch_1.bin, data_batch_2.bin, ... as far as they go, or
/// test_batch.bin. Throws FileError where a file is missing, cut short or empty, or a label is not 0 to 9.
/// Krizhevsky, 2009; https://www.cs.toronto.edu/~kriz/cifar.html
inline LabelledImages read_cifar10(const std::filesystem::path& directory, Split split) {
  LabelledImages images{
      32, 32, {},
      {}, 3,  {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}};
  if (split == Split::validation) {
    detail::append_cifar10_batch(directory / "test_batch.bin", images);
    return images;
  }
  std::error_code error;
  for (int batch = 1;
       batch == 1 || std::filesystem::exists(directory / detail::message("data_batch_", batch, ".bin"), error);
       ++batch) {
    detail::append_cifar10_batch(directory / detail::message("data_batch_", batch, ".bin"), images);
  }
  return images;
}

}  // namespace poolhead::inline POOLHEAD_ISA
