// The --option k=v pairs of a model: whoever reads one says what it may be and what it is by default.
#pragma once

#include <poolhead/core/error.hpp>

#include <charconv>
#include <map>
#include <string>
#include <utility>
#include <vector>

class Options {
 public:
  using Index = poolhead::Index;

  /// Throws ValueError for a pair that is not k=v, or a key that comes twice.
  explicit Options(const std::vector<std::string>& pairs) {
    for (const std::string& pair : pairs) {
      const std::size_t equals = pair.find('=');
      if (equals == std::string::npos || equals == 0) fail("--option ", pair, ": expected key=value");
      if (!given_.emplace(pair.substr(0, equals), pair.substr(equals + 1)).second)
        fail("--option ", pair.substr(0, equals), " is given twice");
    }
  }

  bool has(const std::string& key) const { return given_.contains(key); }

  /// A whole number of at least `least`.
  Index number(const std::string& key, Index fallback, Index least = 1) {
    const std::string text = read(key, std::to_string(fallback));
    Index value = 0;
    if (!parse(text, value) || value < least || value > 1'000'000'000)
      fail("--option ", key, "=", text, ": expected a whole number from ", least, " on");
    return value;
  }
  bool flag(const std::string& key, bool fallback) {
    return choice(key, fallback ? "1" : "0", {"0", "1"}) == "1";
  }
  std::string choice(const std::string& key, const std::string& fallback, const std::vector<std::string>& all) {
    const std::string text = read(key, fallback);
    std::string names;
    for (const std::string& one : all) {
      if (one == text) return text;
      names += (names.empty() ? "" : ", ") + one;
    }
    fail("--option ", key, "=", text, ": expected one of ", names);
  }
  /// Whole numbers of at least 1, joined by commas.
  std::vector<Index> numbers(const std::string& key, const std::string& fallback) {
    const std::string text = read(key, fallback);
    std::vector<Index> values;
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find(',', begin), text.size());
      Index value = 0;
      if (!parse(std::string_view(text).substr(begin, end - begin), value) || value < 1 || value > 100'000)
        fail("--option ", key, "=", text, ": expected whole numbers joined by commas");
      values.push_back(value);
      begin = end + 1;
    }
    return values;
  }

  /// Throws ValueError for a key that nobody has read.
  void check_all_read(const std::string& model) const {
    for (const auto& [key, value] : given_) {
      if (values_.contains(key)) continue;
      std::string known;
      for (const auto& [name, unused] : order_) known += (known.empty() ? "" : ", ") + name;
      fail("--option ", key, ": ", model, " has no such option; it has ", known.empty() ? "none" : known);
    }
  }

  /// " key=value" for all that have been read, in that order.
  std::string text() const {
    std::string line;
    for (const auto& [key, value] : order_) line += " " + key + "=" + value;
    return line;
  }

 private:
  std::map<std::string, std::string> given_, values_;
  std::vector<std::pair<std::string, std::string>> order_;

  template <class... Parts>
  [[noreturn]] static void fail(const Parts&... parts) {
    poolhead::detail::fail<poolhead::ValueError>(parts...);
  }
  static bool parse(std::string_view text, Index& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
  }
  std::string read(const std::string& key, const std::string& fallback) {
    const auto found = given_.find(key);
    const std::string value = found == given_.end() ? fallback : found->second;
    if (values_.emplace(key, value).second) order_.emplace_back(key, value);
    return value;
  }
};
