// The parallel loop: every item once, in parts on the caller's pool, or on the caller's thread alone.
#define EIGEN_USE_THREADS
#include <poolhead/core/device.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace ph = poolhead;
using ph::Index;

static_assert(ph::Device<Eigen::DefaultDevice>);
static_assert(ph::Device<Eigen::ThreadPoolDevice>);
static_assert(ph::PoolDevice<Eigen::ThreadPoolDevice>);
static_assert(!ph::PoolDevice<Eigen::DefaultDevice>);
static_assert(!ph::Device<int>);

namespace {

constexpr double much = 1 << 20;  // bytes per item: worth a thread of its own

/// How often each of count items was visited; empty where a part was not within 0..count.
template <class Device>
std::vector<int> visits(const Device& device, Index count, double bytes) {
  std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
  std::atomic<bool> inside = true;
  ph::detail::parallel_for(device, count, bytes, [&](Index begin, Index end) {
    if (begin < 0 || end > count || begin > end) inside = false;
    for (Index i = begin; inside && i < end; ++i) ++seen[static_cast<std::size_t>(i)];
  });
  if (!inside) return {};
  return {seen.begin(), seen.end()};
}

}  // namespace

TEST_CASE("the parallel loop visits every item exactly once", "[device]") {
  for (int size : {1, 2, 3, 4, 7}) {
    Eigen::ThreadPool pool(size);
    const Eigen::ThreadPoolDevice device(&pool, size);
    for (Index count : {0, 1, 2, 3, 5, 6, 7, 8, 13, 64, 1000}) {
      CAPTURE(size, count);
      const std::vector<int> once(static_cast<std::size_t>(count), 1);
      CHECK(visits(device, count, much) == once);
      CHECK(visits(device, count, 1) == once);
      CHECK(visits(Eigen::DefaultDevice(), count, much) == once);
    }
  }
}

TEST_CASE("large work is shared, small work stays on the caller's thread", "[device]") {
  Eigen::ThreadPool pool(4);
  const Eigen::ThreadPoolDevice device(&pool, 4);
  const auto threads_of = [&](Index count, double bytes) {
    std::set<std::thread::id> ids;
    std::mutex mutex;
    ph::detail::parallel_for(device, count, bytes, [&](Index, Index) {
      const std::lock_guard lock(mutex);
      ids.insert(std::this_thread::get_id());
    });
    return ids;
  };
  CHECK(threads_of(1000, 8) == std::set{std::this_thread::get_id()});
  CHECK(threads_of(1, 100 * much) == std::set{std::this_thread::get_id()});

  // Two parts that wait for each other can only end on two threads.
  std::atomic<int> arrived = 0;
  ph::detail::parallel_parts(device, 2, 2, 8 * much, [&](Index, Index, Index) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  CHECK(arrived == 2);
  CHECK(ph::detail::thread_count(device, 1000, much) == 4);
  CHECK(ph::detail::thread_count(device, 3, much) == 3);
  CHECK(ph::detail::thread_count(Eigen::DefaultDevice(), 1000, much) == 1);
}

TEST_CASE("calls that follow each other are shared though none of them is worth waking anybody", "[device]") {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  const auto caller = std::this_thread::get_id();
  const auto start = std::chrono::steady_clock::now();
  std::atomic<bool> shared = false;
  while (!shared && std::chrono::steady_clock::now() - start < std::chrono::seconds(60)) {
    ph::detail::parallel_for(device, 8, much / 8, [&](Index, Index) {
      if (std::this_thread::get_id() != caller) shared = true;
    });
  }
  CHECK(shared);
}

TEST_CASE("an exception in any part reaches the caller after every part has ended", "[device]") {
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  for (Index bad = 0; bad < 3; ++bad) {
    CAPTURE(bad);
    std::atomic<int> ended = 0;
    const auto body = [&](Index, Index part, Index) {
      ++ended;
      if (part == bad) throw std::runtime_error("this part");
    };
    CHECK_THROWS_WITH(ph::detail::parallel_parts(device, 3, 3, 12 * much, body), "this part");
    CHECK(ended == 3);
  }
  const auto always = [](Index, Index, Index) { throw std::runtime_error("all parts"); };
  CHECK_THROWS_WITH(ph::detail::parallel_parts(device, 3, 3, 12 * much, always), "all parts");
  CHECK_THROWS_WITH(ph::detail::parallel_parts(Eigen::DefaultDevice(), 1, 3, 12 * much, always), "all parts");
  CHECK(visits(device, 12, much) == std::vector<int>(12, 1));  // the pool is as good as before
}

TEST_CASE("a loop inside a worker of the same pool runs there and does not wait for the pool", "[device]") {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  std::atomic<int> visited = 0;
  std::atomic<int> elsewhere = 0;
  Eigen::Barrier done(2);
  for (int worker = 0; worker < 2; ++worker) {
    pool.Schedule([&] {
      const auto me = std::this_thread::get_id();
      ph::detail::parallel_for(device, 8, much, [&](Index begin, Index end) {
        visited += static_cast<int>(end - begin);
        if (std::this_thread::get_id() != me) ++elsewhere;
      });
      done.Notify();
    });
  }
  done.Wait();
  CHECK(visited == 16);
  CHECK(elsewhere == 0);
}

TEST_CASE("a worker of one pool may use another pool", "[device]") {
  Eigen::ThreadPool outer(1);
  Eigen::ThreadPool inner(2);
  const Eigen::ThreadPoolDevice device(&inner, 2);
  std::atomic<int> visited = 0;
  Eigen::Notification done;
  outer.Schedule([&] {
    ph::detail::parallel_for(device, 8, much,
                             [&](Index begin, Index end) { visited += static_cast<int>(end - begin); });
    done.Notify();
  });
  done.Wait();
  CHECK(visited == 8);
}

TEST_CASE("a loop does not wait for workers that are busy with something else", "[device]") {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  Eigen::Notification go_on;
  Eigen::Barrier busy(2);
  Eigen::Barrier done(2);
  for (int worker = 0; worker < 2; ++worker) {
    pool.Schedule([&] {
      busy.Notify();
      go_on.Wait();
      done.Notify();
    });
  }
  busy.Wait();
  for (int run = 0; run < 3; ++run) CHECK(visits(device, 100, much) == std::vector<int>(100, 1));
  go_on.Notify();
  done.Wait();
  // Who comes too late for those has nothing to do with what follows, or helps.
  for (int run = 0; run < 50; ++run) CHECK(visits(device, 100, much) == std::vector<int>(100, 1));
}

TEST_CASE("a loop in a part of another one, on the same pool or on one of its own", "[device]") {
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  for (int run = 0; run < 20; ++run) {
    std::atomic<int> right = 0;
    ph::detail::parallel_for(device, 6, much, [&](Index begin, Index end) {
      Eigen::ThreadPool own(2);
      for (Index i = begin; i < end; ++i) {
        right += visits(device, 9, much) == std::vector<int>(9, 1);
        right += visits(Eigen::ThreadPoolDevice(&own, 2), 9, much) == std::vector<int>(9, 1);
      }
    });
    CHECK(right == 12);
  }
}

TEST_CASE("a thread and its pool may end while workers are on their way to it", "[device]") {
  for (int run = 0; run < 50; ++run) {
    Eigen::ThreadPool pool(4);
    const Eigen::ThreadPoolDevice device(&pool, 4);
    std::vector<int> seen;
    std::thread([&] { seen = visits(device, 4, much); }).join();
    CHECK(seen == std::vector<int>(4, 1));
  }
}

TEST_CASE("parts are a member's own while it works on them", "[device]") {
  Eigen::ThreadPool pool(4);
  const Eigen::ThreadPoolDevice device(&pool, 4);
  for (int run = 0; run < 20; ++run) {
    std::vector<std::atomic<int>> working(4);
    std::atomic<bool> alone = true;
    ph::detail::parallel_parts(device, 4, 1000, 16 * much, [&](Index thread, Index, Index) {
      std::atomic<int>& own = working[static_cast<std::size_t>(thread)];
      if (++own != 1) alone = false;
      std::this_thread::yield();
      --own;
    });
    CHECK(alone);
  }
}

TEST_CASE("many user threads may share one pool", "[device]") {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  std::atomic<int> right = 0;
  std::vector<std::thread> users;
  for (int user = 0; user < 4; ++user) {
    users.emplace_back([&] {
      for (int run = 0; run < 50; ++run) {
        if (visits(device, 16, much) == std::vector<int>(16, 1)) ++right;
      }
    });
  }
  for (std::thread& user : users) user.join();
  CHECK(right == 200);
}
