// The goldens of PyTorch for the pools of powers and exponentials.
#define EIGEN_USE_THREADS
#include "golden/replay.hpp"

namespace ph = poolhead;
using namespace ph::test::golden;
using ph::Index;

namespace {

// The replay sets p and r.
const auto generalized_mean = []<class T>(const Json& pool, Index channels, T) {
  auto made = pool.at("shared").get<bool>() ? ph::GeneralizedMeanPool<T>(T(1))
                                            : ph::GeneralizedMeanPool<T>(channels, T(1));
  made.eps = pool.at("eps").get<T>();
  return made;
};

}  // namespace

TEST_CASE("GlobalLpPool gives the goldens", "[golden]") {
  const auto make = [](const Json& pool, Index, auto) { return ph::GlobalLpPool(pool.at("p")); };
  CHECK(replay("GlobalLpPool", "", make) >= 40);
}

TEST_CASE("GeneralizedMeanPool gives the goldens", "[golden]") {
  CHECK(replay("GeneralizedMeanPool", "", generalized_mean) >= 70);
}

TEST_CASE("GeneralizedMeanPool gives the goldens of masked maps", "[golden]") {
  CHECK(replay<true>("GeneralizedMeanPool", "", generalized_mean) >= 15);
}

TEST_CASE("LogSumExpPool gives the goldens", "[golden]") {
  const auto make = []<class T>(const Json&, Index, T) { return ph::LogSumExpPool<T>(T(1)); };
  CHECK(replay("LogSumExpPool", "", make) >= 30);
}

TEST_CASE("SoftPool gives the goldens", "[golden]") {
  const auto make = [](const Json&, Index, auto) { return ph::SoftPool{}; };
  CHECK(replay("SoftPool", "", make) >= 20);
}
