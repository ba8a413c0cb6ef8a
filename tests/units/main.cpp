#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

using Unit = std::vector<float>(const std::vector<float>&, std::ptrdiff_t, std::ptrdiff_t, std::ptrdiff_t,
                                std::ptrdiff_t);
Unit plain_unit, threaded_unit;

int main() {
#ifdef POOLHEAD_HAS_AVX2
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::puts("SKIPPED: this machine has no AVX2");
    return EXIT_SUCCESS;
  }
#endif
  const std::ptrdiff_t n = 4, c = 67, h = 9, w = 11;
  std::vector<float> map(static_cast<std::size_t>(n * c * h * w));
  for (std::size_t i = 0; i < map.size(); ++i) map[i] = std::sin(static_cast<float>(i));

  const auto plain = plain_unit(map, n, c, h, w), threaded = threaded_unit(map, n, c, h, w);
  if (plain.empty() || plain.size() != threaded.size()) return EXIT_FAILURE;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    // Vectors of different widths add in different orders, so averages may differ in their last bits.
    if (!(std::abs(plain[i] - threaded[i]) <= 1e-6f)) {
      std::printf("result %zu: %.9g in one unit, %.9g in the other\n", i, static_cast<double>(plain[i]),
                  static_cast<double>(threaded[i]));
      return EXIT_FAILURE;
    }
  }
}
