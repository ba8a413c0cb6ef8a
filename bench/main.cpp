// Times every pool beside the roofline and the rivals that this machine has, in one process on the same
// buffers. What is timed has been verified against a float64 oracle; a wrong result ends in exit code 1.
#include <benchmark/benchmark.h>

#include <Eigen/Core>

#include <unistd.h>
#include <cstdlib>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "console.hpp"
#include "harness.hpp"

namespace {

/// Between parallel regions, OpenMP's workers spin; by default for so long (5 to 20 ms) that waiting for them
/// to stop would take most of the run. libgomp reads this once, before main: hence the second start.
void limit_spinning([[maybe_unused]] char** argv) {
#if defined(__linux__)
  if (std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "10000", 1);
  execv("/proc/self/exe", argv);  // comes back only where it failed
#endif
}

/// Memory that rivals free stays with the process, so that none of them pays for page faults in every call.
void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

void add_versions() {
  using benchmark::AddCustomContext;
  AddCustomContext("compiler", std::string(
#if defined(__clang__)
                                   "Clang "
#else
                                   "GCC "
#endif
                                   __VERSION__));
  AddCustomContext("Eigen", poolhead::detail::message(EIGEN_WORLD_VERSION, ".", EIGEN_MAJOR_VERSION, ".",
                                                      EIGEN_MINOR_VERSION));
#if defined(POOLHEAD_BENCH_LIBTORCH)
  AddCustomContext("libtorch", poolhead::bench::libtorch_version());
#endif
#if defined(POOLHEAD_BENCH_ONEDNN)
  AddCustomContext("oneDNN", poolhead::bench::onednn_version());
#endif
}

}  // namespace

int main(int argc, char** argv) {
  using namespace poolhead::bench;
  limit_spinning(argv);
  keep_freed_memory();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  add_versions();
  add_averages_and_maxima();
  add_generalised_means();
#if !defined(POOLHEAD_BENCH_BASELINE)
  add_lp_norms();
#endif
  add_exponentials();
  add_grids();
#if !defined(POOLHEAD_BENCH_BASELINE)
  add_attention();
  add_fused_heads();
#endif
  register_cases();
  Console console;
  benchmark::RunSpecifiedBenchmarks(&console);
  return anything_wrong() ? 1 : 0;
}
