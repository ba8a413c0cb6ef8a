// Catch2, version 2 (Debian 12) or 3, under one name.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;  // which version 2 declares itself
#else
#include <catch2/catch.hpp>
// Version 2 has no SKIP; ctest finds the word in the output (SKIP_REGULAR_EXPRESSION in tests/CMakeLists.txt).
#define SKIP(reason)             \
  do {                           \
    WARN("SKIPPED: " << reason); \
    return;                      \
  } while (false)
namespace Catch::Matchers {
inline auto ContainsSubstring(const std::string& text) { return Contains(text); }
}  // namespace Catch::Matchers
#endif
