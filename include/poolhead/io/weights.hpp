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

namespace detail {

/// One tensor of a network, whatever its scalar: what the walk over a network's type leaves for plain code.
struct NetworkTensor {
  std::string name;
  DType dtype;
  std::vector<Index> shape;
  void* data;
};

/// A walk's f that lists what it is given. Of a const network nothing is written.
struct ListTensors {
  std::vector<NetworkTensor>& list;
  std::string_view prefix = {};

  template <class T>
  void operator()(std::string_view name, const ParameterView<T>& values) const {
    using Scalar = std::remove_const_t<T>;
    list.push_back({message(prefix, name),
                    dtype_of<Scalar>(),
                    {values.shape().begin(), values.shape().end()},
                    const_cast<Scalar*>(values.data())});
  }
};

/// All that a checkpoint of the network holds, in the order of visit_state, names after prefix.
template <class Network>
std::vector<NetworkTensor> state_tensors(Network& network, std::string_view prefix = {}) {
  std::vector<NetworkTensor> list;
  visit_state(network, ListTensors{list, prefix});
  return list;
}

inline StoredTensor store_network_tensor(const NetworkTensor& from) {
  StoredTensor tensor{from.dtype, from.shape, {}};
  const auto* const bytes = static_cast<const std::byte*>(from.data);
  tensor.bytes.assign(bytes, bytes + *stored_size(from.dtype, from.shape));
  return tensor;
}

/// The file's tensors, of those whose names begin with prefix, replace the network's. All or nothing; see
/// load_parameters. path is for messages.
inline void assign_network_tensors(const std::string& path, const TensorFile& file,
                                   std::span<const NetworkTensor> network, std::string_view prefix = {}) {
  std::string problems;
  const auto report = [&](const auto&... parts) {
    problems += message(problems.empty() ? ": " : "; ", parts...);
  };
  std::set<std::string_view> known;
  for (const NetworkTensor& own : network) {
    known.insert(own.name);
    const auto found = file.tensors.find(own.name);
    if (found == file.tensors.end())
      report("missing ", own.name);
    else if (found->second.shape != own.shape)
      report(own.name, " is ", std::span(found->second.shape), ", expected ", std::span(own.shape));
    else if ((found->second.dtype == DType::i64) != (own.dtype == DType::i64))
      report(own.name, " is ", dtype_info(found->second.dtype).name, ", expected ", dtype_info(own.dtype).name);
  }
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(prefix) && !known.contains(name)) report("unexpected ", in_quotes(name));
  }
  if (!problems.empty()) fail<FileError>(path, problems);

  for (const NetworkTensor& own : network) {
    const StoredTensor& tensor = file.tensors.find(own.name)->second;
    const auto copy = [&]<class T>(T* data) {
      copy_values(tensor, std::span<T>(data, *stored_size(own.dtype, own.shape) / sizeof(T)));
    };
    switch (own.dtype) {
      case DType::f16:
        copy(static_cast<Eigen::half*>(own.data));
        break;
      case DType::bf16:
        copy(static_cast<Eigen::bfloat16*>(own.data));
        break;
      case DType::f32:
        copy(static_cast<float*>(own.data));
        break;
      case DType::f64:
        copy(static_cast<double*>(own.data));
        break;
      case DType::i64:
        copy(static_cast<std::int64_t*>(own.data));
        break;
    }
  }
}

}  // namespace detail

/// Adds every parameter and buffer of value to file under its name, after prefix ("optimizer."), in its own
/// scalar type and with PyTorch's shape. Throws ValueError where the file has the name already.
template <class Value>
void store_state(TensorFile& file, const Value& value, std::string_view prefix = {}) {
  for (const detail::NetworkTensor& tensor : detail::state_tensors(value, prefix)) {
    if (!file.tensors.emplace(tensor.name, detail::store_network_tensor(tensor)).second) {
      detail::fail<ValueError>("save_parameters: two parameters are called ", tensor.name);
    }
  }
}

/// Replaces every parameter and buffer of value by the file's tensor of its name after prefix; tensors whose
/// names do not begin with prefix are another value's. Otherwise as load_parameters; source is for messages.
template <class Value>
void restore_state(const TensorFile& file, Value& value, std::string_view prefix, const std::string& source) {
  detail::assign_network_tensors(source, file, detail::state_tensors(value, prefix), prefix);
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

/// Replaces every parameter and buffer of network by the tensor of its name, converted to the network's scalar
/// type.
///
/// All or nothing: throws FileError, naming every parameter that is missing, unexpected, mis-shaped or not a
/// floating tensor, before anything is changed. Throws for malformed files as read_safetensors does.
template <class Network>
void load_parameters(const std::filesystem::path& path, Network& network) {
  detail::assign_network_tensors(path.string(), read_safetensors(path), detail::state_tensors(network));
}

}  // namespace poolhead::inline POOLHEAD_ISA
