#include "report.hpp"

#include "chart.hpp"
#include "explainer.hpp"
#include "progress.hpp"
#include "report_style.hpp"

#include <poolhead/explain/render.hpp>
#include <poolhead/io/picture_file.hpp>
#include <poolhead/version.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

double Comparison::mean() const {
  return std::accumulate(accuracies.begin(), accuracies.end(), 0.0) / static_cast<double>(accuracies.size());
}
double Comparison::spread() const {
  if (accuracies.size() < 2) return 0.0;
  double squares = 0.0;
  for (const double accuracy : accuracies) squares += (accuracy - mean()) * (accuracy - mean());
  return std::sqrt(squares / static_cast<double>(accuracies.size() - 1));
}

std::string spread_text(const Comparison& one) {
  return one.accuracies.size() < 2 ? "-" : format("%.2f", 100.0 * one.spread());
}

std::vector<std::pair<std::string, std::string>> option_list(const TrainOptions& options) {
  std::vector<std::pair<std::string, std::string>> list;
  const auto json = to_json(options);
  for (const auto& [name, value] : json.items()) {
    list.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return list;
}

std::vector<ph::Index> confusion_counts(const Outputs& outputs) {
  std::vector<ph::Index> counts(static_cast<std::size_t>(outputs.classes * outputs.classes));
  for (ph::Index i = 0; i < outputs.size(); ++i) {
    ++counts[static_cast<std::size_t>(outputs.labels[static_cast<std::size_t>(i)] * outputs.classes +
                                      outputs.answer(i))];
  }
  return counts;
}

namespace {

std::string percent(double share) { return format("%.2f %%", 100.0 * share); }

std::string base64(std::span<const std::byte> bytes) {
  constexpr const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? std::to_integer<unsigned>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) {
      text += i + k > bytes.size() ? '=' : digits[group >> (18 - 6 * k) & 63];
    }
  }
  return text;
}

std::string image(const ph::Picture& picture, const std::string& alternative) {
  return format("<img width=\"%td\" height=\"%td\" style=\"--aspect:%td/%td\" alt=\"", picture.width,
                picture.height, picture.width, picture.height) +
         escaped(alternative) + "\" src=\"data:image/png;base64," + base64(ph::encode_png(picture)) + "\">";
}

class Page {
 public:
  explicit Page(const Report& report) : r_(report) {}

  std::string text() {
    html_ =
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n<title>" +
        escaped(r_.title) + "</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>" + report_style +
        "</style>\n</head>\n<body>\n<main>\n<h1>" + escaped(r_.title) + "</h1>\n";
    summary();
    comparison();
    curves();
    confusion();
    mistakes();
    layers();
    options();
    return html_ + "</main>\n</body>\n</html>\n";
  }

 private:
  const Report& r_;
  std::string html_;

  void open(const char* id, const std::string& heading) {
    html_ += format("<section id=\"%s\"><h2>", id) + escaped(heading) + "</h2>\n";
  }
  void close() { html_ += "</section>\n"; }
  std::string class_name(ph::Index label) const {
    return r_.data->class_names[static_cast<std::size_t>(label)];
  }

  void tile(const std::string& value, const std::string& what) {
    html_ += "<div class=\"tile\"><b>" + escaped(value) + "</b><span>" + escaped(what) + "</span></div>\n";
  }
  void summary() {
    const auto& train = r_.data->train;
    html_ += "<p class=\"faint\">" +
             escaped(format("%td training and %td validation images of %td x %td x %td, %td classes, from ",
                            train.size(), r_.data->validation.size(), train.height, train.width, train.channels,
                            r_.data->classes()) +
                     r_.data->source) +
             "</p>\n<div class=\"tiles\">\n";
    if (r_.outputs != nullptr) {
      tile(percent(r_.outputs->accuracy()), "validation accuracy");
      tile(format("%.4f", r_.outputs->loss()), "validation loss");
    }
    if (r_.network != nullptr) {
      tile(format("%td", ph::parameter_count(r_.network->network)), "parameters");
      tile(format("%d", r_.network->card.epoch), "epoch of these weights");
    }
    double seconds = 0.0;
    for (const Epoch& epoch : r_.history) seconds += epoch.seconds;
    if (!r_.history.empty())
      tile(duration(seconds),
           format("training, %zu epoch%s", r_.history.size(), r_.history.size() == 1 ? "" : "s"));
    html_ += "</div>\n";
  }

  void comparison() {
    if (r_.comparison.empty()) return;
    open("comparison", "The same backbone under each head");
    html_ +=
        "<div class=\"wide\"><table><thead><tr><th>head</th><th>parameters</th><th>accuracy</th><th>spread</th>"
        "<th>seeds</th><th>s / epoch</th><th>peak MiB</th></tr></thead><tbody>\n";
    double least = 1.0, largest = 0.0, slowest = 0.0;
    std::vector<Bar> accuracy, time;
    for (const Comparison& one : r_.comparison) {
      html_ +=
          "<tr><td>" + escaped(one.pool) +
          format("</td><td>%td</td><td>%.2f %%</td><td>%s</td><td>%zu</td><td>%.1f</td><td>%.0f</td></tr>\n",
                 one.parameters, 100.0 * one.mean(), spread_text(one).c_str(), one.accuracies.size(),
                 one.seconds_per_epoch, one.peak_megabytes);
      accuracy.push_back({one.pool, one.mean(), one.spread(), percent(one.mean())});
      time.push_back({one.pool, one.seconds_per_epoch, 0.0, format("%.1f s", one.seconds_per_epoch)});
      least = std::min(least, one.mean() - one.spread());
      largest = std::max(largest, one.mean() + one.spread());
      slowest = std::max(slowest, one.seconds_per_epoch);
    }
    // Bars of shares begin at a round number below the worst, which the title tells.
    const double from = std::max(0.0, std::floor(20.0 * (least - 0.02)) / 20.0);
    html_ += "</tbody></table></div>\n<div class=\"charts\" style=\"margin-top:18px\">\n" +
             bar_chart(format("Validation accuracy (bars begin at %.0f %%)", 100.0 * from), accuracy, from,
                       std::max(largest, from + 0.01)) +
             bar_chart("Seconds per epoch", time, 0.0, slowest > 0.0 ? slowest : 1.0);
    std::vector<Series> series;
    for (const Comparison& one : r_.comparison) {
      Series line{one.pool, static_cast<int>(series.size() % 8) + 1, series.size() >= 8, {}};
      for (const Epoch& epoch : one.histories.front()) line.values.push_back(epoch.validation_accuracy);
      series.push_back(std::move(line));
    }
    html_ += line_chart("Validation accuracy, first seed", series, true) + "</div>\n";
    close();
  }

  void curves() {
    if (r_.history.empty()) return;
    open("curves", "Learning curves");
    Series loss{"training", 1, true, {}}, validation_loss{"validation", 2, false, {}};
    Series accuracy = loss, validation_accuracy = validation_loss, rate{"learning rate", 3, false, {}};
    for (const Epoch& epoch : r_.history) {
      loss.values.push_back(epoch.train_loss);
      validation_loss.values.push_back(epoch.validation_loss);
      accuracy.values.push_back(epoch.train_accuracy);
      validation_accuracy.values.push_back(epoch.validation_accuracy);
      rate.values.push_back(epoch.learning_rate);
    }
    html_ += "<div class=\"charts\">\n" + line_chart("Loss", {loss, validation_loss}, false) +
             line_chart("Accuracy", {accuracy, validation_accuracy}, true) +
             line_chart("Learning rate at the end of each epoch", {rate}, false) +
             "</div>\n<p class=\"faint\">Training figures are means over the epoch, while the weights change "
             "(and the "
             "images, with augmentation); validation is after it.</p>\n";
    close();
  }

  void confusion() {
    if (r_.outputs == nullptr) return;
    const ph::Index classes = r_.data->classes();
    if (r_.outputs->classes != classes) return;
    const auto counts = confusion_counts(*r_.outputs);
    const auto at = [&](ph::Index truth, ph::Index answer) {
      return counts[static_cast<std::size_t>(truth * classes + answer)];
    };
    open("confusion", "Confusion matrix");
    html_ +=
        "<p class=\"faint\">Rows are the truth, columns the network's answer; the colour is the share of the "
        "row."
        "</p>\n<div class=\"wide\"><table class=\"confusion\"><thead><tr><th></th>";
    for (ph::Index k = 0; k < classes; ++k) html_ += "<th>" + escaped(class_name(k)) + "</th>";
    html_ += "<th>recall</th></tr></thead><tbody>\n";
    std::vector<ph::Index> answers(static_cast<std::size_t>(classes));
    for (ph::Index truth = 0; truth < classes; ++truth) {
      ph::Index row = 0;
      for (ph::Index k = 0; k < classes; ++k) {
        row += at(truth, k);
        answers[static_cast<std::size_t>(k)] += at(truth, k);
      }
      html_ += "<tr><th>" + escaped(class_name(truth)) + "</th>";
      for (ph::Index k = 0; k < classes; ++k) {
        const double share = row > 0 ? static_cast<double>(at(truth, k)) / static_cast<double>(row) : 0.0;
        html_ += format("<td style=\"--share:%.3f\"%s>%td</td>", 0.6 * std::sqrt(share),
                        at(truth, k) == 0 ? " class=\"faint\"" : "", at(truth, k));
      }
      html_ += row > 0 ? format("<th>%.1f %%</th></tr>\n",
                                100.0 * static_cast<double>(at(truth, truth)) / static_cast<double>(row))
                       : std::string("<th>-</th></tr>\n");
    }
    html_ += "<tr><th>precision</th>";
    for (ph::Index k = 0; k < classes; ++k) {
      const ph::Index column = answers[static_cast<std::size_t>(k)];
      html_ += column > 0 ? format("<th>%.1f %%</th>",
                                   100.0 * static_cast<double>(at(k, k)) / static_cast<double>(column))
                          : std::string("<th>-</th>");
    }
    html_ += "<th></th></tr>\n</tbody></table></div>\n";
    close();
  }

  void mistakes() {
    if (r_.outputs == nullptr || r_.network == nullptr) return;
    std::vector<std::pair<double, ph::Index>> wrong;  // confidence, image
    for (ph::Index i = 0; i < r_.outputs->size(); ++i) {
      const ph::Index answer = r_.outputs->answer(i);
      if (answer == r_.outputs->labels[static_cast<std::size_t>(i)]) continue;
      wrong.emplace_back(softmax(r_.outputs->of(i))[static_cast<std::size_t>(answer)], i);
    }
    std::ranges::sort(wrong, [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    constexpr std::size_t shown = 12;
    open("mistakes", "The most confident mistakes");
    if (wrong.empty()) {
      html_ += "<p>There is none: every validation image is answered rightly.</p>\n";
      return close();
    }
    const std::string layer(network_info(r_.network->card.options.model).features);
    html_ += "<p class=\"faint\">" +
             escaped(format("%zu of %td are wrong. Beside each image: Grad-CAM of the wrong answer at layer ",
                            wrong.size(), r_.outputs->size()) +
                     layer + ", dark violet for nothing, yellow for what spoke most for it.") +
             "</p>\n<div class=\"pictures\">\n";
    for (std::size_t i = 0; i < std::min(shown, wrong.size()); ++i) {
      const ph::Index index = wrong[i].second;
      const auto one = one_of(r_.data->validation, index);
      Explainer explainer(*r_.network, one);
      const ph::Picture picture = magnified(as_picture(one, 0), 112);
      const ph::Picture map = ph::overlay(picture, explainer.map("grad-cam", layer));
      const std::string truth = class_name(one.labels[0]), answer = class_name(explainer.answer());
      html_ += "<figure class=\"picture\"><div>" + image(picture, truth + ", taken for " + answer) +
               image(map, "class activation map of " + answer) + "</div><figcaption><b>" + escaped(answer) +
               format("</b> (%.1f %%), is <b>", 100.0 * wrong[i].first) + escaped(truth) +
               format("</b><span class=\"faint\"> no. %td</span></figcaption></figure>\n", index);
    }
    html_ += "</div>\n";
    close();
  }

  void layers() {
    if (r_.network == nullptr || r_.outputs == nullptr) return;
    const std::string layer(network_info(r_.network->card.options.model).features);
    open("layers", "Layer " + layer + ", before the pool");
    html_ +=
        "<p class=\"faint\">Every channel's activations of one image of each of the first classes: what the "
        "pool "
        "has to sum up. Black is the least value of all channels, white the largest.</p>\n<div "
        "class=\"layers\">\n";
    const ph::Index shown = std::min<ph::Index>(r_.data->classes(), 4);
    for (ph::Index label = 0; label < shown; ++label) {
      const auto& labels = r_.data->validation.labels;
      const auto found = std::find(labels.begin(), labels.end(), static_cast<std::uint8_t>(label));
      if (found == labels.end()) continue;
      const auto one = one_of(r_.data->validation, found - labels.begin());
      const Explainer explainer(*r_.network, one);
      const auto view = explainer.activations(layer).view();
      const ph::Index scale = std::max<ph::Index>(1, 28 / std::max(view.height(), view.width()));
      html_ += "<figure>" + image(ph::activation_grid(view, 0, 0, scale, 2), "activations of " + layer) +
               "<figcaption>" + escaped(class_name(label)) + ", answered <b>" +
               escaped(class_name(explainer.answer())) + "</b></figcaption></figure>\n";
    }
    html_ += "</div>\n";
    close();
  }

  void options() {
    open("options", "Options and versions");
    html_ += "<dl>\n";
    const auto line = [&](const std::string& name, const std::string& value) {
      html_ += "<div><dt>" + escaped(name) + "</dt><dd>" + escaped(value) + "</dd></div>\n";
    };
    for (const auto& [name, value] : r_.options) line(name, value);
    line("poolhead",
         format("%d.%d.%d", POOLHEAD_VERSION_MAJOR, POOLHEAD_VERSION_MINOR, POOLHEAD_VERSION_PATCH));
    line("Eigen", format("%d.%d.%d", EIGEN_WORLD_VERSION, EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION));
#ifdef __clang__
    line("compiler", std::string("Clang ") + __clang_version__);
#else
    line("compiler", std::string("GCC ") + __VERSION__);
#endif
    html_ += "</dl>\n";
    close();
  }
};

}  // namespace

void write_report(const std::filesystem::path& path, const Report& report) {
  const std::string text = Page(report).text();
  const std::array<std::span<const std::byte>, 1> piece{std::as_bytes(std::span(text))};
  ph::write_atomically(path, piece);
}
