// One volatile access of 8, 16, 32 or 64 bits that survives SIGBUS.
//
// Each access is a single assembly instruction, so that no compiler splits, merges or widens it. It has
// an entry in a table: (address of the instruction, address to continue at after a fault). The signal
// handler in sigbus_guard.cc looks up the faulting address, as the kernel does for its own accesses to
// user memory (arch/x86/mm/extable.c). An access that succeeds has no extra cost.
//
// The order is that of the kernel's readl and writel. A write comes after all earlier writes to memory,
// so that a doorbell cannot overtake its descriptor. A read comes before all later reads of memory, so
// that data cannot be older than the status that announced it. On x86 the processor keeps both orders,
// and only the compiler has to be told.
//
// Another processor needs its accesses here, its program counter in sigbus_guard.cc, and its name in
// binding.gyp and lib/native/processor.ts.
#pragma once

#include <atomic>
#include <cstdint>

namespace userdma {

/** Offsets are relative to their own field, so that the table needs no relocation. */
struct FaultEntry {
  int32_t instruction;
  int32_t resume;
};

#define USERDMA_FAULT_ENTRY                  \
  ".pushsection userdma_fault_table,\"a\"\n" \
  ".balign 4\n"                              \
  ".long 1b - .\n"                           \
  ".long 3b - .\n"                           \
  ".popsection\n"

#if defined(__x86_64__)

#define USERDMA_FAULT_RESUME                   \
  ".pushsection .text.userdma_resume,\"ax\"\n" \
  "3: movl $1, %0\n"                           \
  "jmp 2b\n"                                   \
  ".popsection\n" USERDMA_FAULT_ENTRY

#define USERDMA_ACCESS(TYPE, LOAD, STORE, REGISTER)             \
  inline bool Load(const volatile TYPE* address, TYPE* value) { \
    int failed = 0;                                             \
    TYPE result;                                                \
    asm volatile("1: " LOAD "\n2:\n" USERDMA_FAULT_RESUME       \
                 : "+r"(failed), REGISTER(result)               \
                 : "m"(*address)                                \
                 : "memory");                                   \
    *value = result;                                            \
    return failed == 0;                                         \
  }                                                             \
  inline bool Store(volatile TYPE* address, TYPE value) {       \
    int failed = 0;                                             \
    asm volatile("1: " STORE "\n2:\n" USERDMA_FAULT_RESUME      \
                 : "+r"(failed), "=m"(*address)                 \
                 : "q"(value)                                   \
                 : "memory");                                   \
    return failed == 0;                                         \
  }

USERDMA_ACCESS(uint8_t, "movb %2, %b1", "movb %b2, %1", "=q")
USERDMA_ACCESS(uint16_t, "movw %2, %w1", "movw %w2, %1", "=r")
USERDMA_ACCESS(uint32_t, "movl %2, %k1", "movl %k2, %1", "=r")
USERDMA_ACCESS(uint64_t, "movq %2, %q1", "movq %q2, %1", "=r")

#elif defined(__aarch64__)

#define USERDMA_FAULT_RESUME                   \
  ".pushsection .text.userdma_resume,\"ax\"\n" \
  "3: mov %w0, #1\n"                           \
  "b 2b\n"                                     \
  ".popsection\n" USERDMA_FAULT_ENTRY

#define USERDMA_ACCESS(TYPE, LOAD, STORE)                             \
  inline bool Load(const volatile TYPE* address, TYPE* value) {       \
    int failed = 0;                                                   \
    TYPE result;                                                      \
    asm volatile("1: " LOAD "\n2: dmb oshld\n" USERDMA_FAULT_RESUME   \
                 : "+r"(failed), "=r"(result)                         \
                 : "Q"(*address)                                      \
                 : "memory");                                         \
    *value = result;                                                  \
    return failed == 0;                                               \
  }                                                                   \
  inline bool Store(volatile TYPE* address, TYPE value) {             \
    int failed = 0;                                                   \
    asm volatile("dmb oshst\n1: " STORE "\n2:\n" USERDMA_FAULT_RESUME \
                 : "+r"(failed), "=Q"(*address)                       \
                 : "r"(value)                                         \
                 : "memory");                                         \
    return failed == 0;                                               \
  }

USERDMA_ACCESS(uint8_t, "ldrb %w1, %2", "strb %w2, %1")
USERDMA_ACCESS(uint16_t, "ldrh %w1, %2", "strh %w2, %1")
USERDMA_ACCESS(uint32_t, "ldr %w1, %2", "str %w2, %1")
USERDMA_ACCESS(uint64_t, "ldr %x1, %2", "str %x2, %1")

#endif

/**
 * The kernel's dma_mb: processors and devices see the accesses before it earlier than the accesses after
 * it.
 */
inline void DmaBarrier() {
#if defined(__aarch64__)
  asm volatile("dmb osh" ::: "memory");
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

#undef USERDMA_ACCESS
#undef USERDMA_FAULT_RESUME
#undef USERDMA_FAULT_ENTRY

}  // namespace userdma
