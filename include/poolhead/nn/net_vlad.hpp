// NetVLAD.
#pragma once

#include "poolhead/nn/init.hpp"
#include "poolhead/nn/layer.hpp"
#include "poolhead/nn/matrix_product.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// a(s) = softmax over clusters k of assignment x_s;   V[c, k] = sum over positions s of a_k(s) (x_c(s) -
/// clusters[k, c]);   y = V, flattened as (C, K), divided by its L2 norm (at least 1e-12). With
/// intra_normalise, every column V[:, k] is divided by its own norm first.
///
/// x (N, C, H, W), clusters (K, C), assignment.weight (K, C, 1, 1), y (N, C K). Arithmetic is in double;
/// nothing but x and y is kept. Clusters start from a standard normal distribution, the assignment as PyTorch's
/// convolutions do. Arandjelovic et al., NetVLAD, 2016.
template <std::floating_point T>
class NetVlad {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Map = Eigen::Map<Matrix>;

 public:
  static constexpr std::string_view name = "NetVlad";
  static constexpr bool backward_reads_output = false;
  static constexpr double eps = 1e-12;

  Eigen::Tensor<T, 2, Eigen::RowMajor> clusters;
  Eigen::Tensor<T, 4, Eigen::RowMajor> assignment;
  bool intra_normalise;

  template <class X>
  struct Cache : detail::LayerCache<X> {
    Mode mode{};
  };

  /// Throws ValueError for sizes below 1.
  explicit NetVlad(Index channels, Index cluster_count = 64, bool intra = false, std::uint64_t seed = 0)
      : intra_normalise(intra) {
    if (channels < 1 || cluster_count < 1)
      detail::fail<ValueError>(name, ": channels and clusters are ", channels, " and ", cluster_count,
                               ", expected at least 1");
    clusters.resize(cluster_count, channels);
    assignment.resize(cluster_count, channels, 1, 1);
    initialise(*this, LinearUniform{}, seed);
    const Random random = Random(seed).stream(1);
    for (Index i = 0; i < clusters.size(); ++i)
      clusters.data()[i] = static_cast<T>(random.normal(static_cast<std::uint64_t>(i)));
  }

  static constexpr auto parameters() {
    return std::tuple{detail::Member{"clusters", &NetVlad::clusters},
                      detail::Member{"assignment.weight", &NetVlad::assignment}};
  }

  template <class X>
  auto output_shape(const X& x) const {
    detail::check_input<typename X::Layout>(name, "::output_shape", x.shape());
    if (x.channels() != clusters.dimension(1))
      detail::fail<ShapeError>(name, ": x is ", detail::extents(x), ", expected ", clusters.dimension(1),
                               " channels");
    return Rows<typename X::Scalar>(nullptr, x.batch(), x.channels() * clusters.dimension(0));
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    output_shape(x);
    return Cache<decltype(detail::shape_of(x))>{{detail::shape_of(x)}, mode};
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, output_shape(x));
    const Weights weights(*this);
    detail::each_sample(device, x, work(), [&](Index n, Index) {
      const Sample sample(*this, weights, x, n);
      const double norm = std::max(sample.residuals.norm(), eps);
      for (Index i = 0; i < sample.residuals.size(); ++i)
        y.row(n)[i] = static_cast<T>(sample.residuals.data()[i] / norm);
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, NetVlad& gradient,
                const D& device = D{}) const {
    detail::check_backward(name, cache.filled, cache.mode);
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    const Weights weights(*this);
    const Index clusters_count = clusters.dimension(0), channels = clusters.dimension(1);
    const Index part = 2 * clusters.size();
    double* const parts = detail::workspace<std::pair<NetVlad, Weights>, double>(part * x.batch());
    detail::each_sample(device, x, 3.0 * work(), [&](Index n, Index) {
      Sample sample(*this, weights, x, n);
      Map slope(sample.more, channels, clusters_count);  // of the residuals
      for (Index i = 0; i < slope.size(); ++i) slope.data()[i] = dy.row(n)[i];
      unnormalise(sample.residuals, slope);
      if (intra_normalise) {
        for (Index k = 0; k < clusters_count; ++k)
          unnormalise(sample.residuals.col(k), slope.col(k), sample.norms[k]);
      }
      Map weight_slope(parts + n * part, clusters_count, channels);
      Map cluster_slope(parts + n * part + clusters.size(), clusters_count, channels);
      Map score_slope(slope.data() + slope.size(), x.positions(), clusters_count);
      multiply(as_is(sample.x), as_is(slope), score_slope, channels);
      for (Index k = 0; k < clusters_count; ++k) {
        const double total = sample.shares.col(k).sum();
        cluster_slope.row(k) = -total * slope.col(k).transpose();
        score_slope.col(k).array() -= slope.col(k).dot(weights.clusters.row(k).transpose());
      }
      for (Index s = 0; s < x.positions(); ++s) {
        const double mean = score_slope.row(s).dot(sample.shares.row(s));
        score_slope.row(s).array() = sample.shares.row(s).array() * (score_slope.row(s).array() - mean);
      }
      multiply(transposed(score_slope), as_is(sample.x), weight_slope, x.positions());
      if constexpr (!std::same_as<DX, NoGradient>) {
        // x is not needed any more: its copy takes dx.
        multiply(as_is(sample.shares), transposed(slope), sample.x, clusters_count);
        multiply(as_is(score_slope), as_is(weights.assignment), sample.x, clusters_count, true);
        for (Index s = 0; s < x.positions(); ++s)
          for (Index c = 0; c < channels; ++c) dx(n, c, s) = static_cast<T>(sample.x(s, c));
      }
    });
    for (Index i = 0; i < clusters.size(); ++i) {
      double weight_sum = 0.0, cluster_sum = 0.0;
      for (Index n = 0; n < x.batch(); ++n) {
        weight_sum += parts[n * part + i];
        cluster_sum += parts[n * part + clusters.size() + i];
      }
      gradient.assignment.data()[i] += static_cast<T>(weight_sum);
      gradient.clusters.data()[i] += static_cast<T>(cluster_sum);
    }
  }

 private:
  static detail::Strided<double> as_is(const Map& m) { return {m.data(), m.cols(), 1}; }
  static detail::Strided<double> transposed(const Map& m) { return {m.data(), 1, m.cols()}; }
  /// to = a b, or to += a b.
  static void multiply(const detail::Strided<double>& a, const detail::Strided<double>& b, Map& to, Index depth,
                       bool add = false) {
    detail::matrix_product<double>(a, b, to.data(), to.cols(), to.rows(), to.cols(), depth, {nullptr, add});
  }

  /// Both parameters, (K, C), in double.
  struct Weights {
    Map assignment{nullptr, 0, 0}, clusters{nullptr, 0, 0};
    explicit Weights(const NetVlad& pool) {
      const Index rows = pool.clusters.dimension(0), columns = pool.clusters.dimension(1);
      double* const memory = detail::workspace<Weights, double>(2 * rows * columns);
      std::copy_n(pool.assignment.data(), rows * columns, memory);
      std::copy_n(pool.clusters.data(), rows * columns, memory + rows * columns);
      new (&assignment) Map(memory, rows, columns);
      new (&clusters) Map(memory + rows * columns, rows, columns);
    }
  };

  /// Everything of one sample, in the calling thread's memory.
  struct Sample {
    Map x{nullptr, 0, 0};          // (S, C)
    Map shares{nullptr, 0, 0};     // (S, K), softmax over K
    Map residuals{nullptr, 0, 0};  // (C, K), with unit columns where intra_normalise
    double* norms;                 // of the columns before that
    double* more;                  // room for the gradients of residuals and shares

    template <class X>
    Sample(const NetVlad& pool, const Weights& weights, const X& from, Index n) {
      const Index positions = from.positions(), channels = from.channels(), count = weights.clusters.rows();
      double* memory =
          detail::workspace<Sample, double>(positions * channels + 2 * (positions + channels) * count + count);
      const auto take = [&](Index size) { return std::exchange(memory, memory + size); };
      new (&x) Map(take(positions * channels), positions, channels);
      new (&shares) Map(take(positions * count), positions, count);
      new (&residuals) Map(take(channels * count), channels, count);
      norms = take(count);
      more = memory;
      for (Index s = 0; s < positions; ++s)
        for (Index c = 0; c < channels; ++c) x(s, c) = from(n, c, s);
      multiply(as_is(x), transposed(weights.assignment), shares, channels);
      for (Index s = 0; s < positions; ++s) {
        auto row = shares.row(s).array();
        row = (row - row.maxCoeff()).exp();
        row /= row.sum();
      }
      multiply(transposed(x), as_is(shares), residuals, positions);
      for (Index k = 0; k < count; ++k) {
        residuals.col(k) -= shares.col(k).sum() * weights.clusters.row(k).transpose();
        norms[k] = residuals.col(k).norm();
        if (pool.intra_normalise) residuals.col(k) /= std::max(norms[k], eps);
      }
    }
  };

  /// slope, of v / max(norm of v, eps), becomes that of v.
  template <class V, class Slope>
  static void unnormalise(const V& v, Slope&& slope) {
    const double norm = v.norm();
    if (norm >= eps) slope -= v * (v.cwiseProduct(slope).sum() / (norm * norm));
    slope /= std::max(norm, eps);
  }
  /// The same, given v already divided, and the norm before.
  template <class V, class Slope>
  static void unnormalise(const V& unit, Slope&& slope, double norm) {
    if (norm >= eps) slope -= unit * unit.dot(slope);
    slope /= std::max(norm, eps);
  }

  /// What a sample costs, in times its memory.
  double work() const { return static_cast<double>(clusters.dimension(0)); }
};

}  // namespace poolhead::inline POOLHEAD_ISA
