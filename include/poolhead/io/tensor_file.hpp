// Tensors as files hold them: bytes with a dtype and a shape, by name.
#pragma once

#include "poolhead/core/error.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {

static_assert(std::endian::native == std::endian::little,
              "poolhead: tensor files need a little-endian machine");

/// The element types of stored tensors.
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
constexpr const DTypeInfo& dtype_info(DType dtype) { return dtypes[static_cast<std::size_t>(dtype)]; }

/// The bytes that a tensor needs, or nothing where that number does not fit an Index or an extent is negative.
inline std::optional<std::uint64_t> stored_size(DType dtype, std::span<const Index> shape) {
  constexpr std::uint64_t limit = std::numeric_limits<Index>::max();
  if (std::ranges::any_of(shape, [](Index extent) { return extent < 0; })) return {};
  // An extent of 0 makes any product 0, so the others must not overflow before it is seen.
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  std::uint64_t size = dtype_info(dtype).size;
  for (Index extent : shape) {
    if (static_cast<std::uint64_t>(extent) > limit / size) return {};
    size *= static_cast<std::uint64_t>(extent);
  }
  return size;
}

template <class From, class To>
void convert_values(std::span<const std::byte> from, std::span<To> to) {
  for (std::size_t i = 0; i < to.size(); ++i) {
    From value;
    std::memcpy(&value, from.data() + i * sizeof(From), sizeof(From));
    if constexpr (sizeof(To) == 2 && !std::is_same_v<From, To>) {
      to[i] = static_cast<To>(static_cast<float>(value));
    } else {
      to[i] = static_cast<To>(value);
    }
  }
}

}  // namespace detail

/// The dtype of T: float, double, Eigen::half, Eigen::bfloat16 or std::int64_t.
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, Eigen::half>)
    return DType::f16;
  else if constexpr (std::is_same_v<T, Eigen::bfloat16>)
    return DType::bf16;
  else if constexpr (std::is_same_v<T, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<T, double>)
    return DType::f64;
  else {
    static_assert(std::is_same_v<T, std::int64_t>,
                  "stored tensors hold float, double, half, bfloat16 or int64");
    return DType::i64;
  }
}

/// A tensor of the given shape that stores a copy of values, row by row.
/// Throws ValueError where shape and values differ in size.
template <class T>
StoredTensor store_tensor(std::span<const T> values, std::span<const Index> shape) {
  StoredTensor tensor{dtype_of<T>(), {shape.begin(), shape.end()}, {}};
  const auto bytes = std::as_bytes(values);
  if (detail::stored_size(tensor.dtype, shape) != bytes.size()) {
    detail::fail<ValueError>("store_tensor: ", values.size(), " values cannot have shape ", shape);
  }
  tensor.bytes.assign(bytes.begin(), bytes.end());
  return tensor;
}

/// Copies a tensor's elements into values, converting between the four floating dtypes to the nearest value
/// (too large becomes infinite). Throws ValueError where the sizes differ or only one of the two is I64.
template <class T>
void copy_values(const StoredTensor& tensor, std::span<T> values) {
  if (tensor.bytes.size() != values.size() * detail::dtype_info(tensor.dtype).size) {
    detail::fail<ValueError>("copy_values: tensor has ",
                             tensor.bytes.size() / detail::dtype_info(tensor.dtype).size,
                             " elements, expected ", values.size());
  }
  if ((tensor.dtype == DType::i64) != (dtype_of<T>() == DType::i64)) {
    detail::fail<ValueError>("copy_values: ", detail::dtype_info(tensor.dtype).name, " does not convert to ",
                             detail::dtype_info(dtype_of<T>()).name);
  }
  if constexpr (std::is_same_v<T, std::int64_t>) {
    detail::convert_values<std::int64_t>(tensor.bytes, values);
  } else {
    switch (tensor.dtype) {
      case DType::f16:
        return detail::convert_values<Eigen::half>(tensor.bytes, values);
      case DType::bf16:
        return detail::convert_values<Eigen::bfloat16>(tensor.bytes, values);
      case DType::f32:
        return detail::convert_values<float>(tensor.bytes, values);
      case DType::f64:
        return detail::convert_values<double>(tensor.bytes, values);
      case DType::i64:
        return;
    }
  }
}

}  // namespace poolhead::inline POOLHEAD_ISA
