// What AnyPool is told: the names of pools and their options, and a text taken apart into them.
#pragma once

#include "poolhead/core/error.hpp"

#include <charconv>
#include <concepts>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {

/// A name that AnyPool takes, and the options that may follow it after a colon.
struct PoolName {
  std::string_view name;
  std::string_view options;
};

/// All names that AnyPool takes.
inline std::span<const PoolName> pool_names() {
  static constexpr PoolName names[] = {
      {"avg", ""},
      {"max", ""},
      {"avgmax", ""},
      {"lp", "p, default 2"},
      {"gem", "p, default 3, and \"channels\" for one p per channel: gem:3,channels"},
      {"lse", "r, default 1"},
      {"soft", ""},
      {"spp", "levels, default 1,2,4"},
      {"spp-max", "levels, default 1,2,4"},
      {"adaptive-avg", "height,width"},
      {"adaptive-max", "height,width"},
      {"softmax-attention", "hidden channels, default channels / 16"},
      {"sigmoid-attention", "hidden channels, default channels / 16"},
  };
  return names;
}

namespace detail {

/// One head of an AnyPool's text: a name and its options.
class PoolText {
 public:
  explicit PoolText(std::string_view text) : text_(text), name_(text.substr(0, text.find(':'))) {
    if (name_.size() == text.size()) return;
    for (std::string_view rest = text.substr(name_.size() + 1);;) {
      const std::size_t comma = rest.find(',');
      options_.push_back(rest.substr(0, comma));
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  }

  std::string_view name() const { return name_; }
  std::size_t count() const { return options_.size(); }
  std::string_view option(std::size_t i) const { return options_[i]; }

  /// Option i as a number; fallback where there is none.
  template <class Number>
  Number number(std::size_t i, Number fallback) const {
    if (i >= options_.size()) return fallback;
    const std::string_view option = options_[i];
    Number value{};
    const auto [end, error] = std::from_chars(option.data(), option.data() + option.size(), value);
    if (error != std::errc{} || end != option.data() + option.size())
      fail<ValueError>("AnyPool: \"", option, "\" in \"", text_, "\" is no ",
                       std::floating_point<Number> ? "number" : "whole number");
    return value;
  }
  void check_count(std::size_t least, std::size_t most) const {
    if (count() < least || count() > most)
      fail<ValueError>("AnyPool: \"", text_, "\" has ", count(), " options, expected ", least, " to ", most);
  }
  void check_channels(Index channels) const {
    if (channels < 1)
      fail<ValueError>("AnyPool: \"", text_, "\" needs the number of channels: AnyPool(\"", text_,
                       "\", channels)");
  }

 private:
  std::string_view text_, name_;
  std::vector<std::string_view> options_;
};

[[noreturn]] inline void fail_unknown_pool(std::string_view name) {
  std::string names;
  for (const PoolName& known : pool_names()) names.append(names.empty() ? "" : ", ").append(known.name);
  fail<ValueError>("AnyPool: there is no pool \"", name, "\", expected one of ", names,
                   ", or several joined by +");
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
