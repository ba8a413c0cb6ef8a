// A network's parameters and buffers in a safetensors file, under the names that visit_state gives them.
#pragma once

#include "poolhead/core/parameters.hpp"
#include "poolhead/io/safetensors.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>

namespace poolhead::inline POOLHEAD_ISA {

/// Adds every parameter and buffer of value to file under its name, after prefix ("optimizer."), in its own
/// scalar type and with PyTorch's shape. Throws ValueError where the file has the name already.
template <class Value>
void store_state(TensorFile& file, const Value& value, std::string_view prefix = {}) {
  visit_state(value, [&](std::string_view name, auto values) {
    using T = typename decltype(values)::value_type;
    const auto tensor = store_tensor(std::span<const T>(values.data(), values.size()), values.shape());
    if (!file.tensors.emplace(detail::message(prefix, name), tensor).second) {
      detail::fail<ValueError>("save_parameters: two parameters are called ", prefix, name);
    }
  });
}

/// Replaces every parameter and buffer of value by the file's tensor of its name after prefix, converted to the
/// value's scalar type. Tensors whose names do not begin with prefix are another value's.
///
/// All or nothing: throws FileError about source, naming every parameter that is missing, unexpected,
/// mis-shaped or not a floating tensor, before anything is changed.
template <class Value>
void restore_state(const TensorFile& file, Value& value, std::string_view prefix, const std::string& source) {
  std::string problems;
  const auto report = [&](const auto&... parts) {
    problems += detail::message(problems.empty() ? ": " : "; ", parts...);
  };

  std::set<std::string, std::less<>> known;
  visit_state(value, [&](std::string_view name, auto values) {
    const std::string full = detail::message(prefix, name);
    known.insert(full);
    const auto found = file.tensors.find(full);
    if (found == file.tensors.end()) return report("missing ", full);
    const StoredTensor& tensor = found->second;
    if (!std::ranges::equal(tensor.shape, values.shape())) {
      return report(full, " is ", std::span(tensor.shape), ", expected ", values.shape());
    }
    using T = typename decltype(values)::value_type;
    if ((tensor.dtype == DType::i64) != (dtype_of<T>() == DType::i64)) {
      return report(full, " is ", detail::dtype_info(tensor.dtype).name, ", expected ",
                    detail::dtype_info(dtype_of<T>()).name);
    }
  });
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(prefix) && !known.contains(name)) report("unexpected ", detail::in_quotes(name));
  }
  if (!problems.empty()) detail::fail<FileError>(source, problems);

  visit_state(value, [&](std::string_view name, auto values) {
    using T = typename decltype(values)::value_type;
    copy_values(file.tensors.find(detail::message(prefix, name))->second,
                std::span<T>(values.data(), values.size()));
  });
}

/// Writes every parameter and buffer of network to a safetensors file (see store_state). metadata is stored
/// beside them as it is. Throws as write_safetensors does.
template <class Network>
void save_parameters(const std::filesystem::path& path, const Network& network,
                     const std::map<std::string, std::string, std::less<>>& metadata = {}) {
  TensorFile file{{}, metadata};
  store_state(file, network);
  write_safetensors(path, file);
}

/// Replaces every parameter and buffer of network by those of a safetensors file, all or nothing (see
/// restore_state). Throws for malformed files as read_safetensors does.
template <class Network>
void load_parameters(const std::filesystem::path& path, Network& network) {
  restore_state(read_safetensors(path), network, "", path.string());
}

}  // namespace poolhead::inline POOLHEAD_ISA
