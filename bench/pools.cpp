// Times every pool beside the roofline: each iteration runs the pool and then one read (forward) or one write
// (backward) of the same buffer, so both see the same machine. Reported per benchmark: the time, bytes/s, and
// `roof`, the ratio of the two medians. Results are verified against a float64 oracle before anything is timed.
#define EIGEN_USE_THREADS

#include <poolhead/poolhead.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "roofline.hpp"

namespace {

using namespace poolhead;
using Clock = std::chrono::steady_clock;

struct Shape {
  Index n, c, h, w;
  std::string name() const { return detail::message(n, "x", c, "x", h, "x", w); }
};
const std::vector<Shape> shapes{{32, 512, 7, 7},  {8, 2048, 7, 7},  {1, 1280, 7, 7},
                                {8, 512, 14, 14}, {8, 256, 28, 28}, {32, 64, 56, 56},
                                {64, 32, 3, 3},   {8, 1000, 7, 7},  {4, 96, 13, 17}};

template <class T>
double as_double(T value) {
  return static_cast<double>(static_cast<float>(value));
}

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Everything that one benchmark reads and writes.
template <class Pool, class T, class L>
struct Problem {
  Pool pool;
  FeatureShape shape;
  detail::Buffer<T> x_values, dx_values;
  Eigen::Tensor<T, 2, Eigen::RowMajor> y, dy;
  FeatureMap<const T, L> x;
  FeatureMap<T, L> dx;
  decltype(pool.make_cache(x)) cache;

  Problem(const Pool& given, const Shape& s)
      : pool(given), y(s.n, pool.features(s.c)), dy(s.n, pool.features(s.c)) {
    shape.batch = s.n;
    shape.channels = s.c;
    shape.spatial = {1, s.h, s.w};
    const Random random(1);
    T* const values = x_values.reserve(shape.size());
    for (Index i = 0; i < shape.size(); ++i) {
      values[i] = static_cast<T>(static_cast<float>(2.0 * random.uniform(static_cast<std::uint64_t>(i)) - 1.0));
    }
    for (Index i = 0; i < dy.size(); ++i) {
      dy.data()[i] = static_cast<T>(static_cast<float>(random.uniform(static_cast<std::uint64_t>(-1 - i))));
    }
    x = {values, shape};
    dx = {dx_values.reserve(shape.size()), shape};
    cache = pool.make_cache(x);
    pool.forward(x, y, cache);
  }

  Index argmax(Index n, Index c) const {
    Index best = 0;
    for (Index s = 1; s < shape.positions(); ++s) {
      if (static_cast<float>(x(n, c, s)) > static_cast<float>(x(n, c, best))) best = s;
    }
    return best;
  }

  /// Whether y and dx are the mean and the maximum (`average` and `maximum` say which heads there are, in
  /// order).
  bool right(bool average, bool maximum) {
    pool.backward(x, y, dy, dx, cache);
    const double eps = sizeof(T) == 2 ? 8e-3 : 4e-7;
    bool all = true;
    for (Index n = 0; n < shape.batch; ++n) {
      for (Index c = 0; c < shape.channels; ++c) {
        double sum = 0.0;
        for (Index s = 0; s < shape.positions(); ++s) sum += as_double(x(n, c, s));
        const auto mean = sum / static_cast<double>(shape.positions());
        const Index second = average ? shape.channels : 0;
        const Index best = argmax(n, c);
        if (average) all = all && std::abs(as_double(y(n, c)) - mean) < eps;
        if (maximum) all = all && y(n, second + c) == x(n, c, best);
        const double share = average ? as_double(dy(n, c)) / static_cast<double>(shape.positions()) : 0.0;
        const double peak = maximum ? as_double(dy(n, second + c)) : 0.0;
        for (Index s = 0; s < shape.positions(); ++s) {
          all = all && std::abs(as_double(dx(n, c, s)) - share - (s == best ? peak : 0.0)) < eps;
        }
      }
    }
    return all;
  }
};

enum class Direction { forward, backward };

template <class Pool, class T, class L>
void run(benchmark::State& state, const Pool& pool, const Shape& shape, Direction direction, int threads,
         bool average, bool maximum) {
  Problem<Pool, T, L> problem(pool, shape);
  if (!problem.right(average, maximum)) {
    state.SkipWithError("the result is wrong");
    return;
  }
  Accumulator<T> sink[64];
  std::vector<double> ours, roof;
  const auto measure = [&](const auto& device) {
    for (auto _ : state) {
      const auto start = Clock::now();
      if (direction == Direction::forward)
        problem.pool.forward(problem.x, problem.y, problem.cache, device);
      else
        problem.pool.backward(problem.x, problem.y, problem.dy, problem.dx, problem.cache, device);
      benchmark::ClobberMemory();
      const auto middle = Clock::now();
      if (direction == Direction::forward) {
        bench::read_roof(device, problem.x.data(), problem.x.size(), sink);
        benchmark::DoNotOptimize(sink);
      } else {
        bench::write_roof(device, problem.dx.data(), problem.dx.size());
      }
      benchmark::ClobberMemory();
      const auto end = Clock::now();
      ours.push_back(seconds(start, middle));
      roof.push_back(seconds(middle, end));
      state.SetIterationTime(ours.back());
    }
  };
  if (threads == 1) {
    measure(Eigen::DefaultDevice());
  } else {
    Eigen::ThreadPool workers(threads);
    measure(Eigen::ThreadPoolDevice(&workers, threads));
  }
  const double bytes = static_cast<double>(problem.x.size()) * static_cast<double>(sizeof(T));
  state.counters["us"] = median(ours) * 1e6;
  state.counters["GB/s"] = bytes / median(ours) * 1e-9;
  state.counters["roof_us"] = median(roof) * 1e6;
  state.counters["roof"] = median(ours) / median(roof);
}

template <class Pool, class T, class L>
void add(const std::string& name, const Pool& pool, const std::string& scalar, bool average, bool maximum) {
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    for (const Shape& shape : shapes) {
      for (const int threads : {1, 2}) {
        const auto full = detail::message(name, direction == Direction::forward ? "/forward/" : "/backward/",
                                          L::name, "/", scalar, "/", shape.name(), "/threads:", threads);
        benchmark::RegisterBenchmark(full.c_str(),
                                     [=](benchmark::State& state) {
                                       run<Pool, T, L>(state, pool, shape, direction, threads, average,
                                                       maximum);
                                     })
            ->UseManualTime()
            ->MinTime(0.1);
      }
    }
  }
}

template <class Pool>
void add_all(const std::string& name, const Pool& pool, bool average, bool maximum) {
  add<Pool, float, ChannelsFirst>(name, pool, "float", average, maximum);
  add<Pool, float, ChannelsLast>(name, pool, "float", average, maximum);
  add<Pool, Eigen::bfloat16, ChannelsFirst>(name, pool, "bfloat16", average, maximum);
  add<Pool, Eigen::bfloat16, ChannelsLast>(name, pool, "bfloat16", average, maximum);
}

}  // namespace

int main(int argc, char** argv) {
  add_all("GAP", GlobalAveragePool{}, true, false);
  add_all("GMP", GlobalMaxPool{}, false, true);
  add_all("GAP+GMP", concat(GlobalAveragePool{}, GlobalMaxPool{}), true, true);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
