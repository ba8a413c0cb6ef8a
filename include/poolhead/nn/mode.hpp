// How a network runs: training, evaluation or inference. Chosen when a cache is made.
#pragma once

#include "poolhead/core/buffer.hpp"

#include <array>
#include <utility>

namespace poolhead::inline POOLHEAD_ISA {

/// What a cache's forward does and leaves behind: network.make_cache(x, Mode::inference).
///
/// Calls of a network are const, so training leaves what changes besides the parameters in the cache, too:
/// update_buffers() brings batch-norm's running statistics up to date after a step, start_step() gives dropout
/// its numbers before one (see nn/walk.hpp).
struct Mode {
  bool trains = true;            ///< batch-norm normalises by the batch, dropout drops
  bool backward = true;          ///< activations are kept; without it, intermediate outputs share two buffers
  bool keeps_gradients = false;  ///< so are the gradients at intermediate outputs (see visit_gradients)
  std::size_t depth = 0;         ///< how many chains of layers the layer stands in; they set it for their parts

  static const Mode training;    ///< the default of make_cache
  static const Mode evaluation;  ///< running statistics, no dropout, backward
  static const Mode inference;   ///< evaluation without backward
  bool operator==(const Mode&) const = default;
};
inline constexpr Mode Mode::training{};
inline constexpr Mode Mode::evaluation{.trains = false};
inline constexpr Mode Mode::inference{.trains = false, .backward = false};

namespace detail {

/// layer.make_cache(x, mode), of those that every mode suits make_cache(x).
template <class L, class X>
auto make_cache(const L& layer, const X& x, const Mode& mode) {
  if constexpr (requires { layer.make_cache(x, mode); })
    return layer.make_cache(x, mode);
  else
    return layer.make_cache(x);
}

// What intermediate memory is for.
struct Outputs {};
struct Gradients {};

/// The mode of what stands inside of a chain of layers.
inline Mode inside(Mode mode) {
  ++mode.depth;
  return mode;
}

/// Memory for intermediate outputs, or for the gradients there.
///
/// What outlives the call belongs to the cache. What does not is the calling thread's, shared by all chains of
/// one depth: those run one after another.
template <class Purpose, class T>
class Intermediates {
 public:
  /// Where the next piece of so many elements goes. Pieces that need not last take turns in two places.
  Index place(Index elements) {
    const Index extent = (elements + 63) / 64 * 64;  // cache lines apart, so that every piece starts aligned
    places_.push_back(extent);
    return static_cast<Index>(places_.size()) - 1;
  }
  /// Called when every piece has been placed.
  void allocate(bool lasts, std::size_t depth) {
    std::array<Index, 2> largest{0, 0};  // of the pieces that each of the two places takes
    for (std::size_t i = 0; i < places_.size(); ++i) largest[i % 2] = std::max(largest[i % 2], places_[i]);
    Index end = 0;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const Index extent = std::exchange(places_[i], lasts ? end : static_cast<Index>(i % 2) * largest[0]);
      end += extent;
    }
    size_ = lasts ? end : largest[0] + largest[1];
    lasts_ = lasts;
    depth_ = depth;
    if (lasts_) memory_.reserve(size_);
  }

  T* operator[](Index place) const {
    T* const base = lasts_ ? const_cast<T*>(memory_.data()) : borrowed();
    return base + places_[static_cast<std::size_t>(place)];
  }
  /// Elements that the cache itself holds.
  Index size() const { return memory_.size(); }

 private:
  T* borrowed() const {
    static thread_local std::vector<Buffer<T>> of_depth;
    if (depth_ >= of_depth.size()) of_depth.resize(depth_ + 1);
    return of_depth[depth_].reserve(size_);
  }

  std::vector<Index> places_;
  Index size_ = 0;
  bool lasts_ = false;
  std::size_t depth_ = 0;
  Buffer<T> memory_;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
