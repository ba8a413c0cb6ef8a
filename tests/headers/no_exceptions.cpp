// Compiled with -fno-exceptions: the pools work, and misuse goes to the error handler.
#include "all_headers.hpp"

#include <cstdio>
#include <cstdlib>

namespace ph = poolhead;

int main() {
  Eigen::Tensor<float, 4, Eigen::RowMajor> x(1, 2, 3, 3);
  x.setConstant(1.0f);
  if (ph::GlobalAveragePool{}(ph::nchw(x))(0, 1) != 1.0f) return EXIT_FAILURE;

  ph::error_handler() = [](const char* message) {
    std::printf("handled: %s\n", message);
    std::exit(EXIT_SUCCESS);
  };
  Eigen::Tensor<float, 2, Eigen::RowMajor> wrong(1, 3);
  ph::GlobalMaxPool pool;
  auto cache = pool.make_cache(ph::nchw(x));
  pool.forward(ph::nchw(x), wrong, cache);
}
