// The goldens of PyTorch for AttentionPool.
#define EIGEN_USE_THREADS
#include "golden/replay.hpp"

namespace ph = poolhead;
using namespace ph::test::golden;
using ph::Index;

namespace {

// The replay sets the weights.
const auto attention = []<class T>(const Json& pool, Index channels, T) {
  const auto kind =
      pool.at("kind") == "softmax" ? ph::AttentionPool<T>::softmax : ph::AttentionPool<T>::sigmoid;
  return ph::AttentionPool<T>(channels, pool.at("hidden"), kind);
};

}  // namespace

TEST_CASE("AttentionPool gives the goldens of softmax", "[golden]") {
  CHECK(replay("AttentionPool", "softmax", attention) >= 20);
}

TEST_CASE("AttentionPool gives the goldens of sigmoid", "[golden]") {
  CHECK(replay("AttentionPool", "sigmoid", attention) >= 20);
}

TEST_CASE("AttentionPool gives the goldens of masked maps", "[golden]") {
  CHECK(replay<true>("AttentionPool", "", attention) >= 20);
}
