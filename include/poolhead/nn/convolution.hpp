// The kernel seam of convolution: forward and backward of one or several convolutions of one geometry on one
// input, which then share its columns.
#pragma once

#include "poolhead/nn/columns.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// One of the convolutions: its parameters, (O, I / groups, kh, kw) and (O) or null, and its side of the data.
template <class T, class L>
struct ConvolutionForward {
  const T* weight;
  const T* bias;
  FeatureMap<T, L> y;
};
template <class T, class L>
struct ConvolutionBackward {
  const T* weight;
  FeatureMap<const T, L> dy;
  T* weight_gradient;
  T* bias_gradient;  ///< null without bias
};

// The calling thread's memory for packed weights, columns and blocks' gradients: no layer needs its own.
struct PackedWeights {};
struct Columns {};
struct BlockGradients {};

/// A fixed number of samples whose columns stay in cache; it follows from shapes alone, so blocks, and with
/// them the order of every sum, are the same for every number of threads.
inline Index convolution_block(Index batch, Index column_bytes) {
  constexpr Index cache_bytes = 1 << 20;
  return std::clamp<Index>(cache_bytes / std::max<Index>(column_bytes, 1), 1, std::max<Index>(batch, 1));
}

template <class T>
using ProductMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A RowMajor matrix in somebody's memory, rows `stride` apart.
template <class T>
auto matrix(T* data, Index rows, Index cols, Index stride) {
  using Plain =
      std::conditional_t<std::is_const_v<T>, const ProductMatrix<std::remove_const_t<T>>, ProductMatrix<T>>;
  return Eigen::Map<Plain, 0, Eigen::OuterStride<>>(data, rows, cols, Eigen::OuterStride<>(stride));
}

/// The sum of n contiguous elements, in an order that neither threads nor the alignment of p change.
template <class T>
T sum(const T* p, Index n) {
  constexpr Index lanes = 16;
  T partial[lanes] = {};
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (Index k = 0; k < lanes; ++k) partial[k] += p[i + k];
  }
  for (Index k = 0; i + k < n; ++k) partial[k] += p[i + k];
  for (Index width = lanes / 2; width > 0; width /= 2) {
    for (Index k = 0; k < width; ++k) partial[k] += partial[k + width];
  }
  return partial[0];
}

/// to[c] += the sum over rows of p[row * stride + c], in the order of the rows.
template <class T>
void add_rows(const T* p, Index rows, Index cols, Index stride, T* to) {
  for (Index row = 0; row < rows; ++row, p += stride) {
    for (Index c = 0; c < cols; ++c) to[c] += p[c];
  }
}

/// What forward and backward derive from a call's shapes.
template <class T, class L>
struct ConvolutionPlan {
  static constexpr bool channels_last = std::same_as<L, ChannelsLast>;
  const ConvolutionGeometry& geometry;
  Index channels;  // of x, in one group
  Index taps;      // kernel positions
  Index depth;     // channels * taps, the inner extent of the product
  Index outputs;   // positions of y
  Index batch;
  Index block;
  bool pointwise;

  ConvolutionPlan(const ConvolutionGeometry& g, const FeatureShape& x, const FeatureShape& y)
      : geometry(g),
        channels(x.channels / g.groups),
        taps(g.kernel.height * g.kernel.width),
        depth(channels * taps),
        outputs(y.positions()),
        batch(x.batch),
        block(convolution_block(x.batch, outputs * depth * static_cast<Index>(sizeof(T)))),
        pointwise(g.pointwise()) {}

  Index blocks() const { return (batch + block - 1) / block; }
  Index column_size() const { return pointwise ? 0 : block * outputs * depth; }

  /// Threads are chosen by the time of the product, put in bytes: some 4 flops take as long as one byte of
  /// memory.
  template <Device D>
  Index threads(const D& device, Index output_channels) const {
    const double flops =
        2.0 * static_cast<double>(block * outputs * depth) * static_cast<double>(output_channels);
    return thread_count(device, blocks(), flops / 4.0);
  }

  /// The columns of group `group` of samples n .. n + count - 1.
  const T* columns(const FeatureMap<const T, L>& x, Index n, Index count, Index group, T* scratch) const {
    if (pointwise) return x.sample(n);
    for (Index i = 0; i < count; ++i) {
      im2col(geometry, x, n + i, group * channels, channels, scratch + i * outputs * depth);
    }
    return scratch;
  }
};

/// y = x * weight + bias for every convolution of the list; they agree in geometry and read x together.
template <class T, class L, Device D>
void convolve(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x,
              std::span<const ConvolutionForward<T, L>> convolutions, const D& device) {
  if (x.batch() == 0) return;
  const ConvolutionPlan<T, L> plan(geometry, x.shape(), convolutions.front().y.shape());
  Index all_outputs = 0;
  for (const auto& one : convolutions) all_outputs += one.y.channels();
  T* packed = nullptr;
  if constexpr (plan.channels_last) {
    packed = workspace<PackedWeights, T>(all_outputs * plan.depth);
    T* to = packed;
    for (const auto& one : convolutions) {
      pack_weights(one.weight, one.y.channels(), plan.channels, plan.taps, to);
      to += one.y.channels() * plan.depth;
    }
  }
  const Index threads = plan.threads(device, all_outputs);
  T* const column_memory = workspace<Columns, T>(threads * plan.column_size());
  parallel_parts(device, threads, plan.blocks(), [&](Index thread, Index begin, Index end) {
    for (Index b = begin; b < end; ++b) {
      const Index n = b * plan.block;
      const Index count = std::min(plan.block, plan.batch - n);
      for (Index group = 0; group < geometry.groups; ++group) {
        const T* const columns = plan.columns(x, n, count, group, column_memory + thread * plan.column_size());
        const T* weights = packed;
        for (const auto& one : convolutions) {
          const Index all = one.y.channels();
          const Index outputs = all / geometry.groups;
          const Index first = group * outputs;
          if constexpr (plan.channels_last) {
            const Index rows = count * plan.outputs;
            auto y = matrix(one.y.sample(n) + first, rows, outputs, all);
            if (one.bias != nullptr)
              y.rowwise() = matrix(one.bias + first, 1, outputs, outputs).row(0);
            else
              y.setZero();
            y.noalias() += matrix(columns, rows, plan.depth, plan.depth) *
                           matrix(weights + first * plan.depth, outputs, plan.depth, plan.depth).transpose();
            weights += all * plan.depth;
          } else {
            for (Index i = 0; i < count; ++i) {
              auto y = matrix(one.y.sample(n + i) + first * plan.outputs, outputs, plan.outputs, plan.outputs);
              if (one.bias != nullptr)
                y.colwise() = matrix(one.bias + first, outputs, 1, 1).col(0);
              else
                y.setZero();
              y.noalias() +=
                  matrix(one.weight + first * plan.depth, outputs, plan.depth, plan.depth) *
                  matrix(columns + i * plan.depth * plan.outputs, plan.depth, plan.outputs, plan.outputs);
            }
          }
        }
      }
    }
  });
}

/// For every convolution of the list: weight_gradient += dy^T x, bias_gradient += sum of dy; dx, where it is
/// asked for, is overwritten with the sum of their gradients.
template <class T, class L, class DX, Device D>
void convolve_backward(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x, const DX& dx,
                       std::span<const ConvolutionBackward<T, L>> convolutions, const D& device) {
  constexpr bool wants_dx = !std::same_as<DX, NoGradient>;
  if (x.batch() == 0) return;
  const ConvolutionPlan<T, L> plan(geometry, x.shape(), convolutions.front().dy.shape());
  Index all_outputs = 0;
  for (const auto& one : convolutions) all_outputs += one.dy.channels();
  T* packed = nullptr;
  if constexpr (plan.channels_last && wants_dx) {
    packed = workspace<PackedWeights, T>(all_outputs * plan.depth);
    T* to = packed;
    for (const auto& one : convolutions) {
      pack_weights(one.weight, one.dy.channels(), plan.channels, plan.taps, to);
      to += one.dy.channels() * plan.depth;
    }
  }
  // A block's parameter gradients: weights in the order of the columns, then biases. Threads keep every block's
  // apart, a lone thread adds each to the total at once: the additions are the same, in the same order.
  const Index parameters = all_outputs * (plan.depth + 1);
  const Index threads = plan.threads(device, 3 * all_outputs);
  const bool apart = threads > 1;
  T* const partial = workspace<BlockGradients, T>((apart ? plan.blocks() : 1) * parameters);
  const Index column_size = plan.column_size();
  T* const column_memory = workspace<Columns, T>(threads * 2 * column_size);

  const auto add_partial = [&](const T* from) {
    for (const auto& one : convolutions) {
      const Index outputs = one.dy.channels();
      if constexpr (plan.channels_last) {
        unpack_weights(from, outputs, plan.channels, plan.taps, one.weight_gradient);
      } else {
        for (Index i = 0; i < outputs * plan.depth; ++i) one.weight_gradient[i] += from[i];
      }
      from += outputs * plan.depth;
      if (one.bias_gradient != nullptr) {
        for (Index o = 0; o < outputs; ++o) one.bias_gradient[o] += from[o];
      }
      from += outputs;
    }
  };

  parallel_parts(device, threads, plan.blocks(), [&](Index thread, Index begin, Index end) {
    T* const own_columns = column_memory + thread * 2 * column_size;
    for (Index b = begin; b < end; ++b) {
      const Index n = b * plan.block;
      const Index count = std::min(plan.block, plan.batch - n);
      T* const sums = partial + (apart ? b : 0) * parameters;
      std::fill_n(sums, parameters, T(0));
      if constexpr (wants_dx) {
        if (!plan.pointwise) std::fill_n(dx.sample(n), count * dx.channels() * dx.positions(), T(0));
      }
      for (Index group = 0; group < geometry.groups; ++group) {
        const T* const columns = plan.columns(x, n, count, group, own_columns);
        T* column_gradient = own_columns + column_size;
        if constexpr (wants_dx) {
          if (plan.pointwise) column_gradient = dx.sample(n);
        }
        const T* weights = packed;
        T* sums_of_one = sums;
        bool first_convolution = true;
        for (const auto& one : convolutions) {
          const Index all = one.dy.channels();
          const Index outputs = all / geometry.groups;
          const Index first = group * outputs;
          auto dw = matrix(sums_of_one + first * plan.depth, outputs, plan.depth, plan.depth);
          T* const db = sums_of_one + all * plan.depth + first;
          sums_of_one += all * (plan.depth + 1);
          if constexpr (plan.channels_last) {
            const Index rows = count * plan.outputs;
            const auto dy = matrix(one.dy.sample(n) + first, rows, outputs, all);
            dw.noalias() += dy.transpose() * matrix(columns, rows, plan.depth, plan.depth);
            add_rows(one.dy.sample(n) + first, rows, outputs, all, db);
            if constexpr (wants_dx) {
              auto dcolumns = matrix(column_gradient, rows, plan.depth, plan.depth);
              const auto w = matrix(weights + first * plan.depth, outputs, plan.depth, plan.depth);
              if (first_convolution)
                dcolumns.noalias() = dy * w;
              else
                dcolumns.noalias() += dy * w;
              weights += all * plan.depth;
            }
          } else {
            const auto w = matrix(one.weight + first * plan.depth, outputs, plan.depth, plan.depth);
            for (Index i = 0; i < count; ++i) {
              const Index offset = i * plan.depth * plan.outputs;
              const auto dy =
                  matrix(one.dy.sample(n + i) + first * plan.outputs, outputs, plan.outputs, plan.outputs);
              dw.noalias() += dy * matrix(columns + offset, plan.depth, plan.outputs, plan.outputs).transpose();
              for (Index o = 0; o < outputs; ++o)
                db[o] += detail::sum(dy.data() + o * plan.outputs, plan.outputs);
              if constexpr (wants_dx) {
                auto dcolumns = matrix(column_gradient + offset, plan.depth, plan.outputs, plan.outputs);
                if (first_convolution)
                  dcolumns.noalias() = w.transpose() * dy;
                else
                  dcolumns.noalias() += w.transpose() * dy;
              }
            }
          }
          first_convolution = false;
        }
        if constexpr (wants_dx) {
          if (!plan.pointwise) {
            for (Index i = 0; i < count; ++i) {
              col2im(geometry, dx, n + i, group * plan.channels, plan.channels,
                     column_gradient + i * plan.outputs * plan.depth);
            }
          }
        }
      }
      if (!apart) add_partial(sums);
    }
  });
  if (apart) {
    for (Index b = 0; b < plan.blocks(); ++b) add_partial(partial + b * parameters);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
