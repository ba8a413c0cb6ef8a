// Devices are Eigen's: DefaultDevice runs on the caller's thread, ThreadPoolDevice on the caller's pool.
#pragma once

#include "poolhead/core/error.hpp"

#include <unsupported/Eigen/CXX11/Tensor>

#include <algorithm>
#include <concepts>
#include <exception>
#include <latch>

namespace poolhead::inline POOLHEAD_ISA {

/// Eigen::ThreadPoolDevice (in units that define EIGEN_USE_THREADS), or anything that offers the same pool.
template <class D>
concept PoolDevice = requires(const D& device) {
  { device.numThreads() } -> std::convertible_to<int>;
  device.getPool()->Schedule([] {});
  { device.getPool()->CurrentThreadId() } -> std::convertible_to<int>;
};

template <class D>
concept Device = std::same_as<D, Eigen::DefaultDevice> || PoolDevice<D>;

namespace detail {

/// The least memory traffic worth a thread of its own: some 20 us at memory speed, several times the cost of
/// waking a worker.
inline constexpr double bytes_per_thread = 512.0 * 1024.0;

/// How many threads share count items that touch bytes_per_item each. One when called from a worker of the
/// same pool, which may not block on its own pool.
template <Device D>
Index thread_count(const D& device, Index count, double bytes_per_item) {
  if constexpr (PoolDevice<D>) {
    const double worthwhile = static_cast<double>(count) * bytes_per_item / bytes_per_thread;
    const Index threads = std::min<Index>(device.numThreads(), count);
    if (threads < 2 || worthwhile < 2.0 || device.getPool()->CurrentThreadId() >= 0) return 1;
    return worthwhile < static_cast<double>(threads) ? static_cast<Index>(worthwhile) : threads;
  } else {
    return 1;
  }
}

/// Calls body(thread, begin, end) on `threads` static, contiguous parts of 0..count-1, the first on this
/// thread. Returns when all are done; the first part's exception, if any, is thrown here. What body writes may
/// depend on the item alone, never on `thread` or on where a part ends: results are then the same bits for
/// every number of threads.
template <Device D, class Body>
void parallel_parts(const D& device, Index threads, Index count, const Body& body) {
  if (threads <= 1) {
    if (count > 0) body(Index{0}, Index{0}, count);
    return;
  }
  if constexpr (PoolDevice<D>) {
    struct Shared {
      const Body& body;
      Index threads;
      Index count;
      std::latch pending;
      std::exception_ptr error{};
      std::atomic_flag failed{};

      void run(Index thread) {
#if defined(__cpp_exceptions)
        try {
          body(thread, count * thread / threads, count * (thread + 1) / threads);
        } catch (...) {
          if (!failed.test_and_set()) error = std::current_exception();
        }
#else
        body(thread, count * thread / threads, count * (thread + 1) / threads);
#endif
        pending.count_down();
      }
    };
    Shared shared{body, threads, count, std::latch(threads)};
    // Two words of capture fit std::function's own buffer: scheduling allocates nothing here.
    for (Index thread = 1; thread < threads; ++thread) {
      device.getPool()->Schedule([&shared, thread] { shared.run(thread); });
    }
    shared.run(0);
    shared.pending.wait();
#if defined(__cpp_exceptions)
    if (shared.error) std::rethrow_exception(shared.error);
#endif
  }
}

/// Calls body(begin, end) on static parts of 0..count-1; the number of threads follows from the bytes touched.
template <Device D, class Body>
void parallel_for(const D& device, Index count, double bytes_per_item, const Body& body) {
  parallel_parts(device, thread_count(device, count, bytes_per_item), count,
                 [&](Index, Index begin, Index end) { body(begin, end); });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
