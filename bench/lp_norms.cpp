#include <poolhead/pool/global_lp.hpp>

#include "harness.hpp"

namespace poolhead::bench {

void add_lp_norms() {
  for (const double p : {1.0, 2.0, 3.0, 4.0, 2.5})
    add_pool(
        {.name = detail::message("Lp-", p), .peer = {PeerKind::lp, p}, .backward_reads_x = true},
        [p]<class T>(Index) { return GlobalLpPool(p); }, [p](const auto&) { return test::LpOracle(p); });
}

}  // namespace poolhead::bench
