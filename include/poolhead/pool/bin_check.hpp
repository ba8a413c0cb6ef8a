// Whether maxima stand in their bins, as a cache says they do.
#pragma once

#include "poolhead/pool/global_max.hpp"
#include "poolhead/pool/grids.hpp"

#include <numeric>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The positions of some bins of a grid, a bit for each: a division for each maximum would take longer than
/// backward does.
class BinBits {
 public:
  /// How many words of bits planes have.
  static Index words(const FeatureShape& shape) { return (shape.positions() + bits - 1) / bits; }

  BinBits(const GridEdges& edges, Index k, Index first, Index count)
      : positions_(edges.height() * edges.width()),
        words_((positions_ + bits - 1) / bits),
        period_(words_ <= most_words ? std::lcm(count, together) : count) {
    struct Table;
    auto* const table = workspace<Table, std::uint64_t>(words_ * period_);
    std::fill_n(table, words_ * period_, 0);
    for (Index b = 0; b < count; ++b) {
      const auto rows = edges.rows(k, (first + b) / edges[k].columns);
      const auto columns = edges.columns(k, (first + b) % edges[k].columns);
      for (Index h = rows.begin; h < rows.end; ++h)
        for (Index s = h * edges.width() + columns.begin; s < h * edges.width() + columns.end; ++s)
          table[s / bits * period_ + b] |= std::uint64_t{1} << (s % bits);
    }
    for (Index w = 0; w < words_; ++w)
      for (Index e = count; e < period_; ++e) table[w * period_ + e] = table[w * period_ + e - count];
    inside_ = table;
  }

  bool has(Index b, Index position) const {
    const auto s = static_cast<std::uint64_t>(position);
    return s < static_cast<std::uint64_t>(positions_) &&
           (inside_[static_cast<Index>(s / bits) * period_ + b] >> (s % bits) & 1) != 0;
  }
  /// Whether bin e % count has positions[e] for all e < size: without branches, as most always are right.
  bool have(const Index* positions, Index size) const {
    if (words_ == 1) return have<true>(positions, size);
    return words_ <= most_words && have<false>(positions, size);
  }

 private:
  static constexpr Index bits = 64;
  static constexpr Index most_words = 16;
  static constexpr Index together = simd::register_bytes / static_cast<Index>(sizeof(std::uint64_t));
  typedef std::uint64_t Words __attribute__((vector_size(together * sizeof(std::uint64_t))));

  POOLHEAD_INLINE static Words load(const void* from) {
    Words words;
    std::memcpy(&words, from, sizeof words);
    return words;
  }
  template <bool one_word>
  bool have(const Index* positions, Index size) const {
    Words inside = ~Words{};  // in bit 0
    Words any{};
    Index e = 0;
    Index in_period = 0;
    for (; e + together <= size; e += together) {
      const Words s = load(positions + e);
      Words own = one_word ? load(inside_ + in_period) : Words{};
      for (Index w = 0; !one_word && w < words_; ++w)
        own = (s >> 6) == static_cast<std::uint64_t>(w) ? load(inside_ + w * period_ + in_period) : own;
      inside &= own >> (s & 63);
      any |= s;
      in_period = in_period + together == period_ ? 0 : in_period + together;
    }
    bool all = true;
    for (Index i = 0; i < together; ++i)
      all = all && (inside[i] & 1) != 0 && (!one_word || any[i] < static_cast<std::uint64_t>(bits));
    for (; e < size; ++e) all = all && has(in_period++, positions[e]);
    return all;
  }

  Index positions_, words_, period_;
  const std::uint64_t* inside_;
};

/// Throws ValueError where a maximum is said to stand outside of its bin.
inline void check_bin_argmax(std::string_view type, const Grids& grids, const ArgmaxCache& cache) {
  const GridEdges edges(grids, cache.shape);
  const Index channels = cache.shape.channels;
  const Index most = std::max<Index>(32768 / BinBits::words(cache.shape), 1);  // bins at a time
  for (Index k = 0; k < grids.count; ++k) {
    const GridRows<const Index> argmax = grid_rows(cache.rows(), grids, channels, k);
    const Index bins = grids[k].bins();
    for (Index first = 0; first < bins; first += most) {
      const Index count = std::min(most, bins - first);
      const BinBits bits(edges, k, first, count);
      for (Index n = 0; n < cache.shape.batch; ++n) {
        if (count == bins && bits.have(&argmax(n, 0, 0), channels * bins)) [[likely]]
          continue;
        for (Index c = 0; c < channels; ++c) {
          const Index* const positions = &argmax(n, c, first);
          Index b = 0;
          while (b < count && bits.has(b, positions[b])) ++b;
          if (b == count) continue;
          const auto rows = edges.rows(k, (first + b) / grids[k].columns);
          const auto columns = edges.columns(k, (first + b) % grids[k].columns);
          fail<ValueError>(type, "::backward: argmax of bin ", first + b, " of plane ", n * channels + c,
                           " is ", positions[b], ", expected a position in rows ", rows.begin, "..",
                           rows.end - 1, " and columns ", columns.begin, "..", columns.end - 1);
        }
      }
    }
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
