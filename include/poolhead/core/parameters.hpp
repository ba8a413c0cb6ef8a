// Parameters of a value: what optimizers, checkpoints and parity tests walk.
#pragma once

#include "poolhead/core/scalar.hpp"
#include "poolhead/core/shape.hpp"

#include <unsupported/Eigen/CXX11/Tensor>

#include <algorithm>
#include <cstddef>
#include <tuple>

namespace poolhead::inline POOLHEAD_ISA {

/// One parameter's values: contiguous, with the shape that its tensor has in PyTorch. T may be const.
template <class T>
class ParameterView {
 public:
  using value_type = std::remove_const_t<T>;

  ParameterView(T* data, std::span<const Index> shape) : data_(data) {
    rank_ = std::min(shape.size(), shape_.size());
    std::copy_n(shape.begin(), rank_, shape_.begin());
  }

  T* data() const { return data_; }
  std::size_t size() const {
    std::size_t product = 1;
    for (Index extent : shape()) product *= static_cast<std::size_t>(extent);
    return product;
  }
  std::span<const Index> shape() const { return {shape_.data(), rank_}; }
  T* begin() const { return data_; }
  T* end() const { return data_ + size(); }
  T& operator[](std::size_t i) const { return data_[i]; }

 private:
  T* data_;
  std::array<Index, 5> shape_{};
  std::size_t rank_;
};

namespace detail {

/// A parameter's full name ("branch1_conv.0.weight"), built without touching the heap.
class ParameterName {
 public:
  operator std::string_view() const { return {text_, length_}; }

  /// Calls f with `part` appended, after a dot where there is something before it; then takes it away again.
  template <class F>
  void with(std::string_view part, const F& f) {
    const std::size_t before = length_;
    if (!part.empty()) {
      if (length_ + part.size() + 1 > sizeof text_) {
        fail<ValueError>("visit_parameters: a parameter's name is longer than 255 characters");
      }
      if (length_ > 0) text_[length_++] = '.';
      part.copy(text_ + length_, part.size());
      length_ += part.size();
    }
    f();
    length_ = before;
  }

 private:
  char text_[256];
  std::size_t length_ = 0;
};

/// One entry of a type's `static constexpr auto parameters() { return std::tuple{...}; }`: its name and the
/// member that holds it, an Eigen::Tensor.
template <class Owner, class Tensor>
struct Member {
  std::string_view name;
  Tensor Owner::*pointer;
};
template <class Owner, class Tensor>
Member(const char*, Tensor Owner::*) -> Member<Owner, Tensor>;

template <class T, int Rank, int Options, class I>
ParameterView<T> view_parameter(Eigen::Tensor<T, Rank, Options, I>& tensor) {
  std::array<Index, Rank> shape;
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = tensor.dimensions()[i];
  return {tensor.data(), shape};
}
template <class T, int Rank, int Options, class I>
ParameterView<const T> view_parameter(const Eigen::Tensor<T, Rank, Options, I>& tensor) {
  std::array<Index, Rank> shape;
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = tensor.dimensions()[i];
  return {tensor.data(), shape};
}

/// What a walk hands out: what optimizers learn; what training changes otherwise (the running statistics of
/// batch-norm); or all that a checkpoint holds, frozen parameters, too.
enum class Walk { parameters, buffers, state };

// Four kinds of values: leaves list members in parameters(), and in buffers() what is not learned; leaves whose
// tensors have other shapes in PyTorch, or are known at run time only, hand out views (visit_views, and
// visit_state_views where there are buffers); compositions (is_composition) hand their
// parts to visit_parts(), frozen ones only for their state; everything else has no parameters.
template <Walk walk = Walk::parameters, class F, class First, class... Others>
void visit(ParameterName& name, const F& f, First& first, Others&... others) {
  using Value = std::remove_const_t<First>;
  const auto visit_members = [&](const auto& members) {
    const auto one = [&](const auto& member) {
      // An empty tensor is a parameter that the value does without, such as the bias of a layer without one.
      if ((first.*member.pointer).size() == 0) return;
      name.with(member.name, [&] {
        f(std::string_view(name), view_parameter(first.*member.pointer),
          view_parameter(others.*member.pointer)...);
      });
    };
    std::apply([&](const auto&... member) { (one(member), ...); }, members);
  };
  if constexpr (requires { Value::parameters(); }) {
    if constexpr (walk != Walk::buffers) visit_members(Value::parameters());
    if constexpr (walk != Walk::parameters && requires { Value::buffers(); }) visit_members(Value::buffers());
  } else if constexpr (requires { Value::has_parameter_views; }) {
    if constexpr (walk == Walk::buffers) return;
    const auto each = [&](std::string_view part, const auto&... views) {
      name.with(part, [&] { f(std::string_view(name), views...); });
    };
    if constexpr (walk == Walk::state && requires { Value::has_state_views; })
      Value::visit_state_views(each, first, others...);
    else
      Value::visit_views(each, first, others...);
  } else if constexpr (requires { Value::is_composition; }) {
    if constexpr (walk == Walk::parameters && requires { first.frozen; }) {
      if (first.frozen) return;
    }
    Value::visit_parts([&](std::string_view part,
                           auto&... parts) { name.with(part, [&] { visit<walk>(name, f, parts...); }); },
                       first, others...);
  }
}

/// Gives back the memory of frozen parts, which no gradient has.
template <class Value>
void release_frozen(Value& value) {
  if constexpr (requires { value.release_frozen(); }) {
    value.release_frozen();
  } else if constexpr (
      !requires { Value::parameters(); } && requires { Value::is_composition; }) {
    Value::visit_parts([](std::string_view, auto& part) { release_frozen(part); }, value);
  }
}

}  // namespace detail

/// Calls f(name, values) for every parameter of value, in a fixed order. name is a string_view that lives for
/// the call; values is a ParameterView with data(), size(), shape(), begin(), end(), of const elements where
/// value is const.
template <class Value, class F>
void visit_parameters(Value& value, const F& f) {
  detail::ParameterName name;
  detail::visit(name, f, value);
}

/// visit_parameters of all that a checkpoint holds: the parameters, frozen ones too, and the buffers, such as
/// batch-norm's running_mean, running_var and num_batches_tracked (of std::int64_t).
template <class Value, class F>
void visit_state(Value& value, const F& f) {
  detail::ParameterName name;
  detail::visit<detail::Walk::state>(name, f, value);
}

/// visit_state of the buffers alone.
template <class Value, class F>
void visit_buffers(Value& value, const F& f) {
  detail::ParameterName name;
  detail::visit<detail::Walk::buffers>(name, f, value);
}

/// Walks several values of one type together: f(name, values of the first, values of the second, ...). An
/// optimizer walks weights, gradients and its own moments in this way.
template <class F, class First, class Second, class... Others>
void visit_parameters_together(const F& f, First& first, Second& second, Others&... others) {
  detail::ParameterName name;
  detail::visit(name, f, first, second, others...);
}

/// Sets every parameter to 0. Nothing is validated: a gradient of p may be 0.
template <class Value>
void set_zero(Value& value) {
  visit_parameters(value, [](std::string_view, auto values) {
    std::fill(values.begin(), values.end(), typename decltype(values)::value_type(0));
  });
}

/// A value of the same type and shapes with every parameter 0: the gradient that backward adds into.
template <class Value>
Value zeros_like(const Value& value) {
  Value zero = value;
  detail::release_frozen(zero);
  set_zero(zero);
  return zero;
}

/// The number of parameter elements.
template <class Value>
Index parameter_count(const Value& value) {
  Index count = 0;
  visit_parameters(value, [&](std::string_view, auto values) { count += static_cast<Index>(values.size()); });
  return count;
}

}  // namespace poolhead::inline POOLHEAD_ISA
