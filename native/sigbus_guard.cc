#include "sigbus_guard.h"

#include <ucontext.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <type_traits>

#include "mmio_access.h"

// The bounds of the section of the fault table, which the linker provides.
extern "C" const userdma::FaultEntry __start_userdma_fault_table[] __attribute__((visibility("hidden")));
extern "C" const userdma::FaultEntry __stop_userdma_fault_table[] __attribute__((visibility("hidden")));

namespace userdma {

namespace {

/** A handler that existed when the guard was put in front of it. */
struct Found {
  struct sigaction action;
  const Found* older;  // the handler that was in front when this one was first found
  Found* next;         // in `known`
};

/** The handler to which this thread has just passed a signal. */
struct HandedOn {
  const void* context;
  uintptr_t frame;  // the position of our stack: a handler that calls us back is below it
  const Found* to;
};

// These are the only mutable statics of the addon. A signal has one handler in a process, and the addon
// cannot pass it an argument. The addon is linked so that it is never unloaded. A Found is never freed,
// because a signal may be using it; there is one for each different handler.
std::mutex arming;
Found* known = nullptr;  // all of them; guarded by `arming`
std::atomic<const Found*> newest{nullptr};

// The handler must not allocate this variable. glibc allocates it at the first access, so every thread
// that arms the guard has one. (musl allocates one for every thread at once. It refuses to load a library
// with a thread-local variable of the initial-exec model.)
thread_local HandedOn handed_on;

#if defined(__x86_64__)
auto& ProgramCounter(ucontext_t* context) { return context->uc_mcontext.gregs[REG_RIP]; }
#else
auto& ProgramCounter(ucontext_t* context) { return context->uc_mcontext.pc; }
#endif

uintptr_t Target(const int32_t& field) {
  return reinterpret_cast<uintptr_t>(&field) + static_cast<intptr_t>(field);
}

void Default(int number) {
  signal(number, SIG_DFL);
  raise(number);
}

void Pass(const Found* to, int number, siginfo_t* info, void* context) {
  if (to == nullptr) return Default(number);
  if ((to->action.sa_flags & SA_SIGINFO) != 0) return to->action.sa_sigaction(number, info, context);
  const bool sent = info->si_code <= 0;  // sent by kill() and not by a fault: it may be ignored
  if (to->action.sa_handler == SIG_IGN && sent) return;
  if (to->action.sa_handler == SIG_IGN || to->action.sa_handler == SIG_DFL) return Default(number);
  to->action.sa_handler(number);
}

/**
 * A SIGBUS from another place in the program. It is passed to the handler that was there before, or to
 * the default, which ends the process. That handler may once have been put in front of ours, and may pass
 * the signal on to us in turn. Then the one before it gets the signal.
 */
void Chain(int number, siginfo_t* info, void* context) {
  const HandedOn before = handed_on;
  const uintptr_t frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  const bool again = before.context == context && frame < before.frame;
  const Found* const to = again ? before.to->older : newest.load(std::memory_order_acquire);
  if (to == nullptr) return Default(number);
  handed_on = {context, frame, to};
  Pass(to, number, info, context);
  handed_on = before;
}

void OnSigbus(int number, siginfo_t* info, void* context) {
  auto& counter = ProgramCounter(static_cast<ucontext_t*>(context));
  for (const FaultEntry* entry = __start_userdma_fault_table; entry != __stop_userdma_fault_table; ++entry) {
    if (Target(entry->instruction) != static_cast<uintptr_t>(counter)) continue;
    counter = static_cast<std::remove_reference_t<decltype(counter)>>(Target(entry->resume));
    return;
  }
  Chain(number, info, context);
}

bool IsSame(const struct sigaction& one, const struct sigaction& other) {
  const bool with_info = (one.sa_flags & SA_SIGINFO) != 0;
  if (with_info != ((other.sa_flags & SA_SIGINFO) != 0)) return false;
  return with_info ? one.sa_sigaction == other.sa_sigaction : one.sa_handler == other.sa_handler;
}

}  // namespace

void ArmSigbusGuard() {
  handed_on = {};
  const std::lock_guard<std::mutex> lock(arming);
  struct sigaction action = {};
  action.sa_sigaction = OnSigbus;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  struct sigaction there;
  sigaction(SIGBUS, nullptr, &there);
  if (IsSame(there, action)) return;
  Found* found = known;
  while (found != nullptr && !IsSame(found->action, there)) found = found->next;
  if (found == nullptr) known = found = new Found{there, newest.load(std::memory_order_relaxed), known};
  newest.store(found, std::memory_order_release);
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace userdma
