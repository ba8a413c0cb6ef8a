// read_idx and read_mnist: what they accept, and the sentence for everything they do not.
#include "poolhead/io/mnist.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

namespace ph = poolhead;
namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;

namespace {
std::size_t largest_allocation = 0;
}
// None is inlined: next to a new-expression, malloc() and free() look to GCC like a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  largest_allocation = std::max(largest_allocation, size);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {
using Bytes = std::vector<std::uint8_t>;

/// A fresh directory, removed with everything in it.
struct Directory {
  fs::path path = fs::temp_directory_path() / ("poolhead_idx_test_" + std::to_string(::getpid()));

  Directory() { fs::create_directories(path); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { fs::remove_all(path); }

  fs::path write(const std::string& name, const Bytes& bytes) const {
    std::ofstream file(path / name, std::ios::binary);
    for (const std::uint8_t byte : bytes) file.put(static_cast<char>(byte));
    return path / name;
  }
};

Bytes idx(const std::vector<std::uint32_t>& extents, std::size_t count) {
  Bytes bytes{0, 0, 8, static_cast<std::uint8_t>(extents.size())};
  for (const std::uint32_t extent : extents) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(extent >> shift));
  }
  for (std::size_t i = 0; i < count; ++i) bytes.push_back(static_cast<std::uint8_t>(i * 7));
  return bytes;
}

Bytes gzip(const Bytes& plain) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  Bytes packed(plain.size() + 100);
  Bytes input = plain;
  stream.next_in = input.data();
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

Bytes cut(Bytes bytes, std::size_t size) {
  bytes.resize(size);
  return bytes;
}

Bytes joined(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// The sentence of the FileError that f throws.
template <class F>
std::string sentence(const F& f) {
  try {
    f();
  } catch (const ph::FileError& error) {
    return error.what();
  }
  return "no error";
}
}  // namespace

TEST_CASE("read_idx reads plain and gzip files alike") {
  const Directory directory;
  const Bytes bytes = idx({2, 3, 4}, 24);
  // More than one buffer of the reader and more than one piece of its growth.
  const Bytes large = idx({3, 1000, 1000}, 3'000'000);
  const Bytes members =
      joined(gzip(Bytes(bytes.begin(), bytes.begin() + 10)), gzip(Bytes(bytes.begin() + 10, bytes.end())));

  for (const auto& stored : {bytes, gzip(bytes), members}) {
    const ph::IdxArray array = ph::read_idx(directory.write("a", stored), 3);
    CHECK(array.extents == std::vector<ph::Index>{2, 3, 4});
    CHECK(array.values == Bytes(bytes.begin() + 16, bytes.end()));
  }
  for (const auto& stored : {large, gzip(large)}) {
    const ph::IdxArray array = ph::read_idx(directory.write("a", stored), 3);
    CHECK((array.values == Bytes(large.begin() + 16, large.end())));
    CHECK(array.values.capacity() == array.values.size());
  }
  CHECK(ph::read_idx(directory.write("a", idx({5}, 5)), 1).extents == std::vector<ph::Index>{5});
}

TEST_CASE("read_idx says in one sentence what is wrong with a file") {
  const Directory directory;
  const auto error = [&](const Bytes& bytes, int rank = 3) {
    const fs::path path = directory.write("bad", bytes);
    const std::string text = sentence([&] { ph::read_idx(path, rank); });
    CHECK_THAT(text, Catch::Matchers::StartsWith(path.string() + ": "));
    CHECK_THAT(text, !ContainsSubstring("\n"));
    return text;
  };
  const Bytes good = idx({2, 3, 4}, 24);
  const Bytes packed = gzip(good);

  SECTION("the header") {
    CHECK_THAT(error({}), ContainsSubstring("has 0 bytes of data, too few for an IDX header"));
    CHECK_THAT(error(cut(good, 3)), ContainsSubstring("has 3 bytes of data, too few"));
    CHECK_THAT(error(cut(good, 15)), ContainsSubstring("header ends at byte 15, expected 16 bytes for rank 3"));
    Bytes bytes = good;
    bytes[1] = 9;
    CHECK_THAT(error(bytes),
               ContainsSubstring("is not an IDX file: starts with bytes 0 and 9, expected 0 and 0"));
    bytes = good;
    bytes[2] = 0x0d;
    CHECK_THAT(error(bytes), ContainsSubstring("has type code 13 at byte 2, expected 8 (unsigned bytes)"));
    CHECK_THAT(error(good, 1), ContainsSubstring("has rank 3 at byte 3, expected 1"));
    CHECK_THAT(error(idx({5}, 5), 3), ContainsSubstring("has rank 1 at byte 3, expected 3"));
  }
  SECTION("the extents") {
    CHECK_THAT(error(idx({2, 0, 4}, 0)), ContainsSubstring("extent 1 is 0 at byte 8, expected at least 1"));
    CHECK_THAT(error(idx({0x80000000u, 0x80000000u, 4}, 8)),
               ContainsSubstring("extent 1 is 2147483648 at byte 8, which makes more than 4294967296 values"));
    CHECK_THAT(error(idx({0xffffffffu, 2, 1}, 8)),
               ContainsSubstring("extent 1 is 2 at byte 8, which makes more than"));
  }
  SECTION("the values") {
    CHECK_THAT(error(cut(good, 39)), ContainsSubstring("ends after 23 values, expected 24 from its extents"));
    CHECK_THAT(error(cut(good, 16)), ContainsSubstring("ends after 0 values, expected 24"));
    CHECK_THAT(error(joined(good, {0})),
               ContainsSubstring("goes on after byte 40 of data, where its extents say it ends"));
    CHECK_THAT(error(gzip(cut(good, 39))), ContainsSubstring("ends after 23 values, expected 24"));
    CHECK_THAT(error(gzip(joined(good, {0}))), ContainsSubstring("goes on after byte 40 of uncompressed data"));
  }
  SECTION("gzip") {
    for (std::size_t size = 2; size < packed.size(); ++size) {
      CHECK_THAT(error(cut(packed, size)),
                 ContainsSubstring("gzip data is cut short at byte " + std::to_string(size) + " of the file"));
    }
    Bytes bytes = packed;
    bytes[bytes.size() - 8] ^= 1;
    CHECK_THAT(error(bytes), ContainsSubstring("gzip data is corrupt before byte") &&
                                 ContainsSubstring("incorrect data check"));
    bytes = packed;
    bytes[bytes.size() - 1] ^= 1;
    CHECK_THAT(error(bytes),
               ContainsSubstring("gzip data is corrupt") && ContainsSubstring("incorrect length check"));
    bytes = packed;
    bytes[10] = 0xff;
    CHECK_THAT(error(bytes), ContainsSubstring("gzip data is corrupt"));
    CHECK_THAT(error(joined(packed, {1, 2, 3})),
               ContainsSubstring("gzip data is corrupt") && ContainsSubstring("incorrect header check"));
    CHECK_THAT(error(joined(packed, packed)), ContainsSubstring("goes on after byte 40"));
  }
}

TEST_CASE("read_idx opens regular files only") {
  const Directory directory;
  const auto error = [&](const fs::path& path) { return sentence([&] { ph::read_idx(path, 1); }); };
  const fs::path pipe = directory.path / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THAT(error(directory.path / "none"), ContainsSubstring("none: no such file"));
  CHECK_THAT(error(directory.path), ContainsSubstring("is not a regular file"));
  CHECK_THAT(error(pipe), ContainsSubstring("pipe: is not a regular file"));
  CHECK_THAT(error("/dev/zero"), ContainsSubstring("is not a regular file"));
  CHECK_THAT(error(directory.write("file", idx({1}, 1)) / "below"), ContainsSubstring("below: "));
}

TEST_CASE("read_idx allocates for the bytes that are there, not for those that a header claims") {
  const Directory directory;
  const fs::path claim = directory.write("claim", idx({0xffffffffu}, 1000));
  largest_allocation = 0;
  CHECK_THAT(sentence([&] { ph::read_idx(claim, 1); }),
             ContainsSubstring("ends after 1000 values, expected 4294967295"));
  CHECK(largest_allocation <= 1 << 20);

  // A bomb: a hundred thousand times what its extents ask for.
  const fs::path bomb = directory.write("bomb", gzip(joined(idx({100}, 100), Bytes(10'000'000))));
  largest_allocation = 0;
  CHECK_THAT(sentence([&] { ph::read_idx(bomb, 1); }), ContainsSubstring("goes on after byte 108"));
  CHECK(largest_allocation <= 1 << 16);
}

TEST_CASE("read_mnist reads both splits, plain or gzip") {
  const Directory directory;
  directory.write("train-images-idx3-ubyte", idx({4, 2, 3}, 24));
  directory.write("train-labels-idx1-ubyte.gz", gzip({0, 0, 8, 1, 0, 0, 0, 4, 9, 0, 5, 1}));
  directory.write("t10k-images-idx3-ubyte.gz", gzip(idx({1, 2, 2}, 4)));
  directory.write("t10k-labels-idx1-ubyte", {0, 0, 8, 1, 0, 0, 0, 1, 3});

  const ph::LabelledImages train = ph::read_mnist(directory.path, ph::Split::train);
  CHECK(train.size() == 4);
  CHECK(train.height == 2);
  CHECK(train.width == 3);
  CHECK(train.labels == Bytes{9, 0, 5, 1});
  CHECK(Bytes(train.image(1).begin(), train.image(1).end()) == Bytes{42, 49, 56, 63, 70, 77});

  const ph::LabelledImages validation = ph::read_mnist(directory.path, ph::Split::validation);
  CHECK(validation.size() == 1);
  CHECK(validation.labels == Bytes{3});
}

TEST_CASE("read_mnist says what is missing or does not fit together") {
  const Directory directory;
  const auto error = [&](int num_classes = 10) {
    return sentence([&] { ph::read_mnist(directory.path, ph::Split::train, num_classes); });
  };
  CHECK_THAT(sentence([&] { ph::read_mnist(directory.path / "none", ph::Split::train); }),
             ContainsSubstring("none: is not a directory"));
  CHECK_THAT(error(), ContainsSubstring("has neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz"));
  directory.write("train-images-idx3-ubyte", idx({4, 2, 3}, 24));
  CHECK_THAT(error(), ContainsSubstring("has neither train-labels-idx1-ubyte nor train-labels-idx1-ubyte.gz"));
  CHECK_THAT(sentence([&] { ph::read_mnist(directory.path, ph::Split::validation); }),
             ContainsSubstring("has neither t10k-images-idx3-ubyte nor"));

  directory.write("train-labels-idx1-ubyte", {0, 0, 8, 1, 0, 0, 0, 3, 9, 0, 5});
  CHECK_THAT(error(),
             ContainsSubstring("train-images-idx3-ubyte: has 4 images, expected 3 as train-labels-idx1-ubyte"));
  directory.write("train-labels-idx1-ubyte", {0, 0, 8, 1, 0, 0, 0, 4, 9, 0, 10, 5});
  CHECK_THAT(error(), ContainsSubstring("train-labels-idx1-ubyte: label is 10 at byte 10, expected 0 to 9"));
  CHECK(error(11) == "no error");
  CHECK_THAT(error(10), ContainsSubstring("expected 0 to 9"));
  directory.write("train-labels-idx1-ubyte", {0, 0, 8, 1, 0, 0, 0, 0});
  CHECK_THAT(error(), ContainsSubstring("extent 0 is 0 at byte 4, expected at least 1"));
  directory.write("train-labels-idx1-ubyte", idx({4, 2, 3}, 24));
  CHECK_THAT(error(), ContainsSubstring("train-labels-idx1-ubyte: has rank 3 at byte 3, expected 1"));
}
