// Views of feature maps: a pointer, a shape and, in the type, the memory layout. They own nothing.
#pragma once

#include "poolhead/core/scalar.hpp"
#include "poolhead/core/shape.hpp"

#include <unsupported/Eigen/CXX11/Tensor>

namespace poolhead::inline POOLHEAD_ISA {

/// A feature map (N, C, S) over memory that somebody else owns. T may be const; L is ChannelsFirst or
/// ChannelsLast. A view whose data() is null stands for its shape alone (make_cache needs no more).
template <class T, class L>
class FeatureMap {
 public:
  using Scalar = std::remove_const_t<T>;
  using Layout = L;

  FeatureMap() = default;
  FeatureMap(T* data, const FeatureShape& shape) : data_(data), shape_(shape) {}
  /// A view of T converts to a view of const T.
  template <std::same_as<Scalar> U>
  requires std::is_const_v<T> FeatureMap(const FeatureMap<U, L>& other)
      : data_(other.data()), shape_(other.shape()) {}

  T* data() const { return data_; }
  const FeatureShape& shape() const { return shape_; }
  Index batch() const { return shape_.batch; }
  Index channels() const { return shape_.channels; }
  Index positions() const { return shape_.positions(); }
  Index depth() const { return shape_.depth(); }
  Index height() const { return shape_.height(); }
  Index width() const { return shape_.width(); }
  Index size() const { return shape_.size(); }

  /// The first element of sample n.
  T* sample(Index n) const { return data_ + n * shape_.channels * shape_.positions(); }

  /// Samples first .. first + count - 1, as a view.
  FeatureMap samples(Index first, Index count) const {
    FeatureShape part = shape_;
    part.batch = count;
    return {data_ == nullptr ? nullptr : sample(first), part};
  }

  /// The element at (sample n, channel c, position s), s counted in (depth, height, width) order.
  T& operator()(Index n, Index c, Index s) const {
    if constexpr (std::same_as<L, ChannelsFirst>)
      return sample(n)[c * positions() + s];
    else
      return sample(n)[s * channels() + c];
  }

 private:
  T* data_ = nullptr;
  FeatureShape shape_;
};

namespace detail {

template <class X>
inline constexpr bool is_feature_map = false;
template <class T, class L>
inline constexpr bool is_feature_map<FeatureMap<T, L>> = true;

// What the four makers accept: Tensor, const Tensor, TensorMap of const or not. Anything else fails below.
template <class X>
struct TensorTraits {
  static constexpr bool is_tensor = false;
  static constexpr bool is_owner = false;
};
template <class T, int Rank, int Options, class I>
struct TensorTraits<Eigen::Tensor<T, Rank, Options, I>> {
  static constexpr bool is_tensor = true;
  static constexpr bool is_owner = true;
  static constexpr bool row_major = (Options & Eigen::RowMajorBit) != 0;
  static constexpr int rank = Rank;
  using Element = T;
};
template <class T, int Rank, int Options, class I>
struct TensorTraits<const Eigen::Tensor<T, Rank, Options, I>>
    : TensorTraits<Eigen::Tensor<T, Rank, Options, I>> {
  using Element = const T;
};
template <class Plain, int MapOptions, template <class> class MakePointer>
struct TensorTraits<Eigen::TensorMap<Plain, MapOptions, MakePointer>> : TensorTraits<Plain> {
  static constexpr bool is_owner = false;
};
template <class Plain, int MapOptions, template <class> class MakePointer>
struct TensorTraits<const Eigen::TensorMap<Plain, MapOptions, MakePointer>>
    : TensorTraits<Eigen::TensorMap<Plain, MapOptions, MakePointer>> {};

template <class L>
FeatureShape shape_from_extents(std::span<const Index> extents, std::string_view call) {
  checked_size(extents, call);
  FeatureShape shape;
  shape.rank = static_cast<int>(extents.size());
  shape.batch = extents.front();
  constexpr bool first = std::same_as<L, ChannelsFirst>;
  shape.channels = first ? extents[1] : extents.back();
  const auto spatial = extents.subspan(first ? 2 : 1, extents.size() - 2);
  for (std::size_t i = 0; i < spatial.size(); ++i) shape.spatial[3 - spatial.size() + i] = spatial[i];
  return shape;
}

template <class L, int MinRank, int MaxRank, class X>
auto view_tensor(X&& x, std::string_view call) {
  using Traits = TensorTraits<std::remove_reference_t<X>>;
  static_assert(Traits::is_tensor,
                "poolhead: a view needs an Eigen::Tensor, an Eigen::TensorMap, or a pointer and extents; "
                "evaluate an expression into a Tensor first");
  if constexpr (Traits::is_tensor) {
    constexpr bool right_rank = Traits::rank >= MinRank && Traits::rank <= MaxRank;
    constexpr bool right_scalar = Scalar<std::remove_const_t<typename Traits::Element>>;
    constexpr bool temporary = Traits::is_owner && std::is_rvalue_reference_v<X&&>;
    static_assert(right_rank || MinRank != MaxRank,
                  "poolhead: nchw and nhwc view tensors of rank 4; for ranks 3 and 5 use channels_first or "
                  "channels_last");
    static_assert(right_rank || MinRank == MaxRank,
                  "poolhead: channels_first and channels_last view tensors of rank 3, 4 or 5");
    static_assert(Traits::row_major,
                  "poolhead: a view needs a RowMajor tensor: declare it as Eigen::Tensor<T, Rank, "
                  "Eigen::RowMajor>");
    static_assert(right_scalar, "poolhead: tensors hold float, double, Eigen::half or Eigen::bfloat16");
    static_assert(!temporary,
                  "poolhead: a view of a temporary Tensor would dangle: give the tensor a name first");
    if constexpr (right_rank && Traits::row_major && right_scalar && !temporary) {
      std::array<Index, Traits::rank> extents;
      for (std::size_t i = 0; i < extents.size(); ++i) extents[i] = static_cast<Index>(x.dimensions()[i]);
      using View = FeatureMap<typename Traits::Element, L>;
      return View(x.data(), shape_from_extents<L>(extents, call));
    }
  }
}

}  // namespace detail

/// A view of a rank-4 tensor (N, C, H, W): Tensor, TensorMap (of const or not). See also (pointer, extents).
template <class X>
auto nchw(X&& x) {
  return detail::view_tensor<ChannelsFirst, 4, 4>(std::forward<X>(x), "nchw");
}

/// A view of a rank-4 tensor (N, H, W, C).
template <class X>
auto nhwc(X&& x) {
  return detail::view_tensor<ChannelsLast, 4, 4>(std::forward<X>(x), "nhwc");
}

/// A view of a tensor (N, C, W), (N, C, H, W) or (N, C, D, H, W).
template <class X>
auto channels_first(X&& x) {
  return detail::view_tensor<ChannelsFirst, 3, 5>(std::forward<X>(x), "channels_first");
}

/// A view of a tensor (N, W, C), (N, H, W, C) or (N, D, H, W, C).
template <class X>
auto channels_last(X&& x) {
  return detail::view_tensor<ChannelsLast, 3, 5>(std::forward<X>(x), "channels_last");
}

/// A view of n * c * h * w contiguous elements in (N, C, H, W) order. Throws ShapeError on a negative extent
/// or a product beyond 2^63.
template <class T>
requires Scalar<std::remove_const_t<T>> FeatureMap<T, ChannelsFirst> nchw(T* data, Index n, Index c, Index h,
                                                                          Index w) {
  return {data, detail::shape_from_extents<ChannelsFirst>(std::array{n, c, h, w}, "nchw")};
}

/// A view of n * h * w * c contiguous elements in (N, H, W, C) order. Throws as nchw does.
template <class T>
requires Scalar<std::remove_const_t<T>> FeatureMap<T, ChannelsLast> nhwc(T* data, Index n, Index h, Index w,
                                                                         Index c) {
  return {data, detail::shape_from_extents<ChannelsLast>(std::array{n, h, w, c}, "nhwc")};
}

}  // namespace poolhead::inline POOLHEAD_ISA
