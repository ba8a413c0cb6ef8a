#include <poolhead/pool/generalized_mean.hpp>

#include "harness.hpp"

namespace poolhead::bench {

void add_generalised_means() {
  const auto make = [](double p) {
    return [p]<class T>(Index) { return GeneralizedMeanPool<T>(test::narrow<T>(p)); };
  };
  const auto oracle = [](const auto& pool) {
    return test::GeneralizedMeanOracle{{test::widen<double>(pool.p(0))}, static_cast<double>(pool.eps)};
  };
  for (const double p : {1.0, 2.0, 3.0, 4.0, 2.7})
    add_pool<Use::fixed_parameters>(
        {.name = detail::message("GeM-", p), .peer = {PeerKind::generalized_mean, p}, .backward_reads_x = true},
        make(p), oracle);
  for (const double p : {3.0, 2.7})
    add_pool({.name = detail::message("GeM-", p, "-learned"), .backward_reads_x = true}, make(p), oracle);
}

}  // namespace poolhead::bench
