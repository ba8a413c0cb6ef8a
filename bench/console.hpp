// One short line per case as it is done; everything else is in the file of --benchmark_out.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdio>

namespace poolhead::bench {

/// Google Benchmark 1.8 renamed it.
template <class Run>
const std::string& message_of(const Run& run) {
  if constexpr (requires { run.skip_message; })
    return run.skip_message;
  else
    return run.error_message;
}

class Console : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override {
    PrintBasicContext(&GetErrorStream(), context);
    std::printf("%-66s %10s %6s %8s\n", "", "us", "roof", "speed-up");
    return true;
  }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      std::string name = run.benchmark_name();
      name.resize(std::min(name.size(), name.find("/iterations:")));
      if (run.counters.contains("us")) {
        std::printf("%-66s %10.1f", name.c_str(), run.counters.at("us").value);
        for (const char* counter : {"roof", "speed-up"}) {
          const auto found = run.counters.find(counter);
          if (found != run.counters.end()) std::printf(" %6.2f", found->second.value);
        }
        std::printf("  %s\n", run.report_label.c_str());
      } else {
        std::printf("%-66s WRONG: %s\n", name.c_str(), message_of(run).c_str());
      }
    }
    std::fflush(stdout);
  }
};

}  // namespace poolhead::bench
