// The part of a large feature map that the float64 oracle looks at: whole planes from its beginning, its end
// and between them, as a smaller map.
#pragma once

#include "support/pool_check.hpp"

namespace poolhead::bench {

using test::Extents;

class Sample {
 public:
  /// All of a map of up to 100,000 elements, else about as many of them. whole_samples: all planes of two
  /// samples, because the answer of one plane depends on the others.
  Sample(const Extents& whole, bool whole_samples) : whole_(whole), part_(whole) {
    constexpr Index enough = 100'000;
    if (whole.size() > enough) {
      part_.n = std::min<Index>(whole.n, whole_samples ? 2 : 4);
      if (!whole_samples) part_.c = std::clamp<Index>(enough / (part_.n * whole.positions()), 2, whole.c);
    }
  }

  bool is_everything() const { return part_.size() == whole_.size(); }

  template <class Type>
  auto planes(const typename Type::Scalar* data) const {
    test::Planes<test::Reference<typename Type::Scalar>> out(part_);
    for (Index n = 0; n < part_.n; ++n)
      for (Index c = 0; c < part_.c; ++c)
        for (Index s = 0; s < part_.positions(); ++s)
          out.plane(n, c)[static_cast<std::size_t>(s)] =
              test::widen<double>(data[Type::offset(whole_, sample(n), channel(c), s)]);
    return out;
  }

  /// The features of these planes. blocks: how many features per channel each block of columns has.
  template <class T>
  test::RowTensor<T> rows(const test::RowTensor<T>& all, const std::vector<Index>& blocks) const {
    Index per_channel = 0;
    for (Index bins : blocks) per_channel += bins;
    test::RowTensor<T> out(part_.n, part_.c * per_channel);
    for (Index n = 0; n < part_.n; ++n) {
      Index to = 0, block = 0;
      for (Index bins : blocks) {
        for (Index c = 0; c < part_.c; ++c)
          for (Index bin = 0; bin < bins; ++bin) out(n, to++) = all(sample(n), block + channel(c) * bins + bin);
        block += bins * whole_.c;
      }
    }
    return out;
  }

 private:
  Extents whole_, part_;

  static Index spread(Index i, Index count, Index all) { return count < 2 ? 0 : i * (all - 1) / (count - 1); }
  Index sample(Index n) const { return spread(n, part_.n, whole_.n); }
  Index channel(Index c) const { return spread(c, part_.c, whole_.c); }
};

}  // namespace poolhead::bench
