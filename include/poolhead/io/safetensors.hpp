// safetensors, the format that weights travel in between frameworks (opt-in: needs nlohmann-json).
//
// A file is the header's length (8 bytes, little-endian), the header (a JSON object, one entry per tensor with its
// dtype, shape and byte range, perhaps padded with spaces), then the bytes of all tensors without overlap or hole.
// Format: https://github.com/huggingface/safetensors
#pragma once

#include "poolhead/core/error.hpp"
#include "poolhead/io/atomic_write.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace poolhead::inline POOLHEAD_ISA {

static_assert(std::endian::native == std::endian::little, "poolhead: safetensors.hpp is for little-endian machines");

/// The element types that safetensors files may hold here.
enum class DType { f16, bf16, f32, f64, i64 };

/// One tensor as it is stored: elements row by row in little-endian bytes. The shape [] is a scalar.
struct StoredTensor {
  DType dtype = DType::f32;
  std::vector<Index> shape;
  std::vector<std::byte> bytes;
};

/// What a safetensors file holds: tensors by name, and free text by key (its "__metadata__").
struct TensorFile {
  std::map<std::string, StoredTensor, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> metadata;
};

/// The longest header that safetensors allows: 100 MB.
inline constexpr std::uint64_t max_safetensors_header = 100'000'000;

namespace detail {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::uint64_t size;
};
inline constexpr std::array<DTypeInfo, 5> dtypes{{{DType::f16, "F16", 2},
                                                  {DType::bf16, "BF16", 2},
                                                  {DType::f32, "F32", 4},
                                                  {DType::f64, "F64", 8},
                                                  {DType::i64, "I64", 8}}};
constexpr const DTypeInfo& info(DType dtype) { return dtypes[static_cast<std::size_t>(dtype)]; }

/// A name out of a file in quotes, with anything that could upset a terminal escaped.
inline std::string quoted(std::string_view name) {
  return nlohmann::json(name).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

/// The bytes that a tensor needs, or nothing where that number does not fit an Index.
inline std::optional<std::uint64_t> stored_size(DType dtype, std::span<const Index> shape) {
  constexpr std::uint64_t limit = std::numeric_limits<Index>::max();
  // An extent of 0 makes any product 0, so the others must not overflow before it is seen.
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  std::uint64_t size = info(dtype).size;
  for (Index extent : shape) {
    if (static_cast<std::uint64_t>(extent) > limit / size) return {};
    size *= static_cast<std::uint64_t>(extent);
  }
  return size;
}

/// A header being read: every rule of the format has its sentence here.
class SafetensorsHeader {
 public:
  /// A tensor and where its bytes are, counted from the end of the header.
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<Index> shape;
    std::uint64_t begin, end;
  };

  SafetensorsHeader(std::string file, std::string_view text, std::uint64_t data_size) : file_(std::move(file)) {
    const nlohmann::json header = parse(text);
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        read_metadata(value);
      } else {
        entries.push_back(read_entry(name, value));
      }
    }
    std::ranges::sort(entries, {}, [](const Entry& entry) { return std::pair(entry.begin, entry.end); });
    std::uint64_t expected = 0;
    for (const Entry& entry : entries) {
      if (entry.begin != expected) {
        stop("tensor ", quoted(entry.name), " begins at data byte ", entry.begin, ", expected ", expected,
             entry.begin < expected ? " (tensors overlap)" : " (a hole)");
      }
      expected = entry.end;
    }
    if (expected != data_size) {
      stop("holds ", data_size, " bytes of data, expected ", expected, " from its header");
    }
  }

  std::vector<Entry> entries;  ///< in the order of their bytes
  std::map<std::string, std::string, std::less<>> metadata;

 private:
  using Json = nlohmann::json;

  template <class... Parts>
  [[noreturn]] void stop(const Parts&... parts) const {
    fail<FileError>(file_, ": ", parts...);
  }

  /// Strict JSON (the library checks UTF-8) without repeated keys, and no deeper than the format.
  Json parse(std::string_view text) const {
    if (text.empty() || text.front() != '{') stop("header does not begin with '{' at byte 8");
    // The library takes a zero byte for the end.
    if (const auto zero = text.find('\0'); zero != text.npos) stop("header has a zero byte at byte ", 8 + zero);
    std::vector<std::set<std::string>> keys;
    const auto check = [&](int depth, Json::parse_event_t event, const Json& parsed) {
      constexpr int deepest = 3;  // a number, in a list, in an entry, in the header
      if (depth > deepest) stop("header is nested too deeply");
      if (event == Json::parse_event_t::object_start) keys.emplace_back();
      if (event == Json::parse_event_t::object_end) keys.pop_back();
      if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
        stop("header has ", quoted(parsed.get<std::string>()), " twice");
      }
      return true;
    };
    try {
      return Json::parse(text, check);
    } catch (const Json::parse_error& error) {
      stop("header is not JSON in UTF-8 at byte ", 8 + error.byte - 1);
    } catch (const Json::exception& error) {
      stop("header is not JSON that can be read: ", error.what());
    }
  }

  void read_metadata(const Json& value) {
    if (!value.is_object()) stop("__metadata__ is not an object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) stop("__metadata__ entry ", quoted(key), " is not a string");
      metadata.emplace(key, text.template get<std::string>());
    }
  }

  Entry read_entry(const std::string& name, const Json& value) const {
    const auto tensor = [&] { return "tensor " + quoted(name); };
    if (!value.is_object()) stop(tensor(), " is not an object");
    for (const char* key : {"dtype", "shape", "data_offsets"}) {
      if (!value.contains(key)) stop(tensor(), " has no ", key);
    }
    if (value.size() != 3) stop(tensor(), " has more than dtype, shape and data_offsets");

    const Json& dtype = value["dtype"];
    const auto known = std::ranges::find_if(
        dtypes, [&](const DTypeInfo& each) { return dtype.is_string() && dtype.get_ref<const std::string&>() == each.name; });
    if (known == dtypes.end()) {
      stop(tensor(), " has dtype ", dtype.is_string() ? quoted(dtype.get_ref<const std::string&>()) : "of another kind",
           ", expected F16, BF16, F32, F64 or I64");
    }
    const std::vector<Index> shape = read_numbers(value["shape"], tensor() + ": shape");
    const std::vector<Index> offsets = read_numbers(value["data_offsets"], tensor() + ": data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
      stop(tensor(), " has data_offsets ", std::span(offsets), ", expected [begin, end] with begin <= end");
    }
    const auto begin = static_cast<std::uint64_t>(offsets[0]), end = static_cast<std::uint64_t>(offsets[1]);
    const auto size = stored_size(known->dtype, shape);
    if (!size) stop(tensor(), " has shape ", std::span(shape), ", which is too large");
    if (end - begin != *size) {
      stop(tensor(), " has ", end - begin, " bytes, expected ", *size, " for ", known->name, " of shape ",
           std::span(shape));
    }
    return {name, known->dtype, shape, begin, end};
  }

  std::vector<Index> read_numbers(const Json& list, const std::string& what) const {
    std::vector<Index> numbers;
    if (!list.is_array()) stop(what, " is not a list");
    for (const Json& number : list) {
      constexpr std::uint64_t limit = std::numeric_limits<Index>::max();
      if (!number.is_number_unsigned() || number.get<std::uint64_t>() > limit) {
        stop(what, " has an element that is not a whole number from 0 to ", limit);
      }
      numbers.push_back(number.get<Index>());
    }
    return numbers;
  }

  std::string file_;
};

}  // namespace detail

/// Reads a safetensors file, strictly: every byte belongs to the header or to exactly one tensor.
///
/// Throws FileError where path is not a regular file, the header is cut short, longer than max_safetensors_header
/// or not a JSON object in UTF-8, a name appears twice, a dtype is not one of DType's, a shape and its bytes
/// disagree or are too large to count, or tensors overlap, leave a hole, or pass the end of the file.
inline TensorFile read_safetensors(const std::filesystem::path& path) {
  const std::string name = path.string();
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) detail::fail<FileError>(name, ": no such file");
  if (!std::filesystem::is_regular_file(status)) detail::fail<FileError>(name, ": is not a regular file");
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) detail::fail<FileError>(name, ": cannot be opened");
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
    detail::fail<FileError>(name, ": header claims ", header_size, " bytes, the limit is ", max_safetensors_header);
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

/// Writes a safetensors file, replacing path as a whole or not at all (see write_atomically). Wider dtypes come first
/// and the header is padded with spaces, so that every tensor is aligned to its element within the file.
///
/// Throws ValueError, before anything is written, where a tensor's bytes do not have the size that its dtype and
/// shape ask for, or a name or text is not UTF-8; FileError where the file cannot be written.
inline void write_safetensors(const std::filesystem::path& path, const TensorFile& file) {
}

}  // namespace poolhead::inline POOLHEAD_ISA
