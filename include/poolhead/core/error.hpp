// Errors: one clear sentence each, thrown, or handed to a handler where exceptions are off.
#pragma once

#include "poolhead/core/config.hpp"

#include <cstdio>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace poolhead {

/// Shapes that disagree, or an extent that may not be zero.
class ShapeError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A value out of its range: p <= 0, a label that is no class, a cache that no forward has filled.
class ValueError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A file that cannot be read or written as asked. The message names the path, the offset where one is
/// known, and what was wrong; nothing half-written is left.
class FileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Called with the message in builds without exceptions (-fno-exceptions), before std::abort().
using ErrorHandler = void (*)(const char* message);

/// The handler in force; the default prints to stderr. Assign to replace it.
inline ErrorHandler& error_handler() {
  static ErrorHandler handler = [](const char* message) { std::fprintf(stderr, "poolhead: %s\n", message); };
  return handler;
}

}  // namespace poolhead

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

inline void append(std::string& out, std::string_view text) { out += text; }
inline void append(std::string& out, char c) { out += c; }
template <class Number>
requires std::is_arithmetic_v<Number>
void append(std::string& out, Number value) {
  if constexpr (std::is_floating_point_v<Number>) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%g", static_cast<double>(value));
    out += digits;
  } else {
    out += std::to_string(value);
  }
}

/// Appends extents as "[8, 512, 7, 7]".
inline void append(std::string& out, std::span<const Index> extents) {
  out += '[';
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(extents[i]);
  }
  out += ']';
}

/// Joins text, numbers and anything else with an append() overload into one message.
template <class... Parts>
std::string message(const Parts&... parts) {
  std::string out;
  (append(out, parts), ...);
  return out;
}

/// Throws Error(message(parts...)); without exceptions, calls the handler and aborts.
template <class Error, class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const Parts&... parts) {
#if defined(__cpp_exceptions)
  throw Error(message(parts...));
#else
  error_handler()(message(parts...).c_str());
  std::abort();
#endif
}
}  // namespace detail

}  // namespace poolhead::inline POOLHEAD_ISA
