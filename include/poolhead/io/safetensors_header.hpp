// The header of a safetensors file, checked against every rule of the format.
#pragma once

#include "poolhead/io/tensor_file.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// A name out of a file in quotes, with anything that could upset a terminal escaped.
inline std::string in_quotes(std::string_view name) {
  return nlohmann::json(name).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
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
        stop("tensor ", in_quotes(entry.name), " begins at data byte ", entry.begin, ", expected ", expected,
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
        stop("header has ", in_quotes(parsed.get<std::string>()), " twice");
      }
      return true;
    };
    try {
      return Json::parse(text, check);
    } catch (const Json::parse_error& error) {
      stop("header is not JSON in UTF-8 at byte ", 8 + error.byte - 1);
    } catch (const Json::out_of_range&) {
      stop("header has a number too large to read");
    }
  }

  void read_metadata(const Json& value) {
    if (!value.is_object()) stop("__metadata__ is not an object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) stop("__metadata__ entry ", in_quotes(key), " is not a string");
      metadata.emplace(key, text.template get<std::string>());
    }
  }

  Entry read_entry(const std::string& name, const Json& value) const {
    const auto tensor = [&] { return "tensor " + in_quotes(name); };
    if (!value.is_object()) stop(tensor(), " is not an object");
    for (const char* key : {"dtype", "shape", "data_offsets"}) {
      if (!value.contains(key)) stop(tensor(), " has no ", key);
    }
    if (value.size() != 3) stop(tensor(), " has more than dtype, shape and data_offsets");

    const Json& dtype = value["dtype"];
    const auto known = std::ranges::find_if(dtypes, [&](const DTypeInfo& each) {
      return dtype.is_string() && dtype.get_ref<const std::string&>() == each.name;
    });
    if (known == dtypes.end()) {
      stop(tensor(), " has dtype ",
           dtype.is_string() ? in_quotes(dtype.get_ref<const std::string&>()) : "of another kind",
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
}  // namespace poolhead::inline POOLHEAD_ISA
