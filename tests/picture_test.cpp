// Pictures: sizes, files, folders of them, and CIFAR-10.
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <poolhead/io/cifar10.hpp>
#include <poolhead/io/image_folder.hpp>

#include "support/catch.hpp"
#include "support/message.hpp"

#include <unistd.h>

using namespace poolhead;
using namespace poolhead::test;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

/// A directory for one test case, removed with it.
struct Scratch {
  fs::path path = fs::temp_directory_path() / ("poolhead-picture-" + std::to_string(::getpid()));
  Scratch() {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Scratch() { fs::remove_all(path); }
};

void write(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}
std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Picture gradient(Index height, Index width, Index channels, int step = 1) {
  Picture picture{height, width, channels, {}};
  for (Index i = 0; i < height * width * channels; ++i) {
    picture.pixels.push_back(static_cast<std::uint8_t>(i * step % 256));
  }
  return picture;
}

std::string refusal(const std::function<void()>& call) { return message_of<FileError>(call); }

}  // namespace

TEST_CASE("a picture keeps what is there when it changes size", "[picture]") {
  const Picture flat{5, 7, 3, std::vector<std::uint8_t>(105, 93)};
  for (const Index size : {1, 3, 5, 16}) {
    const Picture result = resized(flat, size, 2 * size);
    CHECK((result.height == size && result.width == 2 * size && result.channels == 3));
    for (const std::uint8_t value : result.pixels) REQUIRE(value == 93);
  }
  // torch.nn.functional.interpolate, mode bilinear: [0, 100] to four values, and 8 to 2 with antialias.
  CHECK(resized(Picture{1, 2, 1, {0, 100}}, 1, 4).pixels == std::vector<std::uint8_t>{0, 25, 75, 100});
  const std::vector<double> ramp{0, 1, 2, 3, 4, 5, 6, 7};
  const auto two = resize_values(ramp.data(), 1, 8, 1, 1, 2);
  CHECK(two[0] == Approx(1.8928571429).epsilon(1e-9));
  CHECK(two[1] == Approx(5.1071428571).epsilon(1e-9));
  CHECK(resized(gradient(3, 4, 1), 3, 4).pixels == gradient(3, 4, 1).pixels);
  CHECK(message_of<ShapeError>([] { resized(gradient(3, 4, 1), 0, 4); }) ==
        "resize: from 3x4 to 0x4, expected extents of at least 1");
}

TEST_CASE("grey and colour", "[picture]") {
  CHECK(with_channels(Picture{1, 1, 1, {7}}, 3).pixels == std::vector<std::uint8_t>{7, 7, 7});
  CHECK(with_channels(Picture{1, 3, 3, {255, 0, 0, 0, 255, 0, 0, 0, 255}}, 1).pixels ==
        std::vector<std::uint8_t>{76, 150, 29});
}

TEST_CASE("PNG files come back as they were", "[picture]") {
  const Scratch scratch;
  for (const Index channels : {1, 3}) {
    const Picture picture = gradient(9, 5, channels, 7);
    write_png(scratch.path / "p.png", picture);
    const Picture back = read_picture(scratch.path / "p.png");
    CHECK((back.height == 9 && back.width == 5 && back.channels == channels));
    CHECK(back.pixels == picture.pixels);
    CHECK(picture_channels(scratch.path / "p.png") == channels);
  }
  // Transparency shows white.
  const std::vector<std::uint8_t> rgba{200, 100, 0, 0, 200, 100, 0, 255};
  stbi_write_png((scratch.path / "t.png").c_str(), 2, 1, 4, rgba.data(), 8);
  CHECK(read_picture(scratch.path / "t.png").pixels == std::vector<std::uint8_t>{255, 255, 255, 200, 100, 0});
}

TEST_CASE("what is not a picture is refused", "[picture][errors]") {
  const Scratch scratch;
  const fs::path path = scratch.path / "x.png";
  CHECK_THAT(refusal([&] { read_picture(path); }), ContainsSubstring("x.png: no such file"));
  write(path, "");
  CHECK_THAT(refusal([&] { read_picture(path); }), ContainsSubstring("is not an image (PNG or JPEG)"));
  write(path, "some text");
  CHECK_THAT(refusal([&] { read_picture(path); }), ContainsSubstring("is not an image (PNG or JPEG)"));
  write_png(path, gradient(64, 64, 3, 11));
  const std::string whole = read(path);
  write(path, whole.substr(0, whole.size() / 2));
  CHECK_THAT(refusal([&] { read_picture(path); }), ContainsSubstring("is an image that cannot be read"));
  // A header that claims 10,000 x 10,000 pixels.
  std::string bomb = whole;
  bomb.replace(16, 8, std::string("\0\0\x27\x10\0\0\x27\x10", 8));
  write(path, bomb);
  CHECK_THAT(refusal([&] { read_picture(path); }), ContainsSubstring("10000x10000"));
}

TEST_CASE("a folder of images for each class", "[picture]") {
  const Scratch scratch;
  const fs::path root = scratch.path / "data";
  fs::create_directories(root / "cat");
  fs::create_directories(root / "ant");
  for (int i = 0; i < 10; ++i) {
    write_png(root / "cat" / ("c" + std::to_string(i) + ".png"),
              Picture{4, 4, 1, std::vector<std::uint8_t>(16, static_cast<std::uint8_t>(i))});
    write_png(root / "ant" / ("a" + std::to_string(i) + ".PNG"),
              Picture{8, 8, 1, std::vector<std::uint8_t>(64, 100)});
  }
  write(root / "cat" / "notes.txt", "not an image, and passed over");
  auto train = read_image_folder(root, Split::train, {.height = 4, .width = 4});
  auto validation = read_image_folder(root, Split::validation, {.height = 4, .width = 4});
  CHECK(train.class_names == std::vector<std::string>{"ant", "cat"});
  CHECK((train.size() == 16 && validation.size() == 4 && train.channels == 1));
  CHECK(validation.labels == std::vector<std::uint8_t>{0, 0, 1, 1});
  CHECK((validation.image(0)[0] == 100 && validation.image(2)[5] == 4 && validation.image(3)[5] == 9));

  // One colour image makes all of them colour.
  write_png(root / "ant" / "b.png", gradient(5, 6, 3));
  CHECK(read_image_folder(root, Split::validation).channels == 3);

  // Splits of their own.
  fs::create_directories(scratch.path / "split");
  fs::rename(root, scratch.path / "split" / "train");
  CHECK_THAT(refusal([&] { read_image_folder(scratch.path / "split", Split::train); }),
             ContainsSubstring("none called validation, valid, val or test"));
  fs::create_directories(scratch.path / "split" / "val" / "cat");
  CHECK_THAT(refusal([&] { read_image_folder(scratch.path / "split", Split::validation); }),
             ContainsSubstring("cat: has no PNG or JPEG file"));
  write_png(scratch.path / "split" / "val" / "cat" / "x.png", gradient(3, 3, 1));
  CHECK(read_image_folder(scratch.path / "split", Split::validation).labels == std::vector<std::uint8_t>{1});
  CHECK(read_image_folder(scratch.path / "split", Split::train).size() == 21);
  write_png(scratch.path / "split" / "val" / "cat" / "y.png", gradient(3, 3, 1));
  fs::create_directories(scratch.path / "split" / "val" / "dog");
  CHECK_THAT(refusal([&] { read_image_folder(scratch.path / "split", Split::validation); }),
             ContainsSubstring("dog: is a class that"));
  write(scratch.path / "split" / "val" / "cat" / "z.jpg", "no");
  fs::remove(scratch.path / "split" / "val" / "dog");
  CHECK_THAT(refusal([&] { read_image_folder(scratch.path / "split", Split::validation); }),
             ContainsSubstring("z.jpg: is not an image"));
  CHECK_THAT(refusal([&] { read_image_folder(scratch.path / "nowhere", Split::train); }),
             ContainsSubstring("nowhere: cannot be read"));
  fs::create_directories(scratch.path / "empty");
  CHECK_THAT(refusal([&] { read_image_folder(scratch.path / "empty", Split::train); }),
             ContainsSubstring("has 0 folders, expected one for each of 2 to 256 classes"));
}

TEST_CASE("CIFAR-10's binary version", "[picture]") {
  const Scratch scratch;
  const auto record = [](int label, int start) {
    std::string bytes(1, static_cast<char>(label));
    for (int i = 0; i < 3072; ++i) bytes += static_cast<char>((start + i / 1024 * 50 + i % 7) % 256);
    return bytes;
  };
  CHECK(!is_cifar10(scratch.path));
  CHECK_THAT(refusal([&] { read_cifar10(scratch.path, Split::train); }),
             ContainsSubstring("data_batch_1.bin: no such file"));
  write(scratch.path / "data_batch_1.bin", record(3, 0) + record(9, 1));
  write(scratch.path / "data_batch_2.bin", record(0, 2));
  write(scratch.path / "test_batch.bin", record(1, 3));
  CHECK(is_cifar10(scratch.path));
  const auto train = read_cifar10(scratch.path, Split::train);
  CHECK(train.labels == std::vector<std::uint8_t>{3, 9, 0});
  CHECK((train.height == 32 && train.width == 32 && train.channels == 3 && train.class_names[9] == "truck"));
  // Planes become pixels: position 5 of image 1 in red, green, blue.
  CHECK((train.image(1)[15] == 6 && train.image(1)[16] == 1 + 50 + 1029 % 7 &&
         train.image(1)[17] == 1 + 100 + 2053 % 7));
  CHECK(read_cifar10(scratch.path, Split::validation).size() == 1);

  write(scratch.path / "data_batch_2.bin", record(10, 2));
  CHECK_THAT(refusal([&] { read_cifar10(scratch.path, Split::train); }),
             ContainsSubstring("label is 10 at byte 0, expected 0 to 9"));
  write(scratch.path / "data_batch_2.bin", record(1, 2).substr(0, 3000));
  CHECK_THAT(refusal([&] { read_cifar10(scratch.path, Split::train); }),
             ContainsSubstring("has 3000 bytes, expected a multiple of 3073"));
  write(scratch.path / "test_batch.bin", "");
  CHECK_THAT(refusal([&] { read_cifar10(scratch.path, Split::validation); }), ContainsSubstring("has 0 bytes"));
}
