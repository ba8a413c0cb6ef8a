// A progress bar for the terminal.
#pragma once

#include <chrono>
#include <string>

/// A format string with one line of numbers in it.
template <class... Arguments>
std::string format(const char* pattern, Arguments... arguments) {
  char line[512];
  std::snprintf(line, sizeof line, pattern, arguments...);
  return line;
}

/// "7 s", "12:34 min".
inline std::string duration(double seconds) {
  const long whole = static_cast<long>(seconds + 0.5);
  return whole < 60 ? format("%ld s", whole) : format("%ld:%02ld min", whole / 60, whole % 60);
}

/// One line that redraws itself in a terminal and stays silent where the output is a file; finish() replaces it
/// with a line that stays.
class Progress {
 public:
  Progress(std::string label, long steps, bool quiet = false);

  /// Shows that `done` of the steps are over; redraws at most ten times a second.
  void show(long done, const std::string& text);
  void finish(const std::string& text);

 private:
  std::string label_;
  long steps_;
  bool quiet_, terminal_;
  std::chrono::steady_clock::time_point drawn_{};
};
