// A WebAssembly module has one thread, and its C++ library no <thread>, <mutex> or <condition_variable>: the few names
// that Verilator's runtime takes from there, doing nothing.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include_next <mutex>

namespace std {
struct mutex {
  void lock() {}
  bool try_lock() { return true; }
  void unlock() {}
};
struct recursive_mutex : mutex {};
template <typename Mutex>
struct lock_guard {
  explicit lock_guard(Mutex&) {}
};
template <typename Mutex>
struct unique_lock {
  explicit unique_lock(Mutex&) {}
  void lock() {}
  void unlock() {}
};
struct condition_variable {
  template <typename Lock>
  void wait(Lock&) {}
  template <typename Lock, typename Predicate>
  void wait(Lock&, Predicate) {}
  void notify_one() {}
  void notify_all() {}
};
struct condition_variable_any : condition_variable {};
struct thread {
  using id = int;
  template <typename... Arguments>
  explicit thread(Arguments&&...) {}
  thread() = default;
  void join() {}
  bool joinable() const { return false; }
  static unsigned hardware_concurrency() { return 1; }
};
namespace this_thread {
inline int get_id() { return 0; }
inline void yield() {}
}  // namespace this_thread
}  // namespace std
