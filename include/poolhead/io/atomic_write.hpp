// Files that are replaced whole or not at all (opt-in; POSIX).
#pragma once

#include "poolhead/core/error.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// A new file in a directory, removed again unless it is renamed to its target.
class TemporaryFile {
 public:
  TemporaryFile(const std::filesystem::path& directory, std::string target) : target_(std::move(target)) {
    // The process id keeps processes apart, the attempt keeps threads and leftovers apart.
    for (int attempt = 0; descriptor_ < 0; ++attempt) {
      path_ = directory / message(".poolhead-", ::getpid(), "-", attempt, ".tmp");
      descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ < 0 && errno != EEXIST) {
        path_.clear();
        give_up("created");
      }
    }
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  void set_mode(mode_t mode) {
    if (::fchmod(descriptor_, mode & 07777) != 0) give_up("given its mode");
  }
  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno != EINTR) give_up("written");
      if (count > 0) bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }
  void rename_to(const std::filesystem::path& path) {
    if (::fsync(descriptor_) != 0) give_up("written");
    const int descriptor = std::exchange(descriptor_, -1);
    if (::close(descriptor) != 0) give_up("written");
    if (::rename(path_.c_str(), path.c_str()) != 0) give_up("replaced");
    path_.clear();
  }

 private:
  [[noreturn]] void give_up(const char* what) const {
    fail<FileError>(target_, ": cannot be ", what, ": ", std::strerror(errno));
  }

  std::string target_;
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace detail

/// Replaces the file at path by the pieces, one after another. Readers, and a machine that loses its power, see
/// the old file or the new one, never a part: it is written beside the target, synced, and renamed over it.
///
/// An existing target keeps its permission bits; a link is followed. Throws FileError where the target is not a
/// regular file or cannot be written; then it is as it was, and nothing else is left.
inline void write_atomically(const std::filesystem::path& path,
                             std::span<const std::span<const std::byte>> pieces) {
  std::error_code error;
  std::filesystem::path target = std::filesystem::canonical(path, error);
  if (error) target = path;
  const std::filesystem::path directory = target.has_parent_path() ? target.parent_path() : ".";

  struct stat existing {};
  const bool exists = ::stat(target.c_str(), &existing) == 0;
  if (exists && !S_ISREG(existing.st_mode)) detail::fail<FileError>(path.string(), ": is not a regular file");

  detail::TemporaryFile file(directory, path.string());
  if (exists) file.set_mode(existing.st_mode);
  for (const auto piece : pieces) file.write(piece);
  file.rename_to(target);

  // The rename itself must survive a crash, too. Some file systems cannot sync a directory and say EINVAL.
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && (::fsync(descriptor) == 0 || errno == EINVAL);
  const int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!synced)
    detail::fail<FileError>(path.string(), ": is written, but not safe yet: ", std::strerror(reason));
}

}  // namespace poolhead::inline POOLHEAD_ISA
