// Masks: feature maps of which only some positions count, for batches of images of different size.
#pragma once

#include "poolhead/core/rows.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// A view of a feature map and of the (N, S) mask of its valid positions. Made by masked().
template <class T, class L>
class MaskedFeatureMap : public FeatureMap<T, L> {
 public:
  MaskedFeatureMap() = default;
  MaskedFeatureMap(const FeatureMap<T, L>& map, const Rows<const unsigned char>& mask)
      : FeatureMap<T, L>(map), mask_(mask) {}
  template <std::same_as<std::remove_const_t<T>> U>
  requires std::is_const_v<T> MaskedFeatureMap(const MaskedFeatureMap<U, L>& other)
      : FeatureMap<T, L>(other), mask_(other.mask()) {}

  /// (N, S) bytes: 0 where a position does not count.
  const Rows<const unsigned char>& mask() const { return mask_; }

 private:
  Rows<const unsigned char> mask_;
};

namespace detail {

template <class T, class L>
inline constexpr bool is_feature_map<MaskedFeatureMap<T, L>> = true;
template <class X>
inline constexpr bool is_masked = false;
template <class T, class L>
inline constexpr bool is_masked<MaskedFeatureMap<T, L>> = true;
template <class X>
inline constexpr bool is_masked<const X> = is_masked<X>;

template <class T, class L>
const unsigned char* mask_row(const FeatureMap<T, L>&, Index) {
  return nullptr;
}
template <class T, class L>
const unsigned char* mask_row(const MaskedFeatureMap<T, L>& x, Index n) {
  return x.mask().row(n);
}

/// Whether position s of sample n counts.
template <class X>
bool is_valid(const X& x, Index n, Index s) {
  if constexpr (is_masked<X>)
    return x.mask()(n, s) != 0;
  else
    return true;
}

/// How many positions of sample n count.
template <class X>
Index valid_positions(const X& x, Index n) {
  if constexpr (is_masked<X>) {
    const unsigned char* const row = x.mask().row(n);
    Index count = 0;
    for (Index s = 0; s < x.positions(); ++s) count += row[s] != 0;
    return count;
  } else {
    return x.positions();
  }
}

/// Throws ValueError where no position of a sample counts.
template <class X>
void check_mask(std::string_view type, std::string_view call, const X& x) {
  if constexpr (is_masked<X>) {
    for (Index n = 0; n < x.batch(); ++n) {
      if (valid_positions(x, n) == 0) {
        fail<ValueError>(type, call, ": row ", n, " of the mask has no valid position, expected at least one");
      }
    }
  }
}

}  // namespace detail

/// x, of which only the positions s with mask(n, s) count in sample n: masked(nchw(x), mask). Elements
/// elsewhere are never looked at, and their gradient is 0. mask is (N, S) of bool or std::uint8_t: a rank-2
/// RowMajor Eigen::Tensor, a RowMajor Eigen::Matrix, a map of one, or Rows; s counts in (depth, height, width)
/// order. Throws ShapeError where the mask is not (N, S); a pool throws ValueError where a row has no valid
/// position.
template <class T, class L, class Mask>
MaskedFeatureMap<T, L> masked(const FeatureMap<T, L>& x, Mask&& mask) {
  using Byte = std::remove_const_t<std::remove_pointer_t<decltype(mask.data())>>;
  constexpr bool bytes = std::same_as<Byte, bool> || std::same_as<Byte, unsigned char>;
  constexpr bool temporary =
      !std::is_lvalue_reference_v<Mask> &&
      (detail::TensorTraits<Mask>::is_owner || std::is_base_of_v<Eigen::PlainObjectBase<Mask>, Mask>);
  static_assert(bytes, "poolhead: a mask holds bool or std::uint8_t");
  static_assert(!temporary, "poolhead: a view of a temporary mask would dangle: give the mask a name first");
  if constexpr (bytes && !temporary) {
    static_assert(sizeof(bool) == 1);
    const Rows<const Byte> rows = detail::as_rows<const Byte>(mask);
    if (rows.batch() != x.batch() || rows.features() != x.positions()) {
      detail::fail<ShapeError>("masked: mask is [", rows.batch(), ", ", rows.features(), "], expected [",
                               x.batch(), ", ", x.positions(), "]");
    }
    return {x, Rows<const unsigned char>(reinterpret_cast<const unsigned char*>(rows.data()), rows.batch(),
                                         rows.features(), rows.stride())};
  } else {
    return {};
  }
}

}  // namespace poolhead::inline POOLHEAD_ISA
