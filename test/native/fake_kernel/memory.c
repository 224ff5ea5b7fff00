// What the kernel does with a pointer that a program gives it.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_kernel.h"

/** AddressSanitizer's, where the addon is built with it. */
extern void* __asan_region_is_poisoned(void* start, size_t size) __attribute__((weak));

int fk_check_memory(uint64_t address, uint64_t size) {
  static int sink = -1;
  if (size == 0) return 0;
  if (__asan_region_is_poisoned != NULL && size < 1ull << 32) {
    const void* const bad = __asan_region_is_poisoned((void*)(uintptr_t)address, size);
    if (bad != NULL) {
      fprintf(stderr, "fake kernel: given [%#llx, +%llu), of which %p is nobody's\n",
              (unsigned long long)address, (unsigned long long)size, bad);
      abort();
    }
  }
  if (sink < 0) sink = memfd_create("sink", MFD_CLOEXEC);
  // The kernel below us looks at the memory, and says so instead of raising a signal.
  const bool first = pwrite(sink, (void*)(uintptr_t)address, 1, 0) == 1;
  const bool last = pwrite(sink, (void*)(uintptr_t)(address + size - 1), 1, 0) == 1;
  return first && last ? 0 : -EFAULT;
}
