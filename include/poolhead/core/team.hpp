// The caller of a parallel loop, and those of a pool's workers that come to help.
#pragma once

#include "poolhead/core/error.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <utility>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The caller begins without waiting for anybody, a worker joins in when it has woken, and who is through with
/// the parts that are meant for him takes what is left of the others'. So no call waits for a worker that
/// sleeps, or that another process keeps from running: who comes too late finds nothing to do. As long as all
/// are in time, the same workers get the same parts, and find in their caches what they left there.
///
/// Waking a worker costs its caller up to 30 us. So a worker stays for longer than that, in case that the next
/// call follows, and calls that follow each other count as one: they wake nobody until they have shown to be
/// worth it.
class Team {
 public:
  /// Whether it can begin something for this pool: workers on their way from an earlier call must be of it.
  bool is_free_for(const void* pool) const { return !busy_ && (pool == pool_ || expected_.load() == 0); }

  /// Calls body(member, part) for the parts 0 .. parts - 1, member 0 being the caller, the others of 0 ..
  /// members - 1 workers. Throws the first exception when all have ended. bytes: the memory traffic of all.
  template <class Pool, class Body>
  void run(Pool& pool, Index members, Index parts, double bytes, const Body& body) {
    if (static_cast<Index>(shares_.size()) < members)
      shares_ = std::vector<Share>(static_cast<std::size_t>(members));
    Share* const shares = shares_.data();
    for (Index i = 0; i < members; ++i) {
      shares[i].next = parts * i / members;
      shares[i].end = parts * (i + 1) / members;
    }
    call_ = [](const void* erased, Index member, Index part) {
      (*static_cast<const Body*>(erased))(member, part);
    };
    body_ = &body;
    members_ = members;
    joined_ = 1;
    pool_ = &pool;
    busy_ = true;
    ++calls_;
    state_ = open;
    traffic_ = Clock::now() < ended_ + stay ? traffic_ + bytes : bytes;
    const double worthwhile = std::min(static_cast<double>(members), traffic_ / bytes_per_waking);
    // Those on their way from an earlier call are as good as new ones.
    for (Index coming = expected_; static_cast<double>(coming) <= worthwhile - 2.0; ++coming) {
      ++holders_;
      ++expected_;
      // A word of capture fits std::function's own buffer: scheduling allocates nothing here.
      pool.Schedule([this] {
        help();
        release();
      });
    }
    work(0);
    for (auto at_work = state_.fetch_and(~open) & ~open; at_work != 0; at_work = state_) state_.wait(at_work);
    busy_ = false;
    ended_ = Clock::now();
#if defined(__cpp_exceptions)
    if (error_) {
      failed_.clear();
      std::rethrow_exception(std::exchange(error_, nullptr));
    }
#endif
  }
  /// Ends the caller's, or a worker's, hold on it.
  void release() {
    if (--holders_ == 0) delete this;
  }

 private:
  static constexpr std::uint32_t open = std::uint32_t{1} << 31;
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds stay{50};
  /// The memory traffic of each member for which one is worth waking: some 20 us.
  static constexpr double bytes_per_waking = 2.0 * 1024.0 * 1024.0;

  /// Parts that are meant for one member.
  struct alignas(64) Share {
    std::atomic<Index> next{};
    Index end = 0;
  };

  // The caller's.
  const void* pool_ = nullptr;
  bool busy_ = false;
  Clock::time_point ended_{};
  double traffic_ = 0.0;  // of calls that follow each other
  // What there is to do.
  std::vector<Share> shares_;
  Index members_ = 0;
  void (*call_)(const void*, Index, Index) = nullptr;
  const void* body_ = nullptr;
  // Everybody's.
  std::atomic<Index> joined_{};         // members so far
  std::atomic<Index> expected_{};       // workers that were called and have not come yet, or have stayed
  std::atomic<std::uint32_t> calls_{};  // of run so far
  std::atomic<Index> holders_{1};       // the caller's thread, and workers
  std::atomic<std::uint32_t> state_{};  // whether workers may join, and how many are at work
  std::atomic_flag failed_;
  std::exception_ptr error_;

  void help() {
    std::uint32_t last = 0;  // the call that it took part in
    for (auto end = Clock::now() + stay; Clock::now() < end;)
      if (join(last)) end = Clock::now() + stay;
    --expected_;
    // A call that still expected this worker has not called another one.
    join(last);
  }
  /// Takes part in a call later than `last`, which becomes that one, if there is any.
  bool join(std::uint32_t& last) {
    if (calls_ == last) return false;
    std::uint32_t now = state_;
    do {
      if ((now & open) == 0) return false;
    } while (!state_.compare_exchange_weak(now, now + 1));
    last = calls_;
    if (const Index member = joined_++; member < members_) work(member);
    if (--state_ == 0) state_.notify_one();
    return true;
  }
  void work(Index member) {
    for (Index i = 0; i < members_; ++i) {
      Share& share = shares_.data()[(member + i) % members_];
      for (Index part = share.next++; part < share.end; part = share.next++) call(member, part);
    }
  }
  void call(Index member, Index part) {
#if defined(__cpp_exceptions)
    try {
      call_(body_, member, part);
    } catch (...) {
      if (!failed_.test_and_set()) error_ = std::current_exception();
    }
#else
    call_(body_, member, part);
#endif
  }
};

/// The teams of the calling thread: one, unless calls are nested or pools take turns.
class Teams {
 public:
  static Team& free_for(const void* pool) {
    static thread_local Teams own;
    for (Team* const team : own.teams_)
      if (team->is_free_for(pool)) return *team;
    own.teams_.reserve(own.teams_.size() + 1);
    return *own.teams_.emplace_back(new Team);
  }
  ~Teams() {
    for (Team* const team : teams_) team->release();
  }
  Teams(const Teams&) = delete;
  Teams& operator=(const Teams&) = delete;

 private:
  std::vector<Team*> teams_;

  Teams() = default;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
