#include "rounds.hpp"

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>

namespace poolhead::bench {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Whether another thread of this process is running or wants to. Linux tells; elsewhere the answer is no.
bool others_run() {
#if defined(__linux__)
  const std::string self = std::to_string(gettid());
  std::error_code error;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", error)) {
    if (thread.path().filename() == self) continue;
    std::ifstream file(thread.path() / "stat");
    std::string line;
    std::getline(file, line);
    const auto end_of_name = line.rfind(')');
    if (end_of_name != std::string::npos && end_of_name + 2 < line.size() && line[end_of_name + 2] == 'R')
      return true;
  }
#endif
  return false;
}

void wait_until_quiet() {
  const auto start = Clock::now();
  while (others_run() && since(start) < 0.02) {
  }
}

double time_calls(const Entrant& entrant) {
  const auto start = Clock::now();
  for (int call = 0; call < entrant.calls; ++call) {
    entrant.run();
    benchmark::ClobberMemory();
  }
  return since(start) / entrant.calls;
}

}  // namespace

double Entrant::median() const {
  std::vector<double> sorted = seconds;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

void time_in_turn(std::vector<Entrant>& entrants, double seconds, bool threaded) {
  constexpr double measurable = 20e-6, warm = 4e-3;
  std::vector<double> estimates;
  for (Entrant& entrant : entrants) {
    entrant.run();
    const double once = time_calls(entrant);
    estimates.push_back(once);
    entrant.calls = std::clamp(static_cast<int>(std::ceil(measurable / once)), 1, 100);
  }
  const auto start = Clock::now();
  for (int round = 0; round < 7 || since(start) < seconds; ++round) {
    if (round >= 3 && since(start) > 1.0) break;
    for (std::size_t i = 0; i < entrants.size(); ++i) {
      if (round >= 3 && estimates[i] > std::max(1e-3, 10.0 * estimates[0])) continue;
      if (threaded) wait_until_quiet();
      // Calls before: caches, predictors and workers are then as in a program that pools again and again. One
      // is not enough: a third-level cache that keeps what the second gives up takes several to forget a
      // rival's buffers.
      if (estimates[i] < warm)
        for (const auto before = Clock::now(); since(before) < warm;) entrants[i].run();
      entrants[i].seconds.push_back(time_calls(entrants[i]));
    }
  }
}

}  // namespace poolhead::bench
