#include "progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

Progress::Progress(std::string label, long steps, bool quiet)
    : label_(std::move(label)),
      steps_(steps),
      quiet_(quiet),
      terminal_(!quiet && isatty(fileno(stdout)) == 1) {}

void Progress::show(long done, const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || (done < steps_ && now - drawn_ < std::chrono::milliseconds(100))) return;
  drawn_ = now;
  constexpr long width = 24;
  const auto filled = static_cast<std::size_t>(done * width / std::max(steps_, 1L));
  const std::string bar = std::string(filled, '#') + std::string(width - filled, '.');
  std::printf("\r\033[K%s [%s] %s", label_.c_str(), bar.c_str(), text.c_str());
  std::fflush(stdout);
}

void Progress::finish(const std::string& text) {
  if (quiet_) return;
  std::printf("%s%s %s\n", terminal_ ? "\r\033[K" : "", label_.c_str(), text.c_str());
  std::fflush(stdout);
}
