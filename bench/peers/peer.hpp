// What a rival library is asked: one pool over one feature map of floats, in one direction. Each file of this
// folder answers with the forms that its library has for it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace poolhead::bench {

enum class Direction { forward, backward, both };

enum class PeerKind {
  none,
  average,
  max,         // with its position
  max_values,  // without
  average_max,
  lp,
  generalized_mean,
  log_sum_exp,
  soft,
  grids_average,
  grids_max,
  attention_softmax,
  attention_sigmoid,
  average_and_max,
  four_heads,  // average, max, generalised mean, grids of averages, side by side
};

struct PeerPool {
  PeerKind kind = PeerKind::none;
  double parameter = 0.0;                                      // p or r
  std::vector<std::pair<std::int64_t, std::int64_t>> grids{};  // of adaptive bins, rows by columns
};

/// Memory belongs to the asker, and outlives the answer. dy is (N, features).
struct PeerTask {
  PeerPool pool;
  Direction direction;
  int threads;
  bool channels_last;
  std::int64_t n, c, h, w;
  const float* x;
  const float* dy;
  std::int64_t features;
  // Of attention: weight (hidden, C) and bias (hidden), then weight (1, hidden) and bias (1).
  std::int64_t hidden = 0;
  const float *hidden_weight = nullptr, *hidden_bias = nullptr;
  const float *score_weight = nullptr, *score_bias = nullptr;

  std::int64_t positions() const { return h * w; }
};

/// One form in which a library does the task.
struct Contender {
  std::string library, form;
  std::function<void()> run;
  /// What run has left: of a forward task y, (N, features), else dx in the memory layout of x.
  std::function<std::vector<float>()> answer;

  std::string name() const { return library + " " + form; }
};

using Peer = std::vector<Contender> (*)(const PeerTask&);

// Those that the build has found.
std::vector<Contender> libtorch_contenders(const PeerTask& task);
std::vector<Contender> onednn_contenders(const PeerTask& task);
std::vector<Contender> eigen_contenders(const PeerTask& task);
std::string libtorch_version();
std::string onednn_version();

}  // namespace poolhead::bench
