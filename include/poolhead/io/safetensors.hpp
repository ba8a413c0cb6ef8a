// safetensors, the format that weights travel in between frameworks (opt-in: needs nlohmann-json).
//
// A file is the header's length (8 bytes, little-endian), the header (a JSON object, one entry per tensor with
// its dtype, shape and byte range, perhaps padded with spaces), then the bytes of all tensors without overlap
// or hole. Format: https://github.com/huggingface/safetensors
#pragma once

#include "poolhead/io/atomic_write.hpp"
#include "poolhead/io/regular_file.hpp"
#include "poolhead/io/safetensors_header.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {

/// The longest header that safetensors allows: 100 MB.
inline constexpr std::uint64_t max_safetensors_header = 100'000'000;

/// Reads a safetensors file, strictly: every byte belongs to the header or to exactly one tensor.
///
/// Throws FileError where path is not a regular file, the header is cut short, longer than
/// max_safetensors_header or not a JSON object in UTF-8, a name appears twice, a dtype is not one of DType's, a
/// shape and its bytes disagree or are too large to count, or tensors overlap, leave a hole, or pass the end of
/// the file.
inline TensorFile read_safetensors(const std::filesystem::path& path) {
  const std::string name = path.string();
  detail::require_regular_file(path);
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) detail::fail<FileError>(name, ": cannot be opened: ", std::strerror(errno));
  const auto file_size = static_cast<std::uint64_t>(file.tellg());
  file.seekg(0);
  const auto read = [&](void* out, std::uint64_t size) {
    if (!file.read(static_cast<char*>(out), static_cast<std::streamsize>(size))) {
      detail::fail<FileError>(name, ": cannot be read");
    }
  };

  std::uint64_t header_size = 0;
  if (file_size < sizeof header_size) {
    detail::fail<FileError>(name, ": has ", file_size, " bytes, too few for a safetensors file");
  }
  read(&header_size, sizeof header_size);
  if (header_size > max_safetensors_header) {
    detail::fail<FileError>(name, ": header claims ", header_size, " bytes, the limit is ",
                            max_safetensors_header);
  }
  if (header_size > file_size - sizeof header_size) {
    detail::fail<FileError>(name, ": header claims ", header_size, " bytes, but only ",
                            file_size - sizeof header_size, " follow");
  }
  std::string text(header_size, '\0');
  read(text.data(), header_size);
  detail::SafetensorsHeader header(name, text, file_size - sizeof header_size - header_size);

  TensorFile result;
  result.metadata = std::move(header.metadata);
  for (auto& entry : header.entries) {
    StoredTensor tensor{entry.dtype, std::move(entry.shape), std::vector<std::byte>(entry.end - entry.begin)};
    read(tensor.bytes.data(), tensor.bytes.size());
    result.tensors.emplace(std::move(entry.name), std::move(tensor));
  }
  return result;
}

/// Writes a safetensors file, replacing path as a whole or not at all (see write_atomically). Wider dtypes come
/// first and the header is padded with spaces to a multiple of 8, so every tensor is aligned to its element.
///
/// Throws ValueError, before anything is written, where a tensor's bytes do not fit its dtype and shape, a
/// tensor is called __metadata__, or a name or text is not UTF-8; FileError where the file cannot be written.
inline void write_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  const std::string name = path.string();
  nlohmann::json header = nlohmann::json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;

  std::vector<const std::pair<const std::string, StoredTensor>*> order;
  for (const auto& named : file.tensors) order.push_back(&named);
  std::ranges::stable_sort(order, std::greater{},
                           [](auto named) { return detail::dtype_info(named->second.dtype).size; });

  std::vector<std::span<const std::byte>> pieces(2);
  std::uint64_t offset = 0;
  for (const auto* named : order) {
    const auto& [tensor_name, tensor] = *named;
    if (tensor_name == "__metadata__") {
      detail::fail<ValueError>("write_safetensors: ", name, ": a tensor cannot be called __metadata__");
    }
    if (detail::stored_size(tensor.dtype, tensor.shape) != tensor.bytes.size()) {
      detail::fail<ValueError>("write_safetensors: ", name, ": tensor ", detail::in_quotes(tensor_name),
                               " has ", tensor.bytes.size(), " bytes, which is not ",
                               detail::dtype_info(tensor.dtype).name, " of shape ", std::span(tensor.shape));
    }
    const std::uint64_t end = offset + tensor.bytes.size();
    header[tensor_name] = {{"dtype", detail::dtype_info(tensor.dtype).name},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    pieces.emplace_back(tensor.bytes);
    offset = end;
  }

  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    detail::fail<ValueError>("write_safetensors: ", name, ": a name or text is not UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t header_size = text.size();
  if (header_size > max_safetensors_header) {
    detail::fail<ValueError>("write_safetensors: ", name, ": header takes ", header_size,
                             " bytes, the limit is ", max_safetensors_header);
  }
  pieces[0] = std::as_bytes(std::span(&header_size, 1));
  pieces[1] = std::as_bytes(std::span(text));
  write_atomically(path, pieces);
}

}  // namespace poolhead::inline POOLHEAD_ISA
