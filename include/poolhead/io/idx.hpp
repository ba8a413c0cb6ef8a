// IDX, the array format of MNIST and Fashion-MNIST (opt-in: link zlib).
#pragma once

#include "poolhead/core/error.hpp"
#include "poolhead/io/regular_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <zlib.h>

namespace poolhead::inline POOLHEAD_ISA {

/// An array of unsigned bytes: values is (extents[0], extents[1], ...), the last extent fastest.
struct IdxArray {
  std::vector<Index> extents;
  std::vector<std::uint8_t> values;
};

/// The most values that read_idx takes from one file: 4 GiB.
inline constexpr Index max_idx_values = Index{1} << 32;

namespace detail {

/// The bytes of a regular file, inflated on the way where it starts with gzip's magic number.
class MaybeGzipFile {
 public:
  explicit MaybeGzipFile(const std::filesystem::path& path) : name_(path.string()) {
    require_regular_file(path);
    file_.reset(std::fopen(path.c_str(), "rb"));
    if (!file_) fail<FileError>(name_, ": cannot be opened: ", std::strerror(errno));
    refill();
    gzip_ = stream_.avail_in >= 2 && buffer_[0] == 0x1f && buffer_[1] == 0x8b;
    constexpr int gzip_window = 15 + 16;
    if (gzip_ && inflateInit2(&stream_, gzip_window) != Z_OK) fail<FileError>(name_, ": zlib cannot start");
  }
  MaybeGzipFile(const MaybeGzipFile&) = delete;
  MaybeGzipFile& operator=(const MaybeGzipFile&) = delete;
  ~MaybeGzipFile() {
    if (gzip_) inflateEnd(&stream_);
  }

  /// Fills out as far as the file reaches and returns how many bytes that was. Throws FileError where the
  /// file cannot be read, or is gzip that is cut short or corrupt.
  std::size_t read(std::span<std::uint8_t> out) {
    std::size_t filled = 0;
    while (filled < out.size() && (stream_.avail_in > 0 || refill())) {
      // In pieces of at most a buffer, because zlib counts in 32 bits.
      const auto rest = out.subspan(filled, std::min(out.size() - filled, buffer_.size()));
      filled += gzip_ ? inflate_into(rest) : copy_into(rest);
    }
    if (filled < out.size() && gzip_ && !member_complete_) {
      fail<FileError>(name_, ": gzip data is cut short at byte ", bytes_read_, " of the file");
    }
    return filled;
  }

  /// How messages call this file's contents: "data" if stored plain.
  const char* contents() const { return gzip_ ? "uncompressed data" : "data"; }

 private:
  bool refill() {
    const std::size_t count = std::fread(buffer_.data(), 1, buffer_.size(), file_.get());
    if (std::ferror(file_.get())) fail<FileError>(name_, ": cannot be read: ", std::strerror(errno));
    bytes_read_ += count;
    stream_.next_in = buffer_.data();
    stream_.avail_in = static_cast<uInt>(count);
    return count > 0;
  }
  std::size_t copy_into(std::span<std::uint8_t> out) {
    const std::size_t count = std::min(out.size(), std::size_t{stream_.avail_in});
    std::copy_n(stream_.next_in, count, out.data());
    stream_.next_in += count;
    stream_.avail_in -= static_cast<uInt>(count);
    return count;
  }
  std::size_t inflate_into(std::span<std::uint8_t> out) {
    // A gzip file is one or more members; whatever follows the last must not pass as data.
    if (member_complete_) inflateReset(&stream_);
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<uInt>(out.size());
    const int code = inflate(&stream_, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END) {
      fail<FileError>(name_, ": gzip data is corrupt before byte ", bytes_read_ - stream_.avail_in,
                      " of the file: ", stream_.msg ? stream_.msg : "not a deflate stream");
    }
    member_complete_ = code == Z_STREAM_END;
    return out.size() - stream_.avail_out;
  }

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  std::string name_;
  std::unique_ptr<std::FILE, Close> file_;
  std::vector<std::uint8_t> buffer_ = std::vector<std::uint8_t>(std::size_t{1} << 16);
  std::size_t bytes_read_ = 0;
  z_stream stream_{};
  bool gzip_ = false, member_complete_ = false;
};

}  // namespace detail

/// Reads an IDX file of unsigned bytes, plain or gzip: two zero bytes, the type code 0x08, the rank, one
/// big-endian 32-bit extent per dimension, then exactly as many values as the extents multiply to.
///
/// rank is what the caller expects, 1 (labels) to 255; images are rank 3, (N, height, width). Throws FileError
/// where the file is anything else: not a regular file, another type or rank, an extent of 0, more values than
/// limit, cut short, too long, or corrupt gzip. Memory grows with the bytes that are really there,
/// whatever the header claims, and never beyond it. Format: Y. LeCun, "The MNIST database".
inline IdxArray read_idx(const std::filesystem::path& path, int rank, Index limit = max_idx_values) {
  const std::string name = path.string();
  detail::MaybeGzipFile file(path);

  std::array<std::uint8_t, 4> magic{};
  if (const auto count = file.read(magic); count < magic.size()) {
    detail::fail<FileError>(name, ": has ", count, " bytes of ", file.contents(),
                            ", too few for an IDX header");
  }
  if (magic[0] != 0 || magic[1] != 0) {
    detail::fail<FileError>(name, ": is not an IDX file: starts with bytes ", int{magic[0]}, " and ",
                            int{magic[1]}, ", expected 0 and 0");
  }
  if (magic[2] != 0x08) {
    detail::fail<FileError>(name, ": has type code ", int{magic[2]}, " at byte 2, expected 8 (unsigned bytes)");
  }
  if (magic[3] != rank) {
    detail::fail<FileError>(name, ": has rank ", int{magic[3]}, " at byte 3, expected ", rank);
  }

  std::vector<std::uint8_t> header(4 * static_cast<std::size_t>(rank));
  if (const auto count = file.read(header); count < header.size()) {
    detail::fail<FileError>(name, ": header ends at byte ", magic.size() + count, ", expected ",
                            magic.size() + header.size(), " bytes for rank ", rank);
  }
  IdxArray array;
  Index total = 1;
  for (std::size_t i = 0; i < header.size(); i += 4) {
    Index extent = 0;
    for (std::size_t k = 0; k < 4; ++k) extent = extent << 8 | header[i + k];
    if (extent == 0) {
      detail::fail<FileError>(name, ": extent ", i / 4, " is 0 at byte ", magic.size() + i,
                              ", expected at least 1");
    }
    if (extent > limit / total) {
      detail::fail<FileError>(name, ": extent ", i / 4, " is ", extent, " at byte ", magic.size() + i,
                              ", which makes more than ", limit, " values");
    }
    total *= extent;
    array.extents.push_back(extent);
  }

  const auto expected = static_cast<std::size_t>(total);
  constexpr std::size_t first_piece = std::size_t{1} << 20;
  for (std::size_t have = 0; have < expected;) {
    const std::size_t piece = std::min(expected - have, std::max(have, first_piece));
    array.values.reserve(have + piece);  // resize alone would round up to twice the size
    array.values.resize(have + piece);
    const std::size_t count = file.read(std::span(array.values).subspan(have));
    have += count;
    if (count < piece) {
      detail::fail<FileError>(name, ": ends after ", have, " values, expected ", expected, " from its extents");
    }
  }
  // Asking for one byte more also makes zlib check the checksum behind the last one.
  std::array<std::uint8_t, 1> extra{};
  if (file.read(extra) != 0) {
    detail::fail<FileError>(name, ": goes on after byte ", magic.size() + header.size() + expected, " of ",
                            file.contents(), ", where its extents say it ends");
  }
  return array;
}

}  // namespace poolhead::inline POOLHEAD_ISA
