// PNG and JPEG files, through stb (opt-in). One unit of the program makes stb's functions:
//   #define STB_IMAGE_IMPLEMENTATION
//   #define STB_IMAGE_WRITE_IMPLEMENTATION
// before it includes this.
#pragma once

#include "poolhead/io/atomic_write.hpp"
#include "poolhead/io/picture.hpp"
#include "poolhead/io/regular_file.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <stb_image.h>
#include <stb_image_write.h>

namespace poolhead::inline POOLHEAD_ISA {

/// The most bytes that read_picture takes from a file, and the most pixels that it unpacks: 64 Mi each.
inline constexpr Index max_picture_bytes = Index{1} << 26, max_picture_pixels = Index{1} << 26;

namespace detail {

inline std::vector<std::uint8_t> picture_bytes(const std::filesystem::path& path) {
  require_regular_file(path);
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) fail<FileError>(path.string(), ": cannot be opened: ", std::strerror(errno));
  const auto size = static_cast<Index>(file.tellg());
  if (size > max_picture_bytes) {
    fail<FileError>(path.string(), ": has ", size, " bytes, the limit for an image is ", max_picture_bytes);
  }
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size));
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size))) {
    fail<FileError>(path.string(), ": cannot be read");
  }
  return bytes;
}

}  // namespace detail

/// Reads a PNG or JPEG file (BMP, GIF and PNM, too): grey images as one channel, others as three; transparency
/// is laid over white. Throws FileError where the file is none, cut short, or has more than max_picture_pixels.
inline Picture read_picture(const std::filesystem::path& path) {
  const std::string name = path.string();
  const auto bytes = detail::picture_bytes(path);
  const int size = static_cast<int>(bytes.size());
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(bytes.data(), size, &width, &height, &channels) == 0) {
    detail::fail<FileError>(name, ": is not an image (PNG or JPEG): ", stbi_failure_reason());
  }
  if (Index{width} * height > max_picture_pixels) {
    detail::fail<FileError>(name, ": is ", width, "x", height, " pixels, the limit is ", max_picture_pixels);
  }
  const std::unique_ptr<stbi_uc, void (*)(void*)> decoded(
      stbi_load_from_memory(bytes.data(), size, &width, &height, &channels, 0), stbi_image_free);
  if (!decoded) detail::fail<FileError>(name, ": is an image that cannot be read: ", stbi_failure_reason());

  const bool transparent = channels == 2 || channels == 4;
  Picture picture{height, width, channels < 3 ? 1 : 3, {}};
  picture.pixels.reserve(static_cast<std::size_t>(picture.height * picture.width * picture.channels));
  for (Index i = 0; i < picture.height * picture.width; ++i) {
    const stbi_uc* const pixel = decoded.get() + i * channels;
    const int alpha = transparent ? pixel[channels - 1] : 255;
    for (Index c = 0; c < picture.channels; ++c) {
      picture.pixels.push_back(static_cast<std::uint8_t>((pixel[c] * alpha + 255 * (255 - alpha) + 127) / 255));
    }
  }
  return picture;
}

/// The channels of an image file, 1 (grey) or 3, from its header alone. Throws FileError where it is none.
inline Index picture_channels(const std::filesystem::path& path) {
  const auto bytes = detail::picture_bytes(path);
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &channels) == 0) {
    detail::fail<FileError>(path.string(), ": is not an image (PNG or JPEG): ", stbi_failure_reason());
  }
  return channels < 3 ? 1 : 3;
}

/// The picture as the bytes of a PNG file.
inline std::vector<std::byte> encode_png(const Picture& picture) {
  std::vector<std::byte> bytes;
  const auto append = [](void* to, void* data, int size) {
    const auto* const first = static_cast<const std::byte*>(data);
    static_cast<std::vector<std::byte>*>(to)->insert(static_cast<std::vector<std::byte>*>(to)->end(), first,
                                                     first + size);
  };
  const int width = static_cast<int>(picture.width), channels = static_cast<int>(picture.channels);
  if (stbi_write_png_to_func(append, &bytes, width, static_cast<int>(picture.height), channels,
                             picture.pixels.data(), width * channels) == 0) {
    detail::fail<ValueError>("encode_png: a picture of ", picture.height, "x", picture.width, "x",
                             picture.channels, " cannot be encoded");
  }
  return bytes;
}

/// Writes a PNG file, whole or not at all. Throws FileError as write_atomically does.
inline void write_png(const std::filesystem::path& path, const Picture& picture) {
  const auto bytes = encode_png(picture);
  const std::array<std::span<const std::byte>, 1> piece{bytes};
  write_atomically(path, piece);
}

}  // namespace poolhead::inline POOLHEAD_ISA
