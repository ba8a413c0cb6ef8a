#include "chart.hpp"

#include "progress.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace {

constexpr double width = 420, height = 260, left = 54, right = 12, top = 10, bottom = 36;

/// A step of 1, 2 or 5 times a power of ten, such that about count of them cover the range.
double nice_step(double range, int count) {
  const double rough = range / count, power = std::pow(10.0, std::floor(std::log10(rough)));
  const double share = rough / power;
  return power * (share <= 1.0 ? 1.0 : share <= 2.0 ? 2.0 : share <= 5.0 ? 5.0 : 10.0);
}

std::string number(double value, bool percent) {
  return percent ? format("%.4g %%", 100.0 * value) : format("%.4g", value);
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string line_chart(const std::string& title, const std::vector<Series>& series, bool percent) {
  double least = std::numeric_limits<double>::infinity(), largest = -least;
  std::size_t epochs = 1;
  for (const Series& one : series) {
    epochs = std::max(epochs, one.values.size());
    for (const double value : one.values) {
      if (!std::isfinite(value)) continue;
      least = std::min(least, value);
      largest = std::max(largest, value);
    }
  }
  if (!(least <= largest)) least = 0.0, largest = 1.0;
  if (!(largest - least > 1e-9 * std::abs(largest))) {
    // A line that stays where it is: room around it, of its own size.
    const double room = largest != 0.0 ? 0.5 * std::abs(largest) : 0.5;
    least -= room;
    largest += room;
  }
  const double step = nice_step(largest - least, 4);
  const double low = std::floor(least / step) * step, high = std::ceil(largest / step) * step;
  const auto x = [&](double epoch) {
    return epochs == 1 ? (left + width - right) / 2
                       : left + (width - left - right) * (epoch - 1) / static_cast<double>(epochs - 1);
  };
  const auto y = [&](double value) { return top + (height - top - bottom) * (high - value) / (high - low); };

  std::string svg = "<figure class=\"chart\"><figcaption>" + escaped(title) + "<span class=\"legend\">";
  for (const Series& one : series) {
    svg += format(
               "<span class=\"key\"><svg width=\"22\" height=\"8\" aria-hidden=\"true\"><line class=\"line "
               "c%d%s\" x1=\"1\" x2=\"21\" y1=\"4\" y2=\"4\"/></svg>",
               one.colour, one.dashed ? " dashed" : "") +
           escaped(one.name) + "</span>";
  }
  svg += format("</span></figcaption><svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", width, height) +
         escaped(title) + "\">";
  for (int i = 0; i <= static_cast<int>(std::lround((high - low) / step)); ++i) {
    const double value = low + i * step;
    svg += format("<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>", left, width - right,
                  y(value), y(value));
    svg += format("<text class=\"tick\" x=\"%g\" y=\"%.1f\" text-anchor=\"end\">", left - 6, y(value) + 4) +
           number(std::abs(value) < step * 1e-6 ? 0.0 : value, percent) + "</text>";
  }
  const double last = static_cast<double>(epochs);
  const double each = epochs <= 8 ? 1.0 : std::max(1.0, nice_step(last, 6));
  for (double epoch = each; epoch <= last; epoch += each) {
    svg += format("<text class=\"tick\" x=\"%.1f\" y=\"%g\" text-anchor=\"middle\">%g</text>", x(epoch),
                  height - 20, epoch);
  }
  svg += format("<text class=\"tick\" x=\"%g\" y=\"%g\" text-anchor=\"middle\">epoch</text>",
                (left + width - right) / 2, height - 4);
  for (const Series& one : series) {
    std::string path, dots;
    bool pen_down = false;
    for (std::size_t i = 0; i < one.values.size(); ++i) {
      if (!std::isfinite(one.values[i])) {
        pen_down = false;
        continue;
      }
      const double at_x = x(static_cast<double>(i + 1)), at_y = y(one.values[i]);
      path += format("%s%.1f %.1f", pen_down ? "L" : "M", at_x, at_y);
      pen_down = true;
      dots += format("<circle class=\"dot c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%g\"><title>", one.colour, at_x,
                     at_y, epochs > 30 ? 1.6 : 2.6) +
              escaped(one.name) + format(", epoch %zu: ", i + 1) + number(one.values[i], percent) +
              "</title></circle>";
    }
    svg += format("<path class=\"line c%d%s\" d=\"", one.colour, one.dashed ? " dashed" : "") + path + "\"/>" +
           dots;
  }
  return svg + "</svg></figure>\n";
}

std::string bar_chart(const std::string& title, const std::vector<Bar>& bars, double from, double to) {
  constexpr double row = 30, label = 104, end = 74;
  const double tall = row * static_cast<double>(bars.size()) + 8;
  const auto x = [&](double value) {
    return label + (width - label - end) * std::clamp((value - from) / (to - from), 0.0, 1.0);
  };
  std::string svg = "<figure class=\"chart\"><figcaption>" + escaped(title) +
                    format("</figcaption><svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", width, tall) +
                    escaped(title) + "\">";
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const Bar& bar = bars[i];
    const double middle = 4 + row * (static_cast<double>(i) + 0.5);
    svg += format("<text class=\"name\" x=\"%g\" y=\"%.1f\" text-anchor=\"end\">", label - 8, middle + 4) +
           escaped(bar.name) + "</text>";
    svg += format("<rect class=\"bar c%zu\" x=\"%g\" y=\"%.1f\" width=\"%.1f\" height=\"%g\" rx=\"2\"><title>",
                  i % 8 + 1, label, middle - 8, std::max(x(bar.value) - label, 1.0), 16.0) +
           escaped(bar.name + ": " + bar.text) + "</title></rect>";
    if (bar.spread > 0.0) {
      svg += format("<path class=\"whisker\" d=\"M%.1f %.1fV%.1fM%.1f %.1fH%.1fM%.1f %.1fV%.1f\"/>",
                    x(bar.value - bar.spread), middle - 4, middle + 4, x(bar.value - bar.spread), middle,
                    x(bar.value + bar.spread), x(bar.value + bar.spread), middle - 4, middle + 4);
    }
    svg += format("<text class=\"value\" x=\"%.1f\" y=\"%.1f\">", x(bar.value + bar.spread) + 6, middle + 4) +
           escaped(bar.text) + "</text>";
  }
  return svg + "</svg></figure>\n";
}
