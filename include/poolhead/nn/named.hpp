// Names of parts: a parameter's name follows from the composition it stands in.
#pragma once

#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// A string that can be a template argument.
template <std::size_t N>
struct FixedString {
  char text[N]{};
  constexpr FixedString(const char (&value)[N]) { std::copy_n(value, N, text); }
  constexpr operator std::string_view() const { return {text, N - 1}; }
  constexpr bool operator==(const FixedString&) const = default;
};

/// A layer with a name; in every other respect the layer itself.
template <FixedString Name, class L>
struct Named : L {
  static constexpr std::string_view part_name = Name;
};

/// named<"fc">(layer): its parameters are fc.weight and fc.bias, instead of going by the layer's index.
template <FixedString Name, class L>
Named<Name, L> named(L layer) {
  return {std::move(layer)};
}

/// A part whose parameters carry no prefix of its own: a grouping that the names do not show.
template <class L>
Named<"", L> unprefixed(L layer) {
  return {std::move(layer)};
}

namespace detail {

/// The name of part I of a composition: its own, else its index (of PartName<void> always).
template <class Part>
class PartName {
 public:
  explicit PartName(std::size_t index) {
    if constexpr (requires { Part::part_name; }) {
      name_ = Part::part_name;
    } else {
      const int length = std::snprintf(digits_, sizeof digits_, "%zu", index);
      name_ = {digits_, static_cast<std::size_t>(length)};
    }
  }
  operator std::string_view() const { return name_; }

 private:
  char digits_[24];
  std::string_view name_;
};

/// The name of what a wrapper holds: its own, else none, so that the wrapper does not show.
template <class Part>
constexpr std::string_view wrapped_name() {
  if constexpr (requires { Part::part_name; })
    return Part::part_name;
  else
    return {};
}

template <class Tuple, class F>
void each_index(const F& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) { (f(std::integral_constant<std::size_t, I>{}), ...); }
  (std::make_index_sequence<std::tuple_size_v<Tuple>>{});
}

/// What compositions have in common: parts in a tuple, named by themselves or by their index.
template <class... Parts>
struct Composition {
  static constexpr bool is_composition = true;

  std::tuple<Parts...> parts;

  explicit Composition(Parts... given) : parts(std::move(given)...) {}

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    each_index<std::tuple<Parts...>>([&](auto i) {
      f(PartName<std::tuple_element_t<i, std::tuple<Parts...>>>(i), std::get<i>(self.parts)...);
    });
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
