// The first check of every reader.
#pragma once

#include "poolhead/core/error.hpp"

#include <filesystem>
#include <system_error>

namespace poolhead::inline POOLHEAD_ISA::detail {

/// Throws FileError unless path is a regular file. To be asked before opening: to open a pipe would wait for
/// its writer, and a directory opens but does not read.
inline void require_regular_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) fail<FileError>(path.string(), ": no such file");
  if (error) fail<FileError>(path.string(), ": cannot be opened: ", error.message());
  if (!std::filesystem::is_regular_file(status)) fail<FileError>(path.string(), ": is not a regular file");
}

}  // namespace poolhead::inline POOLHEAD_ISA::detail
