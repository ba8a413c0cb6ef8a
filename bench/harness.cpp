// Every case runs its contenders in turn, round after round: our pool, the roofline, each form of each rival.
// So all of them see the same machine, whatever else it does. Reported are medians.
#include "harness.hpp"

#include <benchmark/benchmark.h>

#include <iostream>
#include <map>

#include "rounds.hpp"

namespace poolhead::bench {
namespace {

constexpr int most_threads = 2;
bool wrong = false;

const std::vector<Extents> shapes{{32, 512, 7, 7},  {8, 2048, 7, 7},  {1, 1280, 7, 7},
                                  {8, 512, 14, 14}, {8, 256, 28, 28}, {32, 64, 56, 56},
                                  {64, 32, 3, 3},   {8, 1000, 7, 7},  {4, 96, 13, 17}};
constexpr Extents denormal_shape{8, 512, 14, 14};

const std::vector<Peer> peers {
#if defined(POOLHEAD_BENCH_LIBTORCH)
  libtorch_contenders,
#endif
#if defined(POOLHEAD_BENCH_ONEDNN)
      onednn_contenders,
#endif
#if defined(POOLHEAD_BENCH_EIGEN)
      eigen_contenders,
#endif
};

struct Case {
  PoolInfo info;
  std::string layout, scalar;
  MakePooling make;
};
std::vector<Case> all_cases;

std::string name_of(Direction direction) {
  switch (direction) {
    case Direction::forward:
      return "forward";
    case Direction::backward:
      return "backward";
    default:
      return "forward+backward";
  }
}

const Eigen::ThreadPoolDevice& device_of(int threads) {
  static Eigen::ThreadPool workers(most_threads);
  static const Eigen::ThreadPoolDevice one(&workers, 1), all(&workers, most_threads);
  return threads == 1 ? one : all;
}

/// The map of the last case, verified when it was made: the cases of one map come one after another.
struct Verified {
  const Case* of = nullptr;
  Extents extents{};
  std::unique_ptr<Pooling> pooling;
  std::string difference;
};

Verified& verified(const Case& one, const Extents& e) {
  static Verified last;
  const bool same = last.of == &one && last.extents.n == e.n && last.extents.c == e.c &&
                    last.extents.h == e.h && last.extents.w == e.w;
  if (!same) {
    last = {&one, e, one.make(e, Values::noise), {}};
    last.difference = last.pooling->difference(device_of(1), device_of(most_threads));
  }
  return last;
}

std::function<void()> action(Pooling& pooling, Direction direction, const Eigen::ThreadPoolDevice& device) {
  return [&pooling, direction, &device] {
    if (direction != Direction::backward) pooling.forward(device);
    if (direction != Direction::forward) pooling.backward(device);
  };
}

/// What no pool can be faster than: reading x for each direction that has to, writing dx for backward.
std::function<void()> roof(Pooling& pooling, Direction direction, bool backward_reads_x,
                           const Eigen::ThreadPoolDevice& device) {
  return [&pooling, direction, backward_reads_x, &device] {
    if (direction != Direction::backward) pooling.read_roof(device);
    if (direction == Direction::forward) return;
    if (backward_reads_x) pooling.read_roof(device);
    pooling.write_roof(device);
  };
}
double roof_passes(Direction direction, bool backward_reads_x) {
  return (direction != Direction::backward ? 1.0 : 0.0) +
         (direction != Direction::forward ? (backward_reads_x ? 2.0 : 1.0) : 0.0);
}

/// Whether a rival gave what we gave, to within 1e-4 of it or of the mean.
bool agrees(const std::vector<float>& answer, std::span<const float> ours) {
  if (answer.size() != ours.size()) return false;
  double mean = 0.0;
  for (float value : ours) mean += static_cast<double>(std::abs(value)) / static_cast<double>(ours.size());
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const auto error = static_cast<double>(std::abs(answer[i] - ours[i]));
    if (!(error <= 1e-4 * (static_cast<double>(std::abs(ours[i])) + mean))) return false;
  }
  return true;
}

void refuse(benchmark::State& state, const std::string& why) {
  wrong = true;
  state.SkipWithError(why.c_str());
}

void run(benchmark::State& state, const Case& one, const Extents& e, Direction direction, int threads) {
  Verified& map = verified(one, e);
  if (!map.difference.empty()) return refuse(state, map.difference);
  Pooling& pooling = *map.pooling;
  const auto& device = device_of(threads);
  std::vector<Entrant> entrants;
  entrants.emplace_back("ours", action(pooling, direction, device));
  entrants.emplace_back("roof", roof(pooling, direction, one.info.backward_reads_x, device));

  PeerTask task{
      one.info.peer, direction, threads, one.layout == ChannelsLast::name, e.n, e.c, e.h, e.w, {}, {}, {}};
  std::vector<Contender> contenders;
  if (task.pool.kind != PeerKind::none && pooling.describe(task)) {
    action(pooling, Direction::both, device)();
    for (const Peer peer : peers)
      for (Contender& contender : peer(task)) contenders.push_back(std::move(contender));
    for (const Contender& contender : contenders) {
      contender.run();
      if (!agrees(contender.answer(), direction == Direction::forward ? pooling.y() : pooling.dx()))
        return refuse(state, contender.name() + " does not agree");
      entrants.emplace_back(contender.name(), contender.run);
    }
  }

  for (auto _ : state) {
    time_in_turn(entrants, entrants.size() > 2 ? 0.1 : 0.04, threads > 1);
    state.SetIterationTime(entrants[0].median());
  }
  const double ours = entrants[0].median(), roofline = entrants[1].median();
  const double passes = roof_passes(direction, one.info.backward_reads_x);
  const double bytes = static_cast<double>(e.size()) * (one.scalar == "float" ? 4.0 : 2.0) * passes;
  state.counters["us"] = ours * 1e6;
  state.counters["GB/s"] = bytes / ours * 1e-9;
  state.counters["roof_us"] = roofline * 1e6;
  state.counters["roof"] = ours / roofline;
  const Entrant* best = nullptr;
  for (std::size_t i = 2; i < entrants.size(); ++i) {
    state.counters["us of " + entrants[i].name] = entrants[i].median() * 1e6;
    if (best == nullptr || entrants[i].median() < best->median()) best = &entrants[i];
  }
  if (best != nullptr) {
    state.counters["speed-up"] = best->median() / ours;
    state.SetLabel("best rival: " + best->name);
  }
}

/// Denormal elements beside others.
void run_denormals(benchmark::State& state, const Case& one, Direction direction) {
  const auto& device = device_of(1);
  const auto usual = one.make(denormal_shape, Values::noise);
  const auto denormal = one.make(denormal_shape, Values::denormals);
  for (const auto& pooling : {usual.get(), denormal.get()})
    pooling->forward(device);  // backward wants the cache
  std::vector<Entrant> entrants;
  entrants.emplace_back("usual", action(*usual, direction, device));
  entrants.emplace_back("denormal", action(*denormal, direction, device));
  for (auto _ : state) {
    time_in_turn(entrants, 0.04, false);
    state.SetIterationTime(entrants[1].median());
  }
  state.counters["us"] = entrants[1].median() * 1e6;
  state.counters["usual_us"] = entrants[0].median() * 1e6;
  state.counters["denormal"] = entrants[1].median() / entrants[0].median();
}

template <class Run>
void add_benchmark(const std::string& name, Run run_one) {
  // One iteration to Google Benchmark: rounds are counted here.
  benchmark::RegisterBenchmark(name.c_str(), run_one)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace

void add_cases(const PoolInfo& info, std::string_view layout, std::string_view scalar,
               const MakePooling& make) {
  all_cases.push_back({info, std::string(layout), std::string(scalar), make});
}

void register_cases() {
  for (const Case& one : all_cases) {
    std::vector<Direction> directions{Direction::forward};
    if (!one.info.forward_only) directions = {Direction::forward, Direction::backward, Direction::both};
    const auto name = [&](Direction direction, const Extents& e, std::string_view suffix, int threads) {
      return detail::message(one.info.name, "/", name_of(direction), "/", one.layout, "/", one.scalar, suffix,
                             "/", e.n, "x", e.c, "x", e.h, "x", e.w, "/threads:", threads);
    };
    for (const Extents& e : shapes)
      for (const Direction direction : directions)
        for (int threads = 1; threads <= most_threads; ++threads)
          add_benchmark(name(direction, e, "", threads),
                        [&one, e, direction, threads](benchmark::State& state) {
                          run(state, one, e, direction, threads);
                        });
    if (one.scalar == "float")
      for (const Direction direction : directions)
        if (direction != Direction::both)
          add_benchmark(name(direction, denormal_shape, "-denormal", 1),
                        [&one, direction](benchmark::State& state) { run_denormals(state, one, direction); });
  }
}

bool anything_wrong() { return wrong; }

}  // namespace poolhead::bench
