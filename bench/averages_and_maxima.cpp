#include <poolhead/pool/average_max.hpp>
#include <poolhead/pool/global_average.hpp>
#include <poolhead/pool/global_max.hpp>

#include "harness.hpp"

namespace poolhead::bench {

void add_averages_and_maxima() {
  add_pool(
      {.name = "GAP", .peer = {PeerKind::average}}, []<class T>(Index) { return GlobalAveragePool{}; },
      [](const auto&) { return test::AverageOracle{}; });
  add_pool(
      {.name = "GMP", .peer = {PeerKind::max}}, []<class T>(Index) { return GlobalMaxPool{}; },
      [](const auto&) { return test::MaxOracle{}; });
  add_pool<Use::inference>(
      {.name = "GMP-without-argmax", .peer = {PeerKind::max_values}, .forward_only = true},
      []<class T>(Index) { return GlobalMaxPool{}; }, [](const auto&) { return test::MaxOracle{}; });
  add_pool(
      {.name = "AverageMax", .peer = {PeerKind::average_max}}, []<class T>(Index) { return AverageMaxPool{}; },
      [](const auto&) { return test::AverageMaxOracle{}; });
}

}  // namespace poolhead::bench
