#include "sigbus_guard.h"

#include <ucontext.h>

#include <csignal>
#include <cstdint>
#include <mutex>

#include "mmio_access.h"

// Bounds that the linker gives to the section of the fault table.
extern "C" const userdma::FaultEntry __start_userdma_fault_table[] __attribute__((visibility("hidden")));
extern "C" const userdma::FaultEntry __stop_userdma_fault_table[] __attribute__((visibility("hidden")));

namespace userdma {

namespace {

// The only mutable statics of the addon: a signal has one handler in a process, and no argument of ours
// reaches it. Both are written once, before the handler can run. The addon is linked so that it is never
// unloaded.
std::once_flag armed;
struct sigaction previous;

#if defined(__x86_64__)
auto& ProgramCounter(ucontext_t* context) { return context->uc_mcontext.gregs[REG_RIP]; }
#else
auto& ProgramCounter(ucontext_t* context) { return context->uc_mcontext.pc; }
#endif

uintptr_t Target(const int32_t& field) {
  return reinterpret_cast<uintptr_t>(&field) + static_cast<intptr_t>(field);
}

/** Somebody else's SIGBUS: to the handler that was there before, or to the default, which ends the process.
 */
void Chain(int number, siginfo_t* info, void* context) {
  if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(number, info, context);
  const bool sent = info->si_code <= 0;  // by kill(), not by a fault: may be ignored
  if (previous.sa_handler == SIG_IGN && sent) return;
  if (previous.sa_handler != SIG_IGN && previous.sa_handler != SIG_DFL) return previous.sa_handler(number);
  signal(number, SIG_DFL);
  raise(number);
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

}  // namespace

void ArmSigbusGuard() {
  std::call_once(armed, [] {
    struct sigaction action = {};
    action.sa_sigaction = OnSigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, nullptr, &previous);
    sigaction(SIGBUS, &action, nullptr);
  });
}

}  // namespace userdma
