// Streaming: a feature map fed in tiles, for maps that do not fit in memory and for reductions over machines.
#pragma once

#include "poolhead/pool/pool.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// A fold whose results stay as states, one for N channels, until more comes.
template <class Fold>
struct KeepingReduction : Fold {
  using State = typename Fold::State;

  State* states;  // (batch, groups)
  Index groups;

  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int) const {
    State& kept = states[n * groups + c / Fold::N];
    kept = append(*this, kept, state);
  }
  /// b came after a.
  POOLHEAD_INLINE static State append(const Fold& fold, const State& a, const State& b) {
    if constexpr (requires { Fold::append(a, b); })
      return Fold::append(a, b);
    else
      return fold.merge(a, b);
  }
};

}  // namespace detail

/// What one pool has seen so far of a batch: a value that copies, made by pool.start(...).
///
///   auto stream = pool.start<float>(batch, channels);      // or start(a view of the first tile)
///   stream.add(nchw(tile));                                // any number of tiles, of any spatial size and
///   layout stream.merge(other);                                   // what another stream saw, after this one
///   stream.finish(y);                                      // (N, features); more may be added afterwards
///
/// Tiles must not overlap. A tile may be masked. y is that of the whole map: to the bit for the maximum (with
/// tiles in the order of the plane, down to the sign of zero), within the pool's accuracy otherwise; sums of
/// double stream without the rescaling that keeps a mean finite where its sum is not.
template <class P, Scalar T>
class PoolStream {
  using Fold = decltype(std::declval<const P&>().template fold<T>());
  using State = typename Fold::State;
  static constexpr int N = Fold::N;

 public:
  PoolStream(const P& pool, Index batch, Index channels) : pool_(pool), batch_(batch), channels_(channels) {
    detail::checked_size(std::array{batch, channels}, P::name, "::start");
    if (channels == 0)
      detail::fail<ShapeError>(P::name, "::start: there are 0 channels, expected at least one");
    FeatureShape shape;
    shape.batch = batch;
    shape.channels = channels;
    pool_.check_parameters("::start", shape);
    positions_.assign(static_cast<std::size_t>(batch), 0);
    states_.reserve(batch * groups());
    for_each_group([&](State& state, Index n, Index c, int count) {
      state = fold().identity(detail::ChannelLanes<Accumulator<T>, typename Fold::PositionLane>{count}, n, c);
    });
  }

  /// Adds a tile: a feature map of the same batch and channels. Throws ShapeError where it is not, or where it
  /// has no position, or 2^31 and more.
  template <class X, Device D = Eigen::DefaultDevice>
  void add(const X& tile, const D& device = D{}) {
    const auto x = detail::as_input(tile);
    static_assert(std::same_as<typename X::Scalar, T>, "poolhead: a stream's tiles have its scalar type");
    if (x.batch() != batch_ || x.channels() != channels_ || x.positions() == 0 || x.positions() >= limit) {
      detail::fail<ShapeError>(P::name, "::add: the tile is ",
                               detail::TensorExtents<typename X::Layout>(x.shape()), ", expected a batch of ",
                               batch_, ", ", channels_, " channels and 1..", limit - 1, " positions");
    }
    detail::run_forward(x, detail::KeepingReduction<Fold>{fold(), states_.data(), groups()}, device);
    for (Index n = 0; n < batch_; ++n) positions_[static_cast<std::size_t>(n)] += detail::valid_positions(x, n);
  }

  /// Adds what another stream of the same pool saw. Throws ShapeError where its batch or channels differ.
  void merge(const PoolStream& other) {
    if (other.batch_ != batch_ || other.channels_ != channels_) {
      detail::fail<ShapeError>(P::name, "::merge: the other stream has a batch of ", other.batch_, " and ",
                               other.channels_, " channels, expected ", batch_, " and ", channels_);
    }
    for_each_group([&](State& state, Index n, Index c, int) {
      state = detail::KeepingReduction<Fold>::append(fold(), state, other.states_.data()[n * groups() + c / N]);
    });
    for (std::size_t n = 0; n < positions_.size(); ++n) positions_[n] += other.positions_[n];
  }

  /// Fills y, (N, features). Throws ShapeError where it has another shape, ValueError where a sample has seen
  /// no valid position yet.
  template <class Y>
  void finish(Y&& y) const {
    const auto rows = detail::as_rows<T>(y);
    detail::check_rows(P::name, "::finish", "y", rows, batch_, pool_.features(channels_));
    for (std::size_t n = 0; n < positions_.size(); ++n) {
      if (positions_[n] == 0)
        detail::fail<ValueError>(P::name, "::finish: sample ", n,
                                 " has seen no position, expected at least one");
    }
    for_each_group(*this, [&](const State& state, Index n, Index c, int count) {
      const auto positions = static_cast<double>(positions_[static_cast<std::size_t>(n)]);
      detail::put(rows, n, c, fold().value(state, positions), count);
    });
  }

  /// All that the stream knows, as numbers that another machine's stream can merge: the positions seen by each
  /// sample, then what is kept for each (sample, channel).
  std::vector<double> partial() const {
    std::vector<double> numbers(positions_.begin(), positions_.end());
    for_each_group(*this, [&](const State& state, Index, Index, int count) {
      for (int lane = 0; lane < count; ++lane) {
        State::zip(
            [&](const auto& field, const auto&) {
              numbers.push_back(static_cast<double>(lane_of(field, lane)));
              return field;
            },
            state, state);
      }
    });
    return numbers;
  }

  /// Adds the partial() of another stream of the same pool, batch and channels. Throws ValueError for a number
  /// of numbers that such a stream does not have.
  void merge(std::span<const double> partial) {
    PoolStream other(pool_, batch_, channels_);
    const std::size_t expected = other.partial().size();
    if (partial.size() != expected)
      detail::fail<ValueError>(P::name, "::merge: there are ", partial.size(), " numbers, expected ", expected);
    auto next = partial.begin();
    for (Index& positions : other.positions_) positions = static_cast<Index>(*next++);
    other.for_each_group([&](State& state, Index, Index, int count) {
      for (int lane = 0; lane < count; ++lane) {
        state = State::zip(
            [&](auto field, const auto&) {
              set_lane(field, lane, *next++);
              return field;
            },
            state, state);
      }
    });
    merge(other);
  }

 private:
  static constexpr Index limit = std::numeric_limits<std::int32_t>::max() - 1024;

  P pool_;
  Index batch_, channels_;
  std::vector<Index> positions_;
  detail::Buffer<State> states_;

  Fold fold() const { return pool_.template fold<T>(); }
  Index groups() const { return (channels_ + N - 1) / N; }

  /// f(state, n, first channel, number of channels).
  template <class Self, class F>
  static void for_each_group(Self& self, const F& f) {
    for (Index n = 0; n < self.batch_; ++n)
      for (Index g = 0; g < self.groups(); ++g)
        f(self.states_.data()[n * self.groups() + g], n, g * N,
          static_cast<int>(std::min<Index>(N, self.channels_ - g * N)));
  }
  template <class F>
  void for_each_group(const F& f) {
    for_each_group(*this, f);
  }

  template <class E>
  static E lane_of(const simd::Vec<E, N>& field, int lane) {
    E each[N];
    std::memcpy(each, &field, sizeof each);
    return each[lane];
  }
  template <class E>
  static void set_lane(simd::Vec<E, N>& field, int lane, double value) {
    E each[N];
    std::memcpy(each, &field, sizeof each);
    each[lane] = static_cast<E>(value);
    std::memcpy(static_cast<void*>(&field), each, sizeof each);
  }
};

/// The streaming calls of a pool whose fold<T>() is a reduction without finish.
template <class Derived>
class StreamCalls {
 public:
  /// A stream for `channels` planes of each of `batch` samples, of elements T.
  template <Scalar T>
  PoolStream<Derived, T> start(Index batch, Index channels) const {
    return {static_cast<const Derived&>(*this), batch, channels};
  }
  /// The same for the scalar that the pool's parameters have.
  template <class P = Derived>
  requires(!std::is_void_v<detail::ParameterScalar<P>>) auto start(Index batch, Index channels) const {
    return start<detail::ParameterScalar<P>>(batch, channels);
  }
  /// A stream for maps of x's scalar, batch and channels; x itself is not added.
  template <class X>
  requires detail::is_feature_map<X>
  auto start(const X& x) const { return start<typename X::Scalar>(x.batch(), x.channels()); }
};

}  // namespace poolhead::inline POOLHEAD_ISA
