// Errors: their types, their sentences, and the handler of builds without exceptions.
#include <poolhead/core/shape.hpp>

#include "support/catch.hpp"

namespace ph = poolhead;

static_assert(std::is_base_of_v<std::invalid_argument, ph::ShapeError>);
static_assert(std::is_base_of_v<std::invalid_argument, ph::ValueError>);
static_assert(std::is_base_of_v<std::runtime_error, ph::FileError>);
static_assert(!std::is_base_of_v<std::invalid_argument, ph::FileError>);
static_assert(!std::is_base_of_v<ph::ShapeError, ph::ValueError>);

TEST_CASE("errors carry their sentence and are caught as their standard bases", "[error]") {
  try {
    throw ph::ShapeError("Pool::call: y is [1, 2], expected [1, 3]");
  } catch (const std::invalid_argument& error) {
    CHECK(error.what() == std::string("Pool::call: y is [1, 2], expected [1, 3]"));
  }
  CHECK_THROWS_AS(throw ph::ValueError("p is 0"), std::invalid_argument);
  CHECK_THROWS_AS(throw ph::FileError("a.idx: no such file"), std::runtime_error);
}

TEST_CASE("fail joins text, numbers and extents into one sentence", "[error]") {
  const std::array<ph::Index, 2> got{2, 7};
  try {
    ph::detail::fail<ph::ShapeError>("Pool::call: dy is ", std::span<const ph::Index>(got), ", p is ", 0.5f,
                                     ", rank ", 3, '.');
  } catch (const ph::ShapeError& error) {
    CHECK(error.what() == std::string("Pool::call: dy is [2, 7], p is 0.5, rank 3."));
  }
  CHECK_THROWS_AS(ph::detail::fail<ph::ValueError>("x"), ph::ValueError);
  CHECK_THROWS_AS(ph::detail::fail<ph::FileError>("x"), ph::FileError);
}

TEST_CASE("error_handler is a handler that can be replaced", "[error]") {
  const ph::ErrorHandler before = ph::error_handler();
  REQUIRE(before != nullptr);
  const ph::ErrorHandler mine = [](const char*) {};
  ph::error_handler() = mine;
  CHECK(ph::error_handler() == mine);
  ph::error_handler() = before;
}
