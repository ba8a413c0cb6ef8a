#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace {

/// A line that is wider than the terminal would wrap, and what wraps cannot be drawn over.
long terminal_width() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Progress::Progress(std::string label, long steps, bool quiet)
    : label_(std::move(label)),
      steps_(steps),
      quiet_(quiet),
      terminal_(!quiet && isatty(fileno(stdout)) == 1) {}

void Progress::show(long done, const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || (done < steps_ && now - drawn_ < std::chrono::milliseconds(100))) return;
  drawn_ = now;
  const long columns = terminal_width() - 1;
  std::string line = label_ + ' ';
  const long room = columns - static_cast<long>(line.size() + text.size()) - 3;
  if (const long width = std::min(room, 24L); width >= 6) {
    const auto filled = static_cast<std::size_t>(done * width / std::max(steps_, 1L));
    line += '[' + std::string(filled, '#') + std::string(static_cast<std::size_t>(width) - filled, '.') + "] ";
  }
  line = (line + text).substr(0, static_cast<std::size_t>(columns));
  std::printf("\r\033[K%s", line.c_str());
  std::fflush(stdout);
}

void Progress::finish(const std::string& text) {
  if (quiet_) return;
  std::printf("%s%s %s\n", terminal_ ? "\r\033[K" : "", label_.c_str(), text.c_str());
  std::fflush(stdout);
}
