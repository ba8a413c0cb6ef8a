// Contenders, timed in turn.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace poolhead::bench {

struct Entrant {
  std::string name;
  std::function<void()> run;
  int calls = 1;                  // per measurement, so that one takes long enough for the clock
  std::vector<double> seconds{};  // of one call

  Entrant(std::string name_, std::function<void()> run_) : name(std::move(name_)), run(std::move(run_)) {}
  double median() const;
};

/// Rounds in which everybody runs once in turn: at least seven and for `seconds` of time, but not long beyond
/// one second. Whoever takes ten times as long as the first, and more than 1 ms, is left out after the third.
/// threaded: whether to wait before each measurement until no thread but this one runs, so that nobody pays for
/// the spinning workers of who was before.
void time_in_turn(std::vector<Entrant>& entrants, double seconds, bool threaded);

}  // namespace poolhead::bench
