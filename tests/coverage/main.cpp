// Prints the table of what every pool can do, as Markdown; the exit code says whether every cell is as it
// should be.
#include <cstdio>
#include <cstdlib>

#include "table.hpp"

int main() {
  const Coverage scalars[] = {float_coverage(), double_coverage(), half_coverage(), bfloat16_coverage()};
  std::printf("| pool | NCHW float | double | half | bfloat16 | NHWC float | double | half | bfloat16 |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|\n");
  for (std::size_t i = 0; i < scalars[0].rows.size(); ++i) {
    std::printf("| `%s` |", scalars[0].rows[i].pool.c_str());
    for (const Coverage& scalar : scalars) std::printf(" %s |", scalar.rows[i].nchw.c_str());
    for (const Coverage& scalar : scalars) std::printf(" %s |", scalar.rows[i].nhwc.c_str());
    std::printf("\n");
  }
  for (const Coverage& scalar : scalars)
    if (!scalar.right) return EXIT_FAILURE;
  return EXIT_SUCCESS;
}
