// Trials of pools on more than 2^31 elements of bfloat16, whose answers are known beforehand. In every plane
// the first half of the positions holds `low`, the second `high` and the last position but one a `peak`, each
// times a power of two that belongs to the channel; beyond 2^31 a wrong index then shows up as a wrong mean, a
// missing peak or an unwritten element of dx.
#pragma once

#define EIGEN_USE_THREADS
#include <poolhead/poolhead.hpp>

#include <sys/mman.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>

namespace large {

namespace ph = poolhead;
using ph::Index;
using T = Eigen::bfloat16;

inline constexpr double low = 1, high = 3, peak = 5;

struct Shape {
  Index n, c, h, w;

  constexpr Index positions() const { return h * w; }
  constexpr Index size() const { return n * c * h * w; }
  constexpr Index peak_position() const { return positions() - 2; }
};

// One plane whose positions go beyond 2^31; planes that begin beyond it, with an odd number of channels.
inline constexpr Shape one_plane{1, 1, 46342, 46342};
inline constexpr Shape many_planes{4, 9, 8192, 8192};
static_assert(one_plane.positions() > (Index{1} << 31) && one_plane.peak_position() > (Index{1} << 31));
static_assert(many_planes.positions() * 32 >= (Index{1} << 31));

inline double scale_of(Index channel) {
  return std::ldexp(1.0, static_cast<int>(channel % 3) - 1 + (channel == 0));
}
inline T narrow(double value) { return T(static_cast<float>(value)); }
inline double widen(T value) { return static_cast<double>(static_cast<float>(value)); }
/// To within a unit of bfloat16.
inline bool close(double got, double expected) {
  return std::abs(got - expected) <= std::ldexp(std::abs(expected), -7) + 1e-30;
}

/// Memory from the system, in large pages where it has them: of small ones, touching takes longer than pooling.
/// What it holds is left from its last use.
template <class E, class Purpose>
E* memory(Index size) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  static std::unique_ptr<E, Free> held;
  static Index capacity = 0;
  if (size <= capacity) return held.get();
  constexpr std::size_t page = std::size_t{1} << 21;
  const std::size_t bytes = (static_cast<std::size_t>(size) * sizeof(E) + page - 1) / page * page;
  held.reset();
  held.reset(static_cast<E*>(std::aligned_alloc(page, bytes)));
  if (held == nullptr) throw std::bad_alloc();
  madvise(static_cast<void*>(held.get()), bytes, MADV_HUGEPAGE);
  capacity = size;
  return held.get();
}
struct Input;
struct InputGradient;
struct Output;
struct Mask;

template <class L, class E>
auto view(E* data, const Shape& s) {
  if constexpr (std::same_as<L, ph::ChannelsFirst>)
    return ph::nchw(data, s.n, s.c, s.h, s.w);
  else
    return ph::nhwc(data, s.n, s.h, s.w, s.c);
}

/// Writes value(channel) to the positions begin .. end - 1 of all planes.
template <class L, class Value>
void put(T* x, const Shape& shape, Index begin, Index end, const Value& value) {
  constexpr bool first = std::same_as<L, ph::ChannelsFirst>;
  // A stretch of memory of the period 1, or C, is copied from its own beginning, twice as much each time.
  const Index period = first ? 1 : shape.c;
  const auto repeat = [&](T* to, Index count) {
    for (Index done = period; done < count; done *= 2)
      std::memcpy(static_cast<void*>(to + done), to,
                  static_cast<std::size_t>(std::min(done, count - done)) * sizeof(T));
  };
  for (Index n = 0; n < shape.n; ++n) {
    T* const sample = x + n * shape.c * shape.positions();
    for (Index c = 0; c < shape.c; ++c) {
      T* const at = sample + (first ? c * shape.positions() + begin : begin * shape.c + c);
      *at = narrow(value(c));
      if (first) repeat(at, end - begin);
    }
    if (!first) repeat(sample + begin * shape.c, (end - begin) * shape.c);
  }
}
template <class L>
void fill(T* x, const Shape& shape) {
  const Index half = shape.positions() / 2;
  const Index at = shape.peak_position();
  put<L>(x, shape, 0, half, [](Index c) { return low * scale_of(c); });
  put<L>(x, shape, half, shape.positions(), [](Index c) { return high * scale_of(c); });
  put<L>(x, shape, at, at + 1, [](Index c) { return peak * scale_of(c); });
}

/// What a plane's gradient is: stretches of one value from a position on, and single positions.
struct Gradient {
  std::map<Index, double> from;
  std::map<Index, double> at;
};

/// The features of a plane: blocks, one after another, of the same number for each channel.
using Blocks = std::vector<std::vector<double>>;

/// What a pool gives.
struct Answer {
  std::function<Blocks(double scale)> y;
  std::function<Gradient(const Shape&, Index channel)> dx;
};

/// Empty where dx is right.
template <class L>
std::string check_gradient(const T* dx, const Shape& shape, const Answer& answer) {
  constexpr bool first = std::same_as<L, ph::ChannelsFirst>;
  const Index stride = first ? 1 : shape.c;
  for (Index n = 0; n < shape.n; ++n) {
    const T* const sample = dx + n * shape.c * shape.positions();
    const auto element = [&](Index c, Index s) {
      return sample[first ? c * shape.positions() + s : s * shape.c + c];
    };
    const auto wrong = [&](Index c, Index s, double expected) {
      return "dx(" + std::to_string(n) + ", " + std::to_string(c) + ", " + std::to_string(s) + ") is " +
             std::to_string(widen(element(c, s))) + ", expected " + std::to_string(expected);
    };
    std::map<Index, bool> borders;  // where the same value may not go on
    for (Index c = 0; c < shape.c; ++c) {
      const Gradient expected = answer.dx(shape, c);
      for (const auto& [s, value] : expected.from) {
        const bool single = expected.at.count(s) > 0;
        if (!single && !close(widen(element(c, s)), value)) return wrong(c, s, value);
        borders[s];
      }
      for (const auto& [s, value] : expected.at) {
        if (!close(widen(element(c, s)), value)) return wrong(c, s, value);
        borders[s];
        if (s + 1 == shape.positions()) continue;
        borders[s + 1];
        const double after = std::prev(expected.from.upper_bound(s + 1))->second;
        if (expected.at.count(s + 1) == 0 && !close(widen(element(c, s + 1)), after))
          return wrong(c, s + 1, after);
      }
    }
    borders[shape.positions()];
    // Between the borders every element has the bits of the one before.
    for (auto border = borders.begin(); std::next(border) != borders.end(); ++border) {
      const Index begin = border->first;
      const Index end = std::next(border)->first;
      for (Index c = 0; c < (first ? shape.c : 1); ++c) {
        const T* const p = sample + (first ? c * shape.positions() + begin : begin * stride);
        const auto count = static_cast<std::size_t>((end - begin - 1) * stride);
        if (std::memcmp(p, p + stride, count * sizeof(T)) == 0) continue;
        return "dx is not the same everywhere from position " + std::to_string(begin) + " to " +
               std::to_string(end) + " of sample " + std::to_string(n);
      }
    }
  }
  return {};
}

inline std::string check_rows(const std::vector<T>& y, const Shape& shape, Index features,
                              const Answer& answer) {
  for (Index n = 0; n < shape.n; ++n)
    for (Index c = 0; c < shape.c; ++c) {
      Index first = 0;
      for (const std::vector<double>& block : answer.y(scale_of(c))) {
        const auto count = static_cast<Index>(block.size());
        for (Index i = 0; i < count; ++i) {
          const Index feature = first + c * count + i;
          const double got = widen(y[static_cast<std::size_t>(n * features + feature)]);
          if (!close(got, block[static_cast<std::size_t>(i)]))
            return "y(" + std::to_string(n) + ", " + std::to_string(feature) + ") is " + std::to_string(got) +
                   ", expected " + std::to_string(block[static_cast<std::size_t>(i)]);
        }
        first += shape.c * count;
      }
      if (first != features) return "there are " + std::to_string(features) + " features";
    }
  return {};
}

inline void check(const std::string& wrong, const std::string& where) {
  if (!wrong.empty()) throw std::runtime_error(where + ": " + wrong);
}

/// The device of all calls.
inline const Eigen::ThreadPoolDevice& device() {
  static Eigen::ThreadPool threads(2);
  static const Eigen::ThreadPoolDevice both(&threads, 2);
  return both;
}

/// One pool on the x of one shape: what of, forward and backward are compared with its answer.
template <class L, class Pool>
class Trial {
 public:
  Trial(const Pool& pool, const Shape& shape, const Answer& answer)
      : pool_(pool),
        shape_(shape),
        answer_(answer),
        features_(pool.features(shape.c)),
        y_(static_cast<std::size_t>(shape.n * features_)),
        x_(memory<T, Input>(shape.size())) {
    fill<L>(x_, shape);
  }

  std::string where() const {
    return std::string(L::name) + " of " + std::to_string(shape_.n) + " x " + std::to_string(shape_.c) +
           " planes";
  }
  auto x() const { return view<L>(static_cast<const T*>(x_), shape_); }
  ph::Rows<T> y() { return {y_.data(), shape_.n, features_}; }

  /// Inference alone.
  template <class X>
  void infer(const X& x) {
    pool_.forward(x, y(), device());
    check(check_rows(y_, shape_, features_, answer_), where() + ", inference");
  }
  /// Both ways; inspect(cache, gradient) may look further.
  template <class X, class Inspect>
  void run(const X& x, const Inspect& inspect) {
    T* const dx = memory<T, InputGradient>(shape_.size());
    std::memset(static_cast<void*>(dx), 0xff,
                static_cast<std::size_t>(shape_.size()) * sizeof(T));  // NaN
    auto cache = pool_.make_cache(x);
    Pool gradient = ph::zeros_like(pool_);
    pool_.forward(x, y(), cache, device());
    check(check_rows(y_, shape_, features_, answer_), where() + ", forward");
    const std::vector<T> dy(y_.size(), T(1.0f));
    pool_.backward(x, y(), ph::Rows<const T>(dy.data(), shape_.n, features_), view<L>(dx, shape_), cache,
                   gradient, device());
    check(check_gradient<L>(dx, shape_, answer_), where() + ", backward");
    inspect(cache, gradient);
  }

 private:
  Pool pool_;
  Shape shape_;
  Answer answer_;
  Index features_;
  std::vector<T> y_;
  T* x_;
};

inline constexpr auto nothing = [](const Shape&, const auto&, const auto&) {};

/// Forward and backward of a pool on both shapes. Channels-last on one channel, of which a vector holds one, is
/// slow: only pools for which a position has another meaning there need it (has_own_index).
template <class Pool, class Inspect = decltype(nothing)>
void run_all(const Pool& pool, const Answer& answer, bool has_own_index, const Inspect& inspect = nothing) {
  const auto one = [&](auto layout, const Shape& shape) {
    Trial<decltype(layout), Pool> trial(pool, shape, answer);
    trial.run(trial.x(), [&](const auto& cache, const auto& gradient) { inspect(shape, cache, gradient); });
  };
  one(ph::ChannelsFirst{}, one_plane);
  if (has_own_index) one(ph::ChannelsLast{}, one_plane);
  one(ph::ChannelsFirst{}, many_planes);
  one(ph::ChannelsLast{}, many_planes);
}

}  // namespace large
