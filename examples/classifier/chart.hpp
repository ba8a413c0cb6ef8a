// Charts as SVG text, in the colours of the page's style sheet (see report.cpp): they follow light and dark.
#pragma once

#include <string>
#include <vector>

/// One line of a chart; colour is 1 .. 8, the style sheet's.
struct Series {
  std::string name;
  int colour = 1;
  bool dashed = false;
  std::vector<double> values;  ///< at epochs 1, 2, ...; values that are not finite are left out
};

/// Lines over epochs. percent: the values are shares, shown as per cent.
std::string line_chart(const std::string& title, const std::vector<Series>& series, bool percent);

struct Bar {
  std::string name;
  double value = 0.0, spread = 0.0;
  std::string text;  ///< at its end
};
/// Horizontal bars with their spread.
std::string bar_chart(const std::string& title, const std::vector<Bar>& bars, double from, double to);

/// Text where HTML has signs of its own.
std::string escaped(const std::string& text);
