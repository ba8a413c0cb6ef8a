// Rows: the (N, features) side of a pool or a dense layer, with a leading dimension.
#pragma once

#include "poolhead/core/view.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// A matrix of batch rows over memory that somebody else owns; row n starts at data + n * stride. The stride
/// lets a branch write into its own columns of a wider result. T may be const.
template <class T>
class Rows {
 public:
  using Scalar = std::remove_const_t<T>;

  Rows() = default;
  /// stride < 0 stands for features: rows without gaps.
  Rows(T* data, Index batch, Index features, Index stride = -1)
      : data_(data), batch_(batch), features_(features), stride_(stride < 0 ? features : stride) {}
  /// Rows of T convert to rows of const T.
  template <std::same_as<Scalar> U>
  requires std::is_const_v<T> Rows(const Rows<U>& other)
      : Rows(other.data(), other.batch(), other.features(), other.stride()) {}

  T* data() const { return data_; }
  Index batch() const { return batch_; }
  Index features() const { return features_; }
  Index stride() const { return stride_; }
  Index size() const { return batch_ * features_; }
  T* row(Index n) const { return data_ + n * stride_; }
  T& operator()(Index n, Index feature) const { return row(n)[feature]; }

  /// Columns first .. first + count - 1 of every row.
  Rows columns(Index first, Index count) const {
    return {data_ == nullptr ? nullptr : data_ + first, batch_, count, stride_};
  }
  /// Rows first .. first + count - 1.
  Rows samples(Index first, Index count) const {
    return {data_ == nullptr ? nullptr : row(first), count, features_, stride_};
  }

 private:
  T* data_ = nullptr;
  Index batch_ = 0;
  Index features_ = 0;
  Index stride_ = 0;
};

namespace detail {

template <class Y>
inline constexpr bool is_rows = false;
template <class T>
inline constexpr bool is_rows<Rows<T>> = true;

template <class Derived>
std::true_type derives_from_dense(const Eigen::DenseBase<Derived>*);
std::false_type derives_from_dense(const void*);
template <class Y>
inline constexpr bool is_matrix = decltype(derives_from_dense(static_cast<Y*>(nullptr)))::value;

template <class T, class Y>
Rows<T> rows_of_tensor(Y& y) {
  using Traits = TensorTraits<Y>;
  static_assert(Traits::rank == 2, "poolhead: rows need a tensor of rank 2, (N, features)");
  static_assert(Traits::row_major,
                "poolhead: rows need a RowMajor tensor: declare it as Eigen::Tensor<T, 2, Eigen::RowMajor>");
  static_assert(std::is_const_v<T> || !std::is_const_v<typename Traits::Element>,
                "poolhead: this argument is written to, but it is const");
  static_assert(std::same_as<std::remove_const_t<T>, std::remove_const_t<typename Traits::Element>>,
                "poolhead: rows must have the scalar type of the feature map");
  if constexpr (requires { Rows<T>(y.data(), 0, 0); } && Traits::rank == 2) {
    return {y.data(), static_cast<Index>(y.dimension(0)), static_cast<Index>(y.dimension(1))};
  } else {
    return {};
  }
}

template <class T, class Y>
Rows<T> rows_of_matrix(Y& y) {
  constexpr bool direct = (static_cast<unsigned>(Eigen::internal::traits<std::remove_const_t<Y>>::Flags) &
                           static_cast<unsigned>(Eigen::DirectAccessBit)) != 0;
  static_assert(direct, "poolhead: rows need memory: evaluate the expression into a matrix first");
  if constexpr (direct) {
    constexpr bool column = Y::ColsAtCompileTime == 1;
    static_assert(Y::IsRowMajor || column,
                  "poolhead: rows need a RowMajor matrix: declare it as Eigen::Matrix<T, Eigen::Dynamic, "
                  "Eigen::Dynamic, Eigen::RowMajor>");
    using Element = std::remove_pointer_t<decltype(y.data())>;
    static_assert(std::is_const_v<T> || !std::is_const_v<Element>,
                  "poolhead: this argument is written to, but it is const");
    static_assert(std::same_as<std::remove_const_t<T>, std::remove_const_t<Element>>,
                  "poolhead: rows must have the scalar type of the feature map");
    if constexpr (requires { Rows<T>(y.data(), 0, 0); }) {
      if (!column && y.innerStride() != 1) {
        fail<ShapeError>("rows: the matrix has an inner stride of ", y.innerStride(), ", expected 1");
      }
      return {y.data(), y.rows(), y.cols(), column && !Y::IsRowMajor ? y.innerStride() : y.outerStride()};
    }
  }
  return {};
}

/// Rows<T> (T const for what is only read) of a rank-2 RowMajor Tensor or TensorMap, a RowMajor Eigen matrix,
/// Map, Ref or block, or Rows. Everything else is a compile error that says what to do.
template <class T, class Y>
Rows<T> as_rows(Y& y) {
  using Plain = std::remove_const_t<Y>;
  constexpr bool tensor = TensorTraits<Y>::is_tensor;
  static_assert(tensor || is_matrix<Plain> || is_rows<Plain>,
                "poolhead: rows are a rank-2 RowMajor Eigen::Tensor, a RowMajor Eigen::Matrix, a Map of one, "
                "or poolhead::Rows");
  if constexpr (tensor)
    return rows_of_tensor<T>(y);
  else if constexpr (is_matrix<Plain>)
    return rows_of_matrix<T>(y);
  else if constexpr (is_rows<Plain>) {
    static_assert(std::is_convertible_v<Plain, Rows<T>>,
                  "poolhead: rows must have the scalar type of the feature map, and not be const where they "
                  "are written to");
    return y;
  } else {
    return {};
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
