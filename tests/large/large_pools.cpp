// One pool on more than 2^31 elements, forward and backward, in both layouts:
//   large_pools <name>      prints the name, seconds, the most memory it held, and ok or what was wrong
//   large_pools --list
#include "trial.hpp"

#include <sys/resource.h>

#include <chrono>

using namespace large;

namespace {

Index half(const Shape& shape) { return shape.positions() / 2; }
double count(const Shape& shape) { return static_cast<double>(shape.positions()); }

/// The same value from the first position to the last.
Gradient everywhere(double value) { return {{{0, value}}, {}}; }
Gradient halves(const Shape& shape, double first, double second) {
  return {{{0, first}, {half(shape), second}}, {}};
}

Answer sum(const Answer& a, const Answer& b) {
  return {[=](double scale) {
            auto blocks = a.y(scale);
            for (auto& block : b.y(scale)) blocks.push_back(block);
            return blocks;
          },
          [=](const Shape& shape, Index c) {
            const Gradient one = a.dx(shape, c);
            const Gradient two = b.dx(shape, c);
            const auto background = [](const Gradient& g, Index s) {
              return std::prev(g.from.upper_bound(s))->second;
            };
            const auto value = [&](const Gradient& g, Index s) {
              return g.at.count(s) > 0 ? g.at.at(s) : background(g, s);
            };
            Gradient both;
            for (const auto* g : {&one, &two}) {
              for (const auto& [s, ignored] : g->from) both.from[s] = background(one, s) + background(two, s);
              for (const auto& [s, ignored] : g->at) both.at[s] = value(one, s) + value(two, s);
            }
            return both;
          }};
}

const Answer average_answer{[](double scale) { return Blocks{{2 * scale}}; },
                            [](const Shape& shape, Index) { return everywhere(1 / count(shape)); }};
const Answer max_answer{[](double scale) { return Blocks{{peak * scale}}; },
                        [](const Shape& shape, Index) {
                          Gradient g = everywhere(0);
                          g.at[shape.peak_position()] = 1;
                          return g;
                        }};
/// The mean of third powers is 14 times the third power of the scale.
const double cube = std::cbrt(14.0);
const Answer gem_answer{[](double scale) { return Blocks{{cube * scale}}; },
                        [](const Shape& shape, Index) {
                          const auto share = [&](double value) {
                            return std::pow(value / cube, 2) / count(shape);
                          };
                          Gradient g = halves(shape, share(low), share(high));
                          g.at[shape.peak_position()] = share(peak);
                          return g;
                        }};
const Answer pyramid_answer{[](double scale) {
                              return std::vector{
                                  std::vector{2 * scale},
                                  std::vector{low * scale, low * scale, high * scale, high * scale}};
                            },
                            [](const Shape& shape, Index) { return everywhere(5 / count(shape)); }};

template <class Cache>
void check_argmax(const Shape& shape, const Cache& cache, Index features, Index feature, Index expected) {
  for (Index n = 0; n < shape.n; ++n)
    for (Index c = 0; c < shape.c; ++c) {
      const Index got = cache.argmax(n, c * features + feature);
      if (got != expected)
        throw std::runtime_error("argmax of sample " + std::to_string(n) + ", channel " + std::to_string(c) +
                                 " is " + std::to_string(got) + ", expected " + std::to_string(expected));
    }
}

void check_parameter(T got, double expected, const std::string& name) {
  // Two numbers of nearly the same size may have been subtracted: four units.
  if (std::abs(widen(got) - expected) > std::ldexp(std::abs(expected), -6))
    throw std::runtime_error("the gradient of " + name + " is " + std::to_string(widen(got)) + ", expected " +
                             std::to_string(expected));
}
double sum_over_channels(const Shape& shape, const std::function<double(double scale)>& f) {
  double sum = 0;
  for (Index c = 0; c < shape.c; ++c) sum += f(scale_of(c));
  return sum * static_cast<double>(shape.n);
}

void run_average() { run_all(ph::GlobalAveragePool{}, average_answer, true); }

void run_max() {
  run_all(ph::GlobalMaxPool{}, max_answer, true, [](const Shape& shape, const auto& cache, const auto&) {
    check_argmax(shape, cache, 1, 0, shape.peak_position());
  });
}

void run_average_max() {
  const Answer answer{[](double scale) { return Blocks{{(2 + peak) / 2 * scale}}; },
                      [](const Shape& shape, Index) {
                        Gradient g = everywhere(0.5 / count(shape));
                        g.at[shape.peak_position()] = 0.5 + 0.5 / count(shape);
                        return g;
                      }};
  run_all(ph::AverageMaxPool{}, answer, false, [](const Shape& shape, const auto& cache, const auto&) {
    check_argmax(shape, cache, 1, 0, shape.peak_position());
  });
}

void run_lp() {
  // The norm grows with the plane: an answer for each shape.
  const auto one = [](auto layout, const Shape& shape) {
    const double norm = std::sqrt(5 * count(shape));
    const Answer answer{[=](double scale) { return Blocks{{norm * scale}}; },
                        [=](const Shape& s, Index) {
                          Gradient g = halves(s, low / norm, high / norm);
                          g.at[s.peak_position()] = peak / norm;
                          return g;
                        }};
    Trial<decltype(layout), ph::GlobalLpPool> trial(ph::GlobalLpPool(2.0), shape, answer);
    trial.run(trial.x(), [](const auto&, const auto&) {});
  };
  one(ph::ChannelsFirst{}, one_plane);
  one(ph::ChannelsFirst{}, many_planes);
  one(ph::ChannelsLast{}, many_planes);
}

void run_gem() {
  run_all(ph::GeneralizedMeanPool<T>(T(3.0f)), gem_answer, false,
          [](const Shape& shape, const auto&, const auto& gradient) {
            const double expected = sum_over_channels(shape, [](double scale) {
              const double a = low * scale, b = high * scale, y = cube * scale;
              const double log = (std::pow(a, 3) * std::log(a) + std::pow(b, 3) * std::log(b)) /
                                 (std::pow(a, 3) + std::pow(b, 3));
              return y / 3 * (log - std::log(y));
            });
            check_parameter(gradient.p(0), expected, "p");
          });
}

/// The weights that softmax gives to all positions of each half together.
std::pair<double, double> soft_weights(double scale) {
  const double first = std::exp(low * scale), second = std::exp(high * scale);
  return {first / (first + second), second / (first + second)};
}

void run_log_sum_exp() {
  const auto result = [](double scale) {
    return std::log((std::exp(low * scale) + std::exp(high * scale)) / 2);
  };
  const Answer answer{[=](double scale) { return Blocks{{result(scale)}}; },
                      [=](const Shape& shape, Index c) {
                        const double scale = scale_of(c);
                        const auto share = [&](double value) {
                          return std::exp(value * scale - result(scale)) / count(shape);
                        };
                        Gradient g = halves(shape, share(low), share(high));
                        g.at[shape.peak_position()] = share(peak);
                        return g;
                      }};
  run_all(ph::LogSumExpPool<T>(T(1.0f)), answer, false,
          [&](const Shape& shape, const auto&, const auto& gradient) {
            const double expected = sum_over_channels(shape, [&](double scale) {
              const auto [first, second] = soft_weights(scale);
              return first * low * scale + second * high * scale - result(scale);
            });
            check_parameter(gradient.r(0), expected, "r");
          });
}

void run_soft() {
  const auto result = [](double scale) {
    const auto [first, second] = soft_weights(scale);
    return (first * low + second * high) * scale;
  };
  const Answer answer{[=](double scale) { return Blocks{{result(scale)}}; },
                      [=](const Shape& shape, Index c) {
                        const double scale = scale_of(c);
                        const double all = (std::exp(low * scale) + std::exp(high * scale)) / 2 * count(shape);
                        const auto share = [&](double value) {
                          return std::exp(value * scale) / all * (1 + value * scale - result(scale));
                        };
                        Gradient g = halves(shape, share(low), share(high));
                        g.at[shape.peak_position()] = share(peak);
                        return g;
                      }};
  run_all(ph::SoftPool{}, answer, false);
}

void run_pyramid() { run_all(ph::SpatialPyramidPool({1, 2}), pyramid_answer, false); }

/// The first of equal elements of a bin is its maximum: the bins of two rows and two columns begin there.
Gradient first_of_bins(const Shape& shape, bool columns, double at_peak) {
  Gradient g = everywhere(0);
  g.at[0] = 1;
  if (columns) g.at[shape.w / 2] = g.at[half(shape)] = 1;
  g.at[shape.peak_position()] = at_peak;
  return g;
}

void run_pyramid_max() {
  const Answer answer{[](double scale) {
                        return Blocks{{peak * scale}, {low * scale, low * scale, high * scale, peak * scale}};
                      },
                      [](const Shape& shape, Index) { return first_of_bins(shape, true, 2); }};
  run_all(ph::SpatialPyramidPool({1, 2}, ph::SpatialPyramidPool::max), answer, false,
          [](const Shape& shape, const auto& cache, const auto&) {
            check_argmax(shape, cache, 1, 0, shape.peak_position());
          });
}

void run_adaptive_average() {
  const Answer answer{[](double scale) {
                        return Blocks{{low * scale, high * scale}};
                      },
                      [](const Shape& shape, Index) { return everywhere(2 / count(shape)); }};
  run_all(ph::AdaptiveAveragePool(2, 1), answer, false);
}

void run_adaptive_max() {
  const Answer answer{[](double scale) {
                        return Blocks{{low * scale, peak * scale}};
                      },
                      [](const Shape& shape, Index) { return first_of_bins(shape, false, 1); }};
  run_all(ph::AdaptiveMaxPool(2, 1), answer, true, [](const Shape& shape, const auto& cache, const auto&) {
    check_argmax(shape, cache, 2, 0, 0);
    check_argmax(shape, cache, 2, 1, shape.peak_position());
  });
}

void run_concat() {
  run_all(ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}, ph::GeneralizedMeanPool<T>(T(3.0f)),
                     ph::SpatialPyramidPool({1, 2})),
          sum(sum(sum(average_answer, max_answer), gem_answer), pyramid_answer), false,
          [](const Shape& shape, const auto& cache, const auto&) {
            check_argmax(shape, std::get<1>(cache.heads), 1, 0, shape.peak_position());
          });
}

/// Attention whose score is channel 0 itself, which counts 1, 3 and 5.
ph::AttentionPool<T> attention_of(Index channels, ph::AttentionPool<T>::Kind kind) {
  ph::AttentionPool<T> pool(channels, 1, kind);
  ph::set_zero(pool);
  pool.hidden.weight(0, 0) = T(1.0f);
  pool.score.weight(0, 0) = T(1.0f);
  return pool;
}

void run_attention() {
  const auto [first, second] = soft_weights(1);
  const double mean = first * low + second * high;
  const double variance = first * low * low + second * high * high - mean * mean;
  const double scales = sum_over_channels({1, many_planes.c, 1, 1}, [](double scale) { return scale; });
  const Answer answer{[=](double scale) { return Blocks{{mean * scale}}; },
                      [=](const Shape& shape, Index c) {
                        const double all = (std::exp(low) + std::exp(high)) / 2 * count(shape);
                        const auto share = [&](double value) {
                          return std::exp(value) / all * (1 + (c == 0 ? scales * (value - mean) : 0));
                        };
                        Gradient g = halves(shape, share(low), share(high));
                        g.at[shape.peak_position()] = share(peak);
                        return g;
                      }};
  const auto inspect = [&](const auto&, const auto& gradient) {
    const double samples = static_cast<double>(many_planes.n);
    for (Index c = 0; c < many_planes.c; ++c)
      check_parameter(gradient.hidden.weight(0, c), samples * scales * scale_of(c) * variance, "hidden.weight");
    check_parameter(gradient.score.weight(0, 0), samples * scales * variance, "score.weight");
  };
  const auto both_ways = [&](auto layout) {
    const auto pool = attention_of(many_planes.c, ph::AttentionPool<T>::softmax);
    Trial<decltype(layout), ph::AttentionPool<T>> trial(pool, many_planes, answer);
    trial.run(trial.x(), inspect);
  };
  both_ways(ph::ChannelsFirst{});
  both_ways(ph::ChannelsLast{});

  // A cache of one plane of this size takes 32 GiB: forward alone.
  const double sigmoid_low = 1 / (1 + std::exp(-low)), sigmoid_high = 1 / (1 + std::exp(-high));
  const double weighted = (sigmoid_low * low + sigmoid_high * high) / (sigmoid_low + sigmoid_high);
  const Answer sigmoid{[=](double scale) { return Blocks{{weighted * scale}}; }, answer.dx};
  Trial<ph::ChannelsFirst, ph::AttentionPool<T>> plane(attention_of(1, ph::AttentionPool<T>::sigmoid),
                                                       one_plane, sigmoid);
  plane.infer(plane.x());
}

void run_masked() {
  // The last quarter of the positions counts.
  const auto one = [](auto layout, const Shape& shape) {
    using L = decltype(layout);
    const Index begin = shape.positions() / 4 * 3;
    unsigned char* const mask = memory<unsigned char, Mask>(shape.n * shape.positions());
    for (Index n = 0; n < shape.n; ++n) {
      unsigned char* const row = mask + n * shape.positions();
      std::fill(row, row + begin, static_cast<unsigned char>(0));
      std::fill(row + begin, row + shape.positions(), static_cast<unsigned char>(1));
    }
    const ph::Rows<const unsigned char> valid(mask, shape.n, shape.positions());
    const double share = 1 / static_cast<double>(shape.positions() - begin);
    const Answer answer{[](double scale) {
                          return Blocks{{high * scale}, {peak * scale}};
                        },
                        [=](const Shape& s, Index) {
                          Gradient g{{{0, 0}, {begin, share}}, {}};
                          g.at[s.peak_position()] = 1 + share;
                          return g;
                        }};
    const auto heads = ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{});
    Trial<L, std::remove_const_t<decltype(heads)>> trial(heads, shape, answer);
    trial.run(ph::masked(trial.x(), valid), [&](const auto& cache, const auto&) {
      check_argmax(shape, std::get<1>(cache.heads), 1, 0, shape.peak_position());
    });
  };
  one(ph::ChannelsFirst{}, one_plane);
  one(ph::ChannelsLast{}, one_plane);
  one(ph::ChannelsFirst{}, many_planes);
  one(ph::ChannelsLast{}, many_planes);
}

void run_stream() {
  // Three tiles of rows: below 2^31 positions each, and more than that together. Of one channel, both layouts
  // are the same memory.
  const Shape& shape = one_plane;
  T* const x = memory<T, Input>(shape.size());
  fill<ph::ChannelsFirst>(x, shape);
  const auto stream = [&](const auto& pool, auto layout, double expected) {
    auto seen = pool.template start<T>(1, 1);
    auto other = pool.template start<T>(1, 1);
    const Index rows = shape.h / 3 + 1;
    for (Index h = 0; h < shape.h; h += rows) {
      const Shape tile{1, 1, std::min(rows, shape.h - h), shape.w};
      const auto part = view<decltype(layout)>(static_cast<const T*>(x + h * shape.w), tile);
      if (h < shape.h / 2)
        seen.add(part, device());
      else
        other.add(part, device());
    }
    seen.merge(other);
    std::vector<T> y(1);
    seen.finish(ph::Rows<T>(y.data(), 1, 1));
    if (!close(widen(y[0]), expected))
      throw std::runtime_error(std::string(std::remove_cvref_t<decltype(pool)>::name) + ": y is " +
                               std::to_string(widen(y[0])) + ", expected " + std::to_string(expected));
  };
  const auto [first, second] = soft_weights(1);
  stream(ph::GlobalAveragePool{}, ph::ChannelsFirst{}, 2);
  stream(ph::GlobalAveragePool{}, ph::ChannelsLast{}, 2);
  stream(ph::GlobalMaxPool{}, ph::ChannelsFirst{}, peak);
  stream(ph::GlobalMaxPool{}, ph::ChannelsLast{}, peak);
  stream(ph::GlobalLpPool(2.0), ph::ChannelsFirst{}, std::sqrt(5 * count(shape)));
  stream(ph::GeneralizedMeanPool<T>(T(3.0f)), ph::ChannelsFirst{}, cube);
  stream(ph::LogSumExpPool<T>(T(1.0f)), ph::ChannelsFirst{}, std::log((std::exp(low) + std::exp(high)) / 2));
  stream(ph::SoftPool{}, ph::ChannelsFirst{}, first * low + second * high);
  stream(attention_of(1, ph::AttentionPool<T>::softmax), ph::ChannelsFirst{}, first * low + second * high);
}

void run_planes() {
  // More than 2^31 planes of one position: y is x, and so is dx where dy is y.
  constexpr Shape shape{2049, 1048576, 1, 1};
  const auto elements = static_cast<std::size_t>(shape.size());
  T* const x = memory<T, Input>(shape.size());
  T* const y = memory<T, Output>(shape.size());
  T* const dx = memory<T, InputGradient>(shape.size());
  for (Index i = 0; i < shape.size(); ++i) x[i] = narrow(static_cast<double>(i % 251));
  const auto same = [&](const T* got, const std::string& what) {
    if (std::memcmp(got, x, elements * sizeof(T)) != 0) throw std::runtime_error(what + " is not x");
  };
  const auto one = [&](auto layout, const std::string& name) {
    using L = decltype(layout);
    const auto map = view<L>(static_cast<const T*>(x), shape);
    const ph::Rows<T> rows(y, shape.n, shape.c);
    const auto forget = [&] {
      for (T* memory : {y, dx}) std::memset(static_cast<void*>(memory), 0xff, elements * sizeof(T));
    };
    forget();
    const ph::GlobalAveragePool average;
    auto cache = average.make_cache(map);
    average.forward(map, rows, cache, device());
    same(y, name + ": the average's y");
    average.backward(map, rows, rows, view<L>(dx, shape), cache, device());
    same(dx, name + ": the average's dx");
    forget();
    ph::GlobalMaxPool{}.forward(map, rows, device());
    same(y, name + ": the maximum's y");
  };
  one(ph::ChannelsFirst{}, "NCHW");
  one(ph::ChannelsLast{}, "NHWC");
}

constexpr std::pair<const char*, void (*)()> ops[] = {
    {"average", run_average},
    {"max", run_max},
    {"average-max", run_average_max},
    {"lp", run_lp},
    {"generalized-mean", run_gem},
    {"log-sum-exp", run_log_sum_exp},
    {"soft", run_soft},
    {"pyramid", run_pyramid},
    {"pyramid-max", run_pyramid_max},
    {"adaptive-average", run_adaptive_average},
    {"adaptive-max", run_adaptive_max},
    {"attention", run_attention},
    {"concat", run_concat},
    {"masked", run_masked},
    {"stream", run_stream},
    {"planes", run_planes},
};

double peak_gibibytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1024.0 * 1024.0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc == 2 ? argv[1] : "";
  if (name == "--list") {
    for (const auto& op : ops) std::printf("%s\n", op.first);
    return 0;
  }
  for (const auto& [known, run] : ops) {
    if (name != known) continue;
    std::string verdict = "ok";
    const auto start = std::chrono::steady_clock::now();
    try {
      run();
    } catch (const std::exception& error) {
      verdict = std::string("FAILED: ") + error.what();
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%-17s %6.1f s  %5.1f GiB  %s\n", known, seconds.count(), peak_gibibytes(), verdict.c_str());
    return verdict == "ok" ? 0 : 1;
  }
  std::fprintf(stderr, "usage: large_pools --list | <name>\n");
  return 2;
}
