// The four scalar types, and the type that each one accumulates in.
#pragma once

#include "poolhead/core/config.hpp"

#include <concepts>
#include <type_traits>

namespace poolhead::inline POOLHEAD_ISA {

template <class T>
concept Scalar = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, Eigen::half> ||
    std::same_as<T, Eigen::bfloat16>;

namespace detail {
// Without a constraint, so that a pool of another T can say what is wrong with it.
template <class T>
using AccumulatorOf = std::conditional_t<std::is_same_v<T, double>, double, float>;
}  // namespace detail

/// The type that arithmetic on T runs in: float for float and the 16-bit types, double for double.
template <Scalar T>
using Accumulator = detail::AccumulatorOf<T>;

}  // namespace poolhead::inline POOLHEAD_ISA
