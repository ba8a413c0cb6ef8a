// Devices are Eigen's: DefaultDevice runs on the caller's thread, ThreadPoolDevice on the caller's pool.
#pragma once

#include "poolhead/core/team.hpp"

#include <unsupported/Eigen/CXX11/Tensor>

#include <algorithm>
#include <concepts>
#include <limits>

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

/// The least memory traffic worth a thread of its own that is awake: some 5 us at memory speed.
inline constexpr double bytes_per_thread = 256.0 * 1024.0;

/// The traffic of what is worth any thread and waking it, whatever it costs.
inline constexpr double much_traffic = std::numeric_limits<double>::infinity();

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

/// Calls body(thread, begin, end) on contiguous parts of 0..count-1, shared by `threads` threads, of which the
/// caller's is 0; a thread has several parts, one after another. Returns when all are done; an exception is
/// thrown here then. What body writes may depend on the item alone, never on `thread` or on where a part ends:
/// results are then the same bits for every number of threads. bytes: the memory traffic of all, which says
/// whether a worker that sleeps is worth waking.
template <Device D, class Body>
void parallel_parts(const D& device, Index threads, Index count, double bytes, const Body& body) {
  if constexpr (PoolDevice<D>) {
    if (threads > 1) {
      constexpr Index parts_per_thread = 4;
      const Index parts = std::min(count, threads * parts_per_thread);
      auto& pool = *device.getPool();
      Teams::free_for(&pool).run(pool, threads, parts, bytes, [&](Index thread, Index part) {
        body(thread, count * part / parts, count * (part + 1) / parts);
      });
      return;
    }
  }
  if (count > 0) body(Index{0}, Index{0}, count);
}

/// Calls body(begin, end) on parts of 0..count-1; the number of threads follows from the bytes touched.
template <Device D, class Body>
void parallel_for(const D& device, Index count, double bytes_per_item, const Body& body) {
  parallel_parts(device, thread_count(device, count, bytes_per_item), count,
                 static_cast<double>(count) * bytes_per_item,
                 [&](Index, Index begin, Index end) { body(begin, end); });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
