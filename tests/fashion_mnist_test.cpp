// The real Fashion-MNIST, read from POOLHEAD_DATA_DIR/fashion-mnist.
#include "poolhead/io/mnist.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <vector>

namespace ph = poolhead;

namespace {
std::uint32_t checksum(const std::vector<std::uint8_t>& bytes) {
  return static_cast<std::uint32_t>(crc32(0, bytes.data(), static_cast<uInt>(bytes.size())));
}

double mean(const std::vector<std::uint8_t>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), 0.0) / static_cast<double>(bytes.size());
}

std::vector<int> first_labels(const ph::LabelledImages& images) {
  return {images.labels.begin(), images.labels.begin() + 10};
}
}  // namespace

TEST_CASE("Fashion-MNIST is read as published") {
  const char* data = std::getenv("POOLHEAD_DATA_DIR");
  if (data == nullptr) SKIP("set POOLHEAD_DATA_DIR to a directory that has fashion-mnist/");
  const std::filesystem::path directory = std::filesystem::path(data) / "fashion-mnist";

  const ph::LabelledImages train = ph::read_mnist(directory, ph::Split::train);
  CHECK(train.size() == 60'000);
  CHECK(train.height == 28);
  CHECK(train.width == 28);
  CHECK(first_labels(train) == std::vector{9, 0, 0, 3, 0, 2, 7, 2, 5, 5});
  CHECK(std::abs(mean(train.pixels) - 72.94) < 0.005);
  CHECK(checksum(train.pixels) == 0xae65dccdu);
  CHECK(checksum(train.labels) == 0x2ed6e46au);

  const ph::LabelledImages validation = ph::read_mnist(directory, ph::Split::validation);
  CHECK(validation.size() == 10'000);
  CHECK(first_labels(validation) == std::vector{9, 2, 1, 1, 6, 1, 4, 6, 5, 7});
  CHECK(checksum(validation.pixels) == 0x12728439u);
  CHECK(checksum(validation.labels) == 0x242bc73fu);
}
