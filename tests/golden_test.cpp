// The goldens of PyTorch for the pools that average and take the maximum of whole planes. Their relatives
// replay in golden_*_test.cpp.
#define EIGEN_USE_THREADS
#include "golden/replay.hpp"

namespace ph = poolhead;
using namespace ph::test::golden;
using ph::Index;

TEST_CASE("there are hundreds of goldens, and a test for each", "[golden]") {
  std::map<std::string, int> count;
  for (const Json& one : Goldens::file().cases()) ++count[one.at("pool").at("type")];
  int all = 0;
  for (const char* type : {"GlobalAveragePool", "GlobalMaxPool", "AverageMaxPool", "SpatialPyramidPool",
                           "AdaptiveAveragePool", "AdaptiveMaxPool", "GlobalLpPool", "GeneralizedMeanPool",
                           "LogSumExpPool", "SoftPool", "AttentionPool", "concat"}) {
    CHECK(count[type] >= 20);
    all += count[type];
  }
  CHECK(all >= 400);
  CHECK(Goldens::file().cases().size() == static_cast<std::size_t>(all));
}

TEST_CASE("GlobalAveragePool gives the goldens", "[golden]") {
  const auto make = [](const Json&, Index, auto) { return ph::GlobalAveragePool{}; };
  CHECK(replay("GlobalAveragePool", "", make) >= 30);
}

TEST_CASE("GlobalAveragePool gives the goldens of masked maps", "[golden]") {
  const auto make = [](const Json&, Index, auto) { return ph::GlobalAveragePool{}; };
  CHECK(replay<true>("GlobalAveragePool", "", make) >= 15);
}

TEST_CASE("GlobalMaxPool gives the goldens", "[golden]") {
  const auto make = [](const Json&, Index, auto) { return ph::GlobalMaxPool{}; };
  CHECK(replay("GlobalMaxPool", "", make) >= 30);
}

TEST_CASE("GlobalMaxPool gives the goldens of masked maps", "[golden]") {
  const auto make = [](const Json&, Index, auto) { return ph::GlobalMaxPool{}; };
  CHECK(replay<true>("GlobalMaxPool", "", make) >= 15);
}

TEST_CASE("AverageMaxPool gives the goldens", "[golden]") {
  const auto make = [](const Json&, Index, auto) { return ph::AverageMaxPool{}; };
  CHECK(replay("AverageMaxPool", "", make) >= 30);
}
