// Eigen's own reductions and broadcasts, on a device of as many threads.
#include <unsupported/Eigen/CXX11/Tensor>

#include <memory>

#include "peers/peer.hpp"

namespace poolhead::bench {
namespace {

using Eigen::Index;
using Planes = Eigen::TensorMap<const Eigen::Tensor<float, 3, Eigen::RowMajor>>;
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;

/// All that a contender works on.
struct Work {
  PeerTask task;
  Eigen::ThreadPool workers;
  Eigen::ThreadPoolDevice device;
  Planes planes;  // (N, C, S), or channels last (N, S, C)
  Eigen::array<Index, 1> over;
  Rows y;
  Eigen::Tensor<float, 3, Eigen::RowMajor> dx;

  explicit Work(const PeerTask& t)
      : task(t),
        workers(t.threads),
        device(&workers, t.threads),
        planes(t.x, t.n, t.channels_last ? t.positions() : t.c, t.channels_last ? t.c : t.positions()),
        over{t.channels_last ? 1 : 2},
        y(t.n, t.c) {
    if (t.direction != Direction::forward) dx.resize(planes.dimensions());
  }

  float share() const { return 1.0f / static_cast<float>(task.positions()); }

  /// One thread is the caller's own.
  template <class To, class Expression>
  void assign(To& to, const Expression& expression) {
    if (task.threads == 1)
      to = expression;
    else
      to.device(device) = expression;
  }
  template <class Expression>
  void answer(const Expression& expression) {
    assign(y, expression);
  }
};
using Shared = std::shared_ptr<Work>;

template <class Forward>
Contender forward(const Shared& work, std::string form, Forward run) {
  return {"Eigen", std::move(form), [work, run] { run(*work); },
          [work] { return std::vector<float>(work->y.data(), work->y.data() + work->y.size()); }};
}

void broadcast_average(Work& work) {
  const PeerTask& t = work.task;
  const Eigen::array<Index, 3> column{t.n, t.channels_last ? 1 : t.c, t.channels_last ? t.c : 1};
  const Eigen::array<Index, 3> times{1, t.channels_last ? t.positions() : 1,
                                     t.channels_last ? 1 : t.positions()};
  const Eigen::TensorMap<const Rows> dy(t.dy, t.n, t.c);
  work.assign(work.dx, (dy * work.share()).reshape(column).broadcast(times));
}

}  // namespace

std::vector<Contender> eigen_contenders(const PeerTask& task) {
  const PeerKind kind = task.pool.kind;
  const bool average = kind == PeerKind::average;
  const bool power = kind == PeerKind::lp && (task.pool.parameter == 1.0 || task.pool.parameter == 2.0);
  if (!average && !(task.direction == Direction::forward && (kind == PeerKind::max_values || power))) return {};
  const auto work = std::make_shared<Work>(task);
  const auto sum = [](Work& w) { w.answer(w.planes.sum(w.over) * w.share()); };
  if (task.direction != Direction::forward) {
    const bool both = task.direction == Direction::both;
    return {{"Eigen", both ? "sum, broadcast" : "broadcast",
             [=] {
               if (both) sum(*work);
               broadcast_average(*work);
             },
             [=] { return std::vector<float>(work->dx.data(), work->dx.data() + work->dx.size()); }}};
  }
  if (average)
    return {forward(work, "mean", [](Work& w) { w.answer(w.planes.mean(w.over)); }), forward(work, "sum", sum)};
  if (kind == PeerKind::max_values)
    return {forward(work, "maximum", [](Work& w) { w.answer(w.planes.maximum(w.over)); })};
  if (task.pool.parameter == 1.0)
    return {forward(work, "abs, sum", [](Work& w) { w.answer(w.planes.abs().sum(w.over)); })};
  return {forward(work, "square, sum, sqrt", [](Work& w) { w.answer(w.planes.square().sum(w.over).sqrt()); })};
}

}  // namespace poolhead::bench
