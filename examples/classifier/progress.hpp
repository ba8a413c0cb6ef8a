// A progress bar for the terminal.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

/// One line that redraws itself in a terminal and stays silent where the output is a file; finish() replaces it
/// with a line that stays.
class Progress {
 public:
  Progress(std::string label, long steps)
      : label_(std::move(label)), steps_(steps), terminal_(isatty(fileno(stdout)) == 1) {}

  /// Shows that `done` of the steps are over; redraws at most ten times a second.
  void show(long done, const std::string& text) {
    const auto now = std::chrono::steady_clock::now();
    if (!terminal_ || (done < steps_ && now - drawn_ < std::chrono::milliseconds(100))) return;
    drawn_ = now;
    constexpr long width = 30;
    const auto filled = static_cast<std::size_t>(done * width / std::max(steps_, 1L));
    const std::string bar = std::string(filled, '#') + std::string(width - filled, '.');
    std::printf("\r\033[K%s [%s] %s", label_.c_str(), bar.c_str(), text.c_str());
    std::fflush(stdout);
  }

  void finish(const std::string& text) {
    std::printf("%s%s %s\n", terminal_ ? "\r\033[K" : "", label_.c_str(), text.c_str());
    std::fflush(stdout);
  }

 private:
  std::string label_;
  long steps_;
  bool terminal_;
  std::chrono::steady_clock::time_point drawn_{};
};
