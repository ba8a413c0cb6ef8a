// One pool over one feature map, with its types forgotten: what the harness verifies and times.
#pragma once

#include <poolhead/core/random.hpp>

#include <memory>
#include <span>

#include "peers/peer.hpp"
#include "roofline.hpp"
#include "sample.hpp"

namespace poolhead::bench {

/// What the harness has to know of a pool beyond its type.
struct PoolInfo {
  std::string name;
  PeerPool peer{};                ///< what the rivals are asked for
  bool backward_reads_x = false;  ///< its roofline is then a read plus a write
  std::vector<Index> columns{1};  ///< the rows' blocks: how many features each has per channel
  bool whole_samples = false;     ///< whether a plane's answer depends on the sample's other planes
  bool forward_only = false;
};

enum class Values { noise, denormals };

/// What a pool is run for. Rivals' exponents are constants: beside them, ours are fixed, too.
enum class Use { inference, fixed_parameters, training };

class Pooling {
 public:
  virtual ~Pooling() = default;
  /// Fills y and, unless this is inference, what backward needs.
  virtual void forward(const Eigen::ThreadPoolDevice& device) = 0;
  virtual void backward(const Eigen::ThreadPoolDevice& device) = 0;
  virtual void read_roof(const Eigen::ThreadPoolDevice& device) = 0;
  virtual void write_roof(const Eigen::ThreadPoolDevice& device) = 0;
  /// Runs both directions on both devices. The first thing that is not as the float64 oracle says, or not the
  /// same on both, as a sentence; empty if there is none.
  virtual std::string difference(const Eigen::ThreadPoolDevice& one, const Eigen::ThreadPoolDevice& other) = 0;
  /// Fills in what rivals work on; false where that is no floats.
  virtual bool describe(PeerTask& task) const = 0;
  virtual std::span<const float> y() const = 0;
  virtual std::span<const float> dx() const = 0;
};

/// Type: test::Nchw<T> or test::Nhwc<T>.
template <class Pool, class Oracle, class Type, Use use>
class PoolingOf final : public Pooling {
  static constexpr bool inference = use == Use::inference;
  using T = typename Type::Scalar;
  using A = Accumulator<T>;
  static constexpr bool is_float = std::same_as<T, float>;

 public:
  PoolingOf(const Pool& pool, const Oracle& oracle, const PoolInfo& info, const Extents& e, Values values)
      : pool_(pool),
        gradient_(zeros_like(pool)),
        oracle_(oracle),
        info_(info),
        extents_(e),
        y_(e.n, pool.features(e.c)),
        dy_(e.n, pool.features(e.c)) {
    const Random random(1);
    // The same share of every magnitude below the smallest normal number.
    const double scale =
        values == Values::noise ? 1.0 : static_cast<double>(std::numeric_limits<A>::min()) * (1.0 - 1e-6);
    T* const x = x_.reserve(e.size());
    dx_.reserve(e.size());
    for (Index i = 0; i < e.size(); ++i)
      x[i] = test::narrow<T>(scale * (2.0 * random.uniform(static_cast<std::uint64_t>(i)) - 1.0));
    for (Index i = 0; i < dy_.size(); ++i)
      dy_.data()[i] = test::narrow<T>(random.stream(1).uniform(static_cast<std::uint64_t>(i)));
    cache_ = pool_.make_cache(view());
  }

  void forward(const Eigen::ThreadPoolDevice& device) override {
    if constexpr (inference)
      pool_.forward(view(), y_, device);
    else
      pool_.forward(view(), y_, cache_, device);
  }
  void backward([[maybe_unused]] const Eigen::ThreadPoolDevice& device) override {
    if constexpr (use == Use::fixed_parameters)
      pool_.backward(view(), y_, dy_, Type::view(dx_.data(), extents_), cache_, no_gradient, device);
    else if constexpr (use == Use::training)
      pool_.backward(view(), y_, dy_, Type::view(dx_.data(), extents_), cache_, gradient_, device);
  }
  void read_roof(const Eigen::ThreadPoolDevice& device) override {
    bench::read_roof(device, x_.data(), x_.size(), sink_);
  }
  void write_roof(const Eigen::ThreadPoolDevice& device) override {
    bench::write_roof(device, dx_.data(), dx_.size());
  }

  std::string difference(const Eigen::ThreadPoolDevice& one, const Eigen::ThreadPoolDevice& other) override {
    run(other);
    const Eigen::Tensor<T, 2, Eigen::RowMajor> y = y_;
    const std::vector<T> dx(dx_.data(), dx_.data() + dx_.size());
    run(one);
    const bool same_dx =
        inference || test::same_bits(std::span(dx), std::span(std::as_const(dx_).data(), dx.size()));
    if (!test::same_bits(y, y_) || !same_dx) return "the number of threads changes the result";

    const Sample sample(extents_, info_.whole_samples);
    const auto x = sample.planes<Type>(x_.data());
    const auto answer = sample.rows(y_, info_.columns);
    if (std::string found = test::answer_difference(answer, oracle_, x); !found.empty()) return found;
    if constexpr (!inference) {
      const auto dy = test::table_of(sample.rows(dy_, info_.columns));
      if (std::string found = test::gradient_difference<T>(sample.planes<Type>(dx_.data()),
                                                           oracle_.backward(x, dy), oracle_.magnitude(x, dy));
          !found.empty())
        return found;
      if (use == Use::training && sample.is_everything())
        return test::parameter_difference(test::parameters_of<T>(gradient_), oracle_.parameter_gradient(x, dy),
                                          dy, extents_);
    }
    return {};
  }

  bool describe(PeerTask& task) const override {
    if constexpr (is_float) {
      task.x = x_.data();
      task.dy = dy_.data();
      task.features = dy_.dimension(1);
      if constexpr (requires { pool_.hidden.weight; }) {
        task.hidden = pool_.hidden.bias.size();
        task.hidden_weight = pool_.hidden.weight.data();
        task.hidden_bias = pool_.hidden.bias.data();
        task.score_weight = pool_.score.weight.data();
        task.score_bias = pool_.score.bias.data();
      }
    }
    return is_float;
  }
  std::span<const float> y() const override {
    if constexpr (is_float)
      return {y_.data(), static_cast<std::size_t>(y_.size())};
    else
      return {};
  }
  std::span<const float> dx() const override {
    if constexpr (is_float)
      return {dx_.data(), static_cast<std::size_t>(dx_.size())};
    else
      return {};
  }

 private:
  Pool pool_, gradient_;
  Oracle oracle_;
  PoolInfo info_;
  Extents extents_;
  detail::Buffer<T> x_, dx_;
  Eigen::Tensor<T, 2, Eigen::RowMajor> y_, dy_;
  typename Pool::template Cache<T> cache_;
  A sink_[64];

  auto view() const { return Type::view(x_.data(), extents_); }

  /// Into memory full of NaN, so that what nobody writes is seen.
  void run(const Eigen::ThreadPoolDevice& device) {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    y_.setConstant(nan);
    std::fill_n(dx_.data(), dx_.size(), nan);
    gradient_ = zeros_like(pool_);
    forward(device);
    backward(device);
  }
};

}  // namespace poolhead::bench
