// safetensors: what is written is read back, the file is replaced whole, and a malformed one gets its sentence.
#include "poolhead/io/weights.hpp"

#include "support/catch.hpp"

#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

namespace ph = poolhead;
namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;

namespace {
/// A fresh directory, removed with everything in it.
struct Directory {
  fs::path path = fs::temp_directory_path() / ("poolhead_safetensors_test_" + std::to_string(::getpid()));

  Directory() { fs::create_directories(path); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { fs::remove_all(path); }

  fs::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }
  std::ptrdiff_t files() const { return std::distance(fs::directory_iterator(path), {}); }
};

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A file of this header and so many zero bytes of data.
std::string with_header(std::string_view header, std::size_t data = 0) {
  const std::uint64_t size = header.size();
  std::string file(sizeof size, '\0');
  std::memcpy(file.data(), &size, sizeof size);
  return file.append(header).append(data, '\0');
}

template <class T>
ph::StoredTensor stored(const std::vector<T>& values, const std::vector<ph::Index>& shape) {
  return ph::store_tensor(std::span<const T>(values), std::span<const ph::Index>(shape));
}

template <class T>
std::vector<T> values_of(const ph::StoredTensor& tensor, std::size_t size) {
  std::vector<T> values(size);
  ph::copy_values(tensor, std::span(values));
  return values;
}

template <class Error = ph::FileError, class F>
std::string sentence(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// A leaf and a composition, as a network has them.
template <class T>
struct Leaf {
  Eigen::Tensor<T, 2, Eigen::RowMajor> weight{2, 3};
  Eigen::Tensor<T, 1, Eigen::RowMajor> bias{2};

  static constexpr auto parameters() {
    return std::tuple{ph::detail::Member{"weight", &Leaf::weight}, ph::detail::Member{"bias", &Leaf::bias}};
  }
};

template <class T>
struct Network {
  Leaf<T> first, second;

  static constexpr bool is_composition = true;
  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    f("first", self.first...);
    f("fc.2", self.second...);
  }
  explicit Network(float start) {
    ph::visit_parameters(*this, [&](std::string_view, auto values) {
      for (auto& value : values) value = T(start += 0.25f);
    });
  }
  std::vector<double> values() const {
    std::vector<double> all;
    ph::visit_parameters(*this, [&](std::string_view, auto part) {
      for (const auto& value : part) all.push_back(static_cast<double>(value));
    });
    return all;
  }
};
}  // namespace

TEST_CASE("a safetensors file gives back what was written") {
  const Directory directory;
  const fs::path path = directory.path / "a.safetensors";
  ph::TensorFile file;
  file.metadata = {{"format", "pt"}, {"name \"\n", "Grüße"}};
  file.tensors["half"] = stored<Eigen::half>({Eigen::half(1.5f), Eigen::half(-2.0f), Eigen::half(0.0f)}, {3});
  file.tensors["bfloat"] = stored<Eigen::bfloat16>({Eigen::bfloat16(3.0f)}, {1, 1});
  file.tensors["float"] = stored<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  file.tensors["double"] = stored<double>({0.1}, {});
  file.tensors["steps"] = stored<std::int64_t>({-7}, {});
  file.tensors["empty"] = stored<float>({}, {0, 5});
  file.tensors["größe\t\"1\""] = stored<float>({7}, {1});
  ph::write_safetensors(path, file);

  const ph::TensorFile read = ph::read_safetensors(path);
  CHECK(read.metadata == file.metadata);
  REQUIRE(read.tensors.size() == file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) {
    CAPTURE(name);
    REQUIRE(read.tensors.contains(name));
    const ph::StoredTensor& other = read.tensors.at(name);
    CHECK(other.dtype == tensor.dtype);
    CHECK(other.shape == tensor.shape);
    CHECK((other.bytes == tensor.bytes));
  }

  SECTION("the data begin at a multiple of 8, and wider elements come first") {
    const std::string bytes = bytes_of(path);
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    CHECK(header % 8 == 0);
    double first = 0;
    std::memcpy(&first, bytes.data() + 8 + header, sizeof first);
    CHECK(first == 0.1);
  }
  SECTION("the same values make the same bytes") {
    const std::string bytes = bytes_of(path);
    ph::write_safetensors(path, read);
    CHECK((bytes_of(path) == bytes));
  }
  SECTION("no tensors are fine") {
    ph::write_safetensors(path, {});
    CHECK(bytes_of(path) == with_header("{}      "));
    CHECK(ph::read_safetensors(path).tensors.empty());
  }
}

TEST_CASE("values convert between the floating dtypes") {
  const ph::StoredTensor tensor = stored<double>({1.0 / 3, -65520, 1e300}, {3});
  CHECK(values_of<double>(tensor, 3) == std::vector{1.0 / 3, -65520.0, 1e300});
  CHECK(values_of<float>(tensor, 3) ==
        std::vector{1.0f / 3, -65520.0f, std::numeric_limits<float>::infinity()});
  CHECK(static_cast<float>(values_of<Eigen::half>(tensor, 3)[0]) == 0.333251953125f);
  CHECK(static_cast<float>(values_of<Eigen::half>(tensor, 3)[1]) == -std::numeric_limits<float>::infinity());
  CHECK(static_cast<float>(values_of<Eigen::bfloat16>(tensor, 3)[0]) == 0.333984375f);

  const std::vector<Eigen::half> halves{Eigen::half(0.333251953125f)};
  CHECK(values_of<double>(stored(halves, {1}), 1)[0] == 0.333251953125);
  CHECK(static_cast<float>(values_of<Eigen::bfloat16>(stored(halves, {1}), 1)[0]) == 0.333984375f);
  const std::vector<Eigen::bfloat16> brains{Eigen::bfloat16(0.333984375f)};
  CHECK(values_of<float>(stored(brains, {1}), 1)[0] == 0.333984375f);
  CHECK(values_of<std::int64_t>(stored<std::int64_t>({1LL << 62}, {}), 1)[0] == 1LL << 62);

  CHECK_THAT(sentence<ph::ValueError>([&] { values_of<float>(tensor, 2); }),
             ContainsSubstring("has 3 elements, expected 2"));
  CHECK_THAT(sentence<ph::ValueError>([&] { values_of<float>(stored<std::int64_t>({1}, {}), 1); }),
             ContainsSubstring("I64 does not convert to F32"));
  CHECK_THAT(sentence<ph::ValueError>([&] { values_of<std::int64_t>(stored<float>({1}, {}), 1); }),
             ContainsSubstring("F32 does not convert to I64"));
  CHECK_THAT(sentence<ph::ValueError>([&] {
               stored<float>({1, 2}, {3});
             }),
             ContainsSubstring("2 values cannot have shape [3]"));
}

TEST_CASE("read_safetensors says in one sentence what is wrong with a file") {
  const Directory directory;
  const auto error = [&](std::string_view bytes) {
    const fs::path path = directory.write("bad", bytes);
    const std::string text = sentence([&] { ph::read_safetensors(path); });
    CHECK_THAT(text, Catch::Matchers::StartsWith(path.string() + ": "));
    CHECK_THAT(text, !ContainsSubstring("\n"));
    return text;
  };
  const auto header_error = [&](std::string_view header, std::size_t data = 0) {
    return error(with_header(header, data));
  };
  // One tensor called a, of 8 bytes, with one of its three values replaced.
  const auto tensor_error = [&](const std::string& dtype, const std::string& shape,
                                const std::string& offsets) {
    return header_error(
        R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}", 8);
  };
  const std::string a_float = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";

  SECTION("the length of the header") {
    CHECK_THAT(error(""), ContainsSubstring("has 0 bytes, too few for a safetensors file"));
    CHECK_THAT(error(std::string(7, '\0')), ContainsSubstring("has 7 bytes, too few"));
    CHECK_THAT(error(std::string("\x03\0\0\0\0\0\0\0{}", 10)),
               ContainsSubstring("header claims 3 bytes, but only 2 follow"));
    CHECK_THAT(error(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10)),
               ContainsSubstring("header claims 100000001 bytes, the limit is 100000000"));
    CHECK_THAT(error(std::string("\0\xe1\xf5\x05\0\0\0\0{}", 10)),
               ContainsSubstring("100000000 bytes, but only 2 follow"));
    CHECK_THAT(error(std::string(8, '\xff')),
               ContainsSubstring("header claims 18446744073709551615 bytes, the limit is"));
  }
  SECTION("the header as JSON") {
    CHECK_THAT(header_error(""), ContainsSubstring("header does not begin with '{' at byte 8"));
    CHECK_THAT(header_error(" {}"), ContainsSubstring("header does not begin with '{'"));
    CHECK_THAT(header_error("[]"), ContainsSubstring("header does not begin with '{'"));
    CHECK_THAT(header_error("\xef\xbb\xbf{}"), ContainsSubstring("header does not begin with '{'"));
    CHECK_THAT(header_error("{"), ContainsSubstring("header is not JSON in UTF-8 at byte 9"));
    CHECK_THAT(header_error("{} {}"), ContainsSubstring("header is not JSON in UTF-8 at byte 11"));
    CHECK_THAT(header_error("{\"a\":1,}"), ContainsSubstring("header is not JSON in UTF-8 at byte 15"));
    CHECK_THAT(header_error("{\"\xff\":1}"), ContainsSubstring("header is not JSON in UTF-8 at byte 10"));
    CHECK_THAT(header_error("{\"\xc0\xaf\":1}"), ContainsSubstring("header is not JSON in UTF-8"));
    CHECK_THAT(header_error("{\"\xed\xa0\x80\":1}"), ContainsSubstring("header is not JSON in UTF-8"));
    CHECK_THAT(header_error(std::string_view("{}\0", 3)),
               ContainsSubstring("header has a zero byte at byte 10"));
    CHECK_THAT(header_error("{\"a\":1e999}"), ContainsSubstring("header has a number too large to read"));
    CHECK_THAT(header_error("{\"a\":" + std::string(1'000'000, '[')),
               ContainsSubstring("header is nested too deeply"));
    CHECK_THAT(header_error("{\"a\":{\"b\":{\"c\":{\"d\":1}}}}"),
               ContainsSubstring("header is nested too deeply"));
    CHECK_THAT(header_error("{}  ", 1), ContainsSubstring("holds 1 bytes of data, expected 0 from its header"));
  }
  SECTION("names that appear twice") {
    CHECK_THAT(header_error("{" + a_float + "," + a_float + "}", 4),
               ContainsSubstring("header has \"a\" twice"));
    CHECK_THAT(header_error("{" + a_float + R"(,"\u0061":1})", 4), ContainsSubstring("header has \"a\" twice"));
    CHECK_THAT(header_error(R"({"a":{"dtype":"F32","dtype":"F64","shape":[1],"data_offsets":[0,4]}})", 4),
               ContainsSubstring("header has \"dtype\" twice"));
    CHECK_THAT(header_error(R"({"__metadata__":{"k":"1","k":"2"}})"),
               ContainsSubstring("header has \"k\" twice"));
    CHECK_THAT(header_error(R"({"__metadata__":{},"__metadata__":{}})"),
               ContainsSubstring("has \"__metadata__\" twice"));
  }
  SECTION("the metadata") {
    CHECK_THAT(header_error(R"({"__metadata__":[]})"), ContainsSubstring("__metadata__ is not an object"));
    CHECK_THAT(header_error(R"({"__metadata__":{"k":1}})"),
               ContainsSubstring("__metadata__ entry \"k\" is not a string"));
  }
  SECTION("an entry") {
    CHECK_THAT(header_error(R"({"a":7})"), ContainsSubstring("tensor \"a\" is not an object"));
    CHECK_THAT(header_error(R"({"a\n\u001b\u00e9":7})"),
               ContainsSubstring(R"(tensor "a\n\u001b\u00e9" is not an object)"));
    CHECK_THAT(header_error(R"({"a":{"shape":[1],"data_offsets":[0,4]}})"),
               ContainsSubstring("tensor \"a\" has no dtype"));
    CHECK_THAT(header_error(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})"),
               ContainsSubstring("tensor \"a\" has no shape"));
    CHECK_THAT(header_error(R"({"a":{"dtype":"F32","shape":[1]}})"),
               ContainsSubstring("tensor \"a\" has no data_offsets"));
    CHECK_THAT(header_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4),
               ContainsSubstring("tensor \"a\" has more than dtype, shape and data_offsets"));
  }
  SECTION("dtype, shape and offsets") {
    CHECK_THAT(tensor_error(R"("U8")", "[8]", "[0,8]"),
               ContainsSubstring("has dtype \"U8\", expected F16, BF16, F32"));
    CHECK_THAT(tensor_error("4", "[2]", "[0,8]"), ContainsSubstring("has dtype of another kind, expected F16"));
    CHECK_THAT(tensor_error(R"("F32")", "2", "[0,8]"), ContainsSubstring("tensor \"a\": shape is not a list"));
    for (const char* bad : {"[-2]", "[2.0]", "[\"2\"]", "[[]]", "[9223372036854775808]", "[true]"}) {
      CHECK_THAT(tensor_error(R"("F32")", bad, "[0,8]"),
                 ContainsSubstring("tensor \"a\": shape has an element that is not a whole number from 0 to"));
    }
    CHECK_THAT(tensor_error(R"("F32")", "[2]", "{}"),
               ContainsSubstring("tensor \"a\": data_offsets is not a list"));
    CHECK_THAT(tensor_error(R"("F32")", "[2]", "[-1,8]"),
               ContainsSubstring("data_offsets has an element that is not"));
    for (const char* bad : {"[]", "[0]", "[0, 8, 8]", "[8, 0]"}) {
      CHECK_THAT(tensor_error(R"("F32")", "[2]", bad),
                 ContainsSubstring(std::string("has data_offsets ") + bad +
                                   ", expected [begin, end] with begin <= end"));
    }
    CHECK_THAT(tensor_error(R"("F32")", "[3]", "[0,8]"),
               ContainsSubstring("tensor \"a\" has 8 bytes, expected 12 for F32 of shape [3]"));
    CHECK_THAT(tensor_error(R"("F64")", "[]", "[0,4]"),
               ContainsSubstring("has 4 bytes, expected 8 for F64 of shape []"));
    CHECK_THAT(tensor_error(R"("F32")", "[4294967296,1073741824]", "[0,0]"),
               ContainsSubstring("has shape [4294967296, 1073741824], which is too large"));
    CHECK_THAT(tensor_error(R"("F32")", "[4611686018427387904,4]", "[0,8]"),
               ContainsSubstring("which is too large"));
    CHECK_THAT(tensor_error(R"("F32")", "[9223372036854775807,0]", "[0,8]"),
               ContainsSubstring("has 8 bytes, expected 0"));
  }
  SECTION("the data") {
    const auto two = [&](const std::string& offsets, std::size_t data) {
      return header_error("{" + a_float + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":)" + offsets + "}}",
                          data);
    };
    CHECK_THAT(two("[2,6]", 8),
               ContainsSubstring("tensor \"b\" begins at data byte 2, expected 4 (tensors overlap)"));
    CHECK_THAT(two("[0,4]", 4), ContainsSubstring("begins at data byte 0, expected 4 (tensors overlap)"));
    CHECK_THAT(two("[5,9]", 9), ContainsSubstring("tensor \"b\" begins at data byte 5, expected 4 (a hole)"));
    CHECK_THAT(two("[4,8]", 9), ContainsSubstring("holds 9 bytes of data, expected 8 from its header"));
    CHECK_THAT(two("[4,8]", 7), ContainsSubstring("holds 7 bytes of data, expected 8 from its header"));
    CHECK_THAT(tensor_error(R"("F32")", "[1]", "[4,8]"),
               ContainsSubstring("begins at data byte 4, expected 0 (a hole)"));
  }
  SECTION("not a file") {
    CHECK_THAT(sentence([&] { ph::read_safetensors(directory.path); }),
               ContainsSubstring("is not a regular file"));
    CHECK_THAT(sentence([&] { ph::read_safetensors(directory.path / "none"); }),
               ContainsSubstring("none: no such file"));
  }
}

TEST_CASE("read_safetensors takes what other writers produce") {
  const Directory directory;
  // Entries in any order, padding, an empty tensor in between, escapes in names.
  const std::string header =
      R"({"__metadata__":{},"b\u00e9":{"data_offsets":[4,8],"dtype":"F32","shape":[]},)"
      R"( "e":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]}, "a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}}    )";
  const ph::TensorFile file = ph::read_safetensors(directory.write("other", with_header(header, 8)));
  CHECK(file.tensors.size() == 3);
  CHECK(file.tensors.at("a").shape == std::vector<ph::Index>{2, 1});
  CHECK(file.tensors.at("b\xc3\xa9").bytes.size() == 4);
  CHECK(file.tensors.at("e").dtype == ph::DType::i64);
}

TEST_CASE("write_safetensors replaces a file as a whole or leaves it as it was") {
  const Directory directory;
  const fs::path path = directory.path / "a.safetensors";
  ph::TensorFile file;
  file.tensors["a"] = stored<float>({1, 2}, {2});
  ph::write_safetensors(path, file);
  const std::string before = bytes_of(path);

  SECTION("the mode is kept") {
    fs::permissions(path, fs::perms(0640));
    ph::write_safetensors(path, {});
    CHECK(fs::status(path).permissions() == fs::perms(0640));
    CHECK(bytes_of(path) != before);
    CHECK(directory.files() == 1);
  }
  SECTION("a reader that has the old file open keeps it") {
    std::ifstream reader(path, std::ios::binary);
    ph::write_safetensors(path, {});
    CHECK(std::string(std::istreambuf_iterator<char>(reader), {}) == before);
  }
  SECTION("a link is followed") {
    fs::create_symlink("a.safetensors", directory.path / "link");
    ph::write_safetensors(directory.path / "link", {});
    CHECK(fs::is_symlink(directory.path / "link"));
    CHECK(bytes_of(path) != before);
  }
  SECTION("a path without a directory is in the current one") {
    const fs::path old = fs::current_path();
    fs::current_path(directory.path);
    ph::write_safetensors("b.safetensors", file);
    fs::current_path(old);
    CHECK((bytes_of(directory.path / "b.safetensors") == before));
  }
  SECTION("values that make no file") {
    const auto error = [&] {
      const std::string text = sentence<ph::ValueError>([&] { ph::write_safetensors(path, file); });
      CHECK((bytes_of(path) == before));
      CHECK(directory.files() == 1);
      return text;
    };
    file.tensors["a"].shape = {3};
    CHECK_THAT(error(), ContainsSubstring("tensor \"a\" has 8 bytes, which is not F32 of shape [3]"));
    file.tensors["a"].shape = {-2};
    CHECK_THAT(error(), ContainsSubstring("which is not F32 of shape [-2]"));
    file.tensors["a"] = {ph::DType::f32, {0, -2}, {}};
    CHECK_THAT(error(), ContainsSubstring("has 0 bytes, which is not F32 of shape [0, -2]"));
    file.tensors["a"] = stored<float>({1, 2}, {2});
    file.metadata["k"] = "\xff";
    CHECK_THAT(error(), ContainsSubstring("a name or text is not UTF-8"));
    file.metadata.clear();
    file.tensors["__metadata__"] = file.tensors["a"];
    CHECK_THAT(error(), ContainsSubstring("a tensor cannot be called __metadata__"));
  }
  SECTION("places that take no file") {
    const auto error = [&](const fs::path& target) {
      return sentence([&] { ph::write_safetensors(target, file); });
    };
    CHECK_THAT(error(directory.path / "none" / "a"),
               ContainsSubstring("none/a: cannot be created: No such file"));
    CHECK_THAT(error(directory.path), ContainsSubstring("is not a regular file"));
    CHECK_THAT(error("/dev/null"), ContainsSubstring("/dev/null: is not a regular file"));
    // The temporary file fits here, its target does not: it must not stay.
    CHECK_THAT(error(directory.path / std::string(300, 'x')),
               ContainsSubstring("cannot be replaced: File name too long"));
    CHECK(directory.files() == 1);
  }
  SECTION("a write that fails half-way") {
    struct rlimit old {};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
    const struct rlimit small { 100, old.rlim_max };
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    file.tensors["a"] = stored(std::vector<float>(1000), {1000});
    const std::string text = sentence([&] { ph::write_safetensors(path, file); });
    ::setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, handler);
    CHECK_THAT(text, ContainsSubstring("a.safetensors: cannot be written: File too large"));
    CHECK((bytes_of(path) == before));
    CHECK(directory.files() == 1);
  }
}

TEST_CASE("parameters travel through a file, in every scalar type") {
  const Directory directory;
  const fs::path path = directory.path / "weights.safetensors";
  const Network<float> network(1);
  ph::save_parameters(path, network, {{"epoch", "3"}});
  const ph::TensorFile file = ph::read_safetensors(path);
  CHECK(file.metadata.at("epoch") == "3");
  CHECK(file.tensors.size() == 4);
  CHECK(file.tensors.at("fc.2.weight").shape == std::vector<ph::Index>{2, 3});

  const auto check = [&](auto other) {
    REQUIRE(other.values() != network.values());
    ph::load_parameters(path, other);
    CHECK(other.values() == network.values());
  };
  check(Network<float>(9));
  check(Network<double>(9));
  check(Network<Eigen::half>(9));
  check(Network<Eigen::bfloat16>(9));
  ph::save_parameters(path, Network<Eigen::bfloat16>(1));
  CHECK(ph::read_safetensors(path).tensors.at("fc.2.bias").dtype == ph::DType::bf16);
  check(Network<float>(9));
}

TEST_CASE("load_parameters names everything that does not fit, and then changes nothing") {
  const Directory directory;
  const fs::path path = directory.path / "weights.safetensors";
  Network<float> network(1);
  ph::save_parameters(path, network);
  ph::TensorFile file = ph::read_safetensors(path);
  file.tensors.erase("first.bias");
  file.tensors["first.weight"] = stored<float>({1, 2, 3, 4, 5, 6}, {3, 2});
  file.tensors["fc.2.bias"] = stored<std::int64_t>({1, 2}, {2});
  file.tensors["extra\n"] = stored<float>({1}, {1});
  file.tensors["first.b"] = stored<float>({1}, {1});
  ph::write_safetensors(path, file);

  const std::vector<double> before = network.values();
  CHECK(sentence([&] { ph::load_parameters(path, network); }) ==
        path.string() +
            ": first.weight is [3, 2], expected [2, 3]; missing first.bias; fc.2.bias is I64, expected F32; "
            "unexpected \"extra\\n\"; unexpected \"first.b\"");
  CHECK(network.values() == before);
}
