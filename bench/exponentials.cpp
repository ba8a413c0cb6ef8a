#include <poolhead/pool/log_sum_exp.hpp>
#include <poolhead/pool/soft.hpp>

#include "harness.hpp"

namespace poolhead::bench {

void add_exponentials() {
  add_pool<Use::fixed_parameters>(
      {.name = "LogSumExp", .peer = {PeerKind::log_sum_exp, 1.0}, .backward_reads_x = true},
      []<class T>(Index) { return LogSumExpPool<T>(T(1)); },
      [](const auto& pool) { return test::LogSumExpOracle(test::widen<double>(pool.r(0))); });
  add_pool(
      {.name = "SoftPool", .peer = {PeerKind::soft}, .backward_reads_x = true},
      []<class T>(Index) { return SoftPool{}; }, [](const auto&) { return test::SoftOracle{}; });
}

}  // namespace poolhead::bench
