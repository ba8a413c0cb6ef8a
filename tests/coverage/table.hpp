// What the units of the coverage table hand to its program.
#pragma once

#include <string>
#include <vector>

struct CoverageRow {
  std::string pool, nchw, nhwc;
};

struct Coverage {
  std::vector<CoverageRow> rows;
  bool right = true;
};

Coverage float_coverage();
Coverage double_coverage();
Coverage half_coverage();
Coverage bfloat16_coverage();
