// Training and evaluation over a batch, split among threads by samples.
#pragma once

#include "poolhead/nn/cross_entropy.hpp"
#include "poolhead/nn/layer.hpp"
#include "poolhead/nn/walk.hpp"

#include <optional>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// What a part of a batch is passed as: a view that is only read.
template <class X>
struct PartOf {
  using Type = X;
};
template <class T, class L>
struct PartOf<FeatureMap<T, L>> {
  using Type = FeatureMap<const T, L>;
};

}  // namespace detail

/// The loss, the gradient and the accuracy of a network over a batch.
///
/// A batch is cut into blocks of a fixed number of samples. Threads take blocks; every block has a gradient of
/// its own, and they are added up in their order, so the result is the same bits for every number of threads.
/// The memory (a cache per thread, a gradient per block) is made at the first batch and reused. Network ends in
/// rows of logits; X is the view of its input, FeatureMap<const float, ChannelsLast>, say (anything with
/// Scalar, batch(), shape() and samples() that the network takes).
///
/// Batch-norm would see a block as its batch, and keep no running statistics: train networks that have it by
/// forward, backward and update_buffers, which use threads within each layer.
template <class Network, class X>
class DataParallel {
  using T = typename X::Scalar;
  using Input = typename detail::PartOf<X>::Type;

 public:
  /// Throws ValueError for a block below 1.
  explicit DataParallel(Index block = 16) : block_(block) {
    if (block < 1) detail::fail<ValueError>("DataParallel: block is ", block, ", expected at least 1");
  }

  /// Overwrites gradient with that of the mean cross-entropy over the batch; returns the sum of losses and of
  /// right answers. labels are N integers, one per sample. Throws what the network and cross_entropy throw.
  template <std::integral Label, Device D = Eigen::DefaultDevice>
  LossSum gradient(const Network& network, const X& x, std::span<const Label> labels, Network& gradient,
                   const D& device = D{}) {
    while (gradients_.size() < static_cast<std::size_t>(blocks(x))) gradients_.push_back(zeros_like(network));
    const std::uint64_t step = step_++;
    const LossSum sum = run(
        network, x, labels, Mode::training, device, [&](Index b, const Input& in, auto part, Worker& worker) {
          Network& own = gradients_[static_cast<std::size_t>(b)];
          set_zero(own);
          start_step(network, worker.cache, step, b * block_);
          network.forward(in, worker.logits(), worker.cache);
          const auto loss =
              detail::cross_entropy_sum<T>(read_only(worker.logits()), part, worker.dlogits(), x.batch());
          network.backward(in, worker.logits(), worker.dlogits(), no_gradient, worker.cache, own);
          return loss;
        });
    set_zero(gradient);
    for (Index b = 0; b < blocks(x); ++b) {
      visit_parameters_together(
          [](std::string_view, auto total, auto part) {
            for (std::size_t i = 0; i < total.size(); ++i) total[i] += part[i];
          },
          gradient, gradients_[static_cast<std::size_t>(b)]);
    }
    return sum;
  }

  /// Dropout in the next call of gradient takes its numbers from this step, and so on; it counts from 0
  /// otherwise.
  void set_step(std::uint64_t step) { step_ = step; }

  /// The sum of losses and of right answers over a batch, in inference.
  template <std::integral Label, Device D = Eigen::DefaultDevice>
  LossSum evaluate(const Network& network, const X& x, std::span<const Label> labels, const D& device = D{}) {
    return run(network, x, labels, Mode::inference, device,
               [&](Index, const Input& in, auto part, Worker& worker) {
                 network.forward(in, worker.logits(), worker.cache);
                 return detail::cross_entropy_sum<T>(read_only(worker.logits()), part, Rows<T>(), 1);
               });
  }

 private:
  /// What one thread needs for one block.
  struct Worker {
    decltype(detail::make_cache(std::declval<const Network&>(), std::declval<const Input&>(), Mode{})) cache;
    Rows<T> shape;
    detail::Buffer<T> memory;

    Worker(const Network& network, const Input& x, const Mode& mode)
        : cache(detail::make_cache(network, x, mode)), shape(network.output_shape(x)) {
      memory.reserve(2 * shape.size());
    }
    Rows<T> logits() { return {memory.data(), shape.batch(), shape.features()}; }
    Rows<T> dlogits() { return {memory.data() + shape.size(), shape.batch(), shape.features()}; }
  };

  Index block_;
  std::uint64_t step_ = 0;
  /// The workers of one mode: training and evaluation may take turns.
  struct Crew {
    Mode mode{};
    FeatureShape made_for;  ///< the blocks that they take
    std::vector<Worker> workers;
    std::optional<Worker> last;  ///< takes a batch's last block where that is shorter
  };
  Crew training_, inference_;
  std::vector<Network> gradients_;
  std::vector<LossSum> sums_;

  Index blocks(const X& x) const { return (x.batch() + block_ - 1) / block_; }
  static Rows<const T> read_only(const Rows<T>& rows) { return rows; }

  /// Calls body(block, its samples, its labels, a worker) for every block and adds up what it returns.
  template <class Label, class D, class Body>
  LossSum run(const Network& network, const X& x, std::span<const Label> labels, const Mode& mode,
              const D& device, const Body& body) {
    if (static_cast<Index>(labels.size()) != x.batch()) {
      detail::fail<ShapeError>("DataParallel: labels are [", labels.size(), "], expected [", x.batch(), "]");
    }
    const Input in(x);
    const Index count = blocks(x);
    // A block is worth a thread whatever it costs: it is a whole network's work.
    const Index threads = detail::thread_count(device, count, detail::much_traffic);
    Crew& crew = mode == Mode::inference ? inference_ : training_;
    make_workers(crew, network, in, mode, threads);
    sums_.resize(static_cast<std::size_t>(count));
    detail::parallel_parts(
        device, threads, count, detail::much_traffic, [&](Index thread, Index begin, Index end) {
          for (Index b = begin; b < end; ++b) {
            const Index first = b * block_;
            const Index size = std::min(block_, x.batch() - first);
            Worker& worker = size < block_ ? *crew.last : crew.workers[static_cast<std::size_t>(thread)];
            sums_[static_cast<std::size_t>(b)] =
                body(b, in.samples(first, size),
                     labels.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size)), worker);
          }
        });
    LossSum sum;
    for (const LossSum& part : sums_) {
      sum.loss += part.loss;
      sum.correct += part.correct;
    }
    return sum;
  }

  void make_workers(Crew& crew, const Network& network, const Input& x, const Mode& mode, Index threads) {
    FeatureShape shape = x.shape();
    shape.batch = block_;
    if (shape != crew.made_for || mode != crew.mode) {
      crew.workers.clear();
      crew.last.reset();
      crew.made_for = shape;
      crew.mode = mode;
    }
    const Index rest = x.batch() % block_;
    const Index whole = x.batch() >= block_ ? threads : 0;
    while (static_cast<Index>(crew.workers.size()) < whole)
      crew.workers.emplace_back(network, x.samples(0, block_), mode);
    if (rest > 0 && (!crew.last || crew.last->shape.batch() != rest))
      crew.last.emplace(network, x.samples(0, rest), mode);
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
