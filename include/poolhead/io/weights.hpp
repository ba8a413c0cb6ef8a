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

/// Writes every parameter and buffer of network to a safetensors file, in its own scalar type and with PyTorch's shape.
/// metadata is stored beside them as it is. Throws as write_safetensors does.
template <class Network>
void save_parameters(const std::filesystem::path& path, const Network& network,
                     const std::map<std::string, std::string, std::less<>>& metadata = {}) {
  TensorFile file{{}, metadata};
  visit_state(network, [&](std::string_view name, auto values) {
    using T = typename decltype(values)::value_type;
    const auto tensor = store_tensor(std::span<const T>(values.data(), values.size()), values.shape());
    if (!file.tensors.emplace(name, tensor).second) {
      detail::fail<ValueError>("save_parameters: two parameters are called ", name);
    }
  });
  write_safetensors(path, file);
}

/// Replaces every parameter and buffer of network by the tensor of its name, converted to the network's scalar type.
///
/// All or nothing: throws FileError, naming every parameter that is missing, unexpected, mis-shaped or not a
/// floating tensor, before anything is changed. Throws for malformed files as read_safetensors does.
template <class Network>
void load_parameters(const std::filesystem::path& path, Network& network) {
  const TensorFile file = read_safetensors(path);
  std::string problems;
  const auto report = [&](const auto&... parts) {
    problems += detail::message(problems.empty() ? ": " : "; ", parts...);
  };

  std::set<std::string, std::less<>> known;
  visit_state(network, [&](std::string_view name, auto values) {
    known.emplace(name);
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end()) return report("missing ", name);
    const StoredTensor& tensor = found->second;
    if (!std::ranges::equal(tensor.shape, values.shape())) {
      return report(name, " is ", std::span(tensor.shape), ", expected ", values.shape());
    }
    using T = typename decltype(values)::value_type;
    if ((tensor.dtype == DType::i64) != (dtype_of<T>() == DType::i64)) {
      return report(name, " is ", detail::dtype_info(tensor.dtype).name, ", expected ",
                    detail::dtype_info(dtype_of<T>()).name);
    }
  });
  for (const auto& [name, tensor] : file.tensors) {
    if (!known.contains(name)) report("unexpected ", detail::in_quotes(name));
  }
  if (!problems.empty()) detail::fail<FileError>(path.string(), problems);

  visit_state(network, [&](std::string_view name, auto values) {
    using T = typename decltype(values)::value_type;
    copy_values(file.tensors.find(name)->second, std::span<T>(values.data(), values.size()));
  });
}

}  // namespace poolhead::inline POOLHEAD_ISA
