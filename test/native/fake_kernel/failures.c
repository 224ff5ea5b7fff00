// Makes the Nth allocation of the addon fail: its calls of operator new and malloc, and of the functions of
// libc that give descriptors and mappings (interpose.c). Node.js itself gets everything: it ends the process
// without memory.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fake_kernel.h"

static atomic_long failing, seen;
static _Atomic uintptr_t first, last;  // the addon's code

static int look(struct dl_phdr_info* info, size_t size, void* data) {
  (void)size;
  (void)data;
  const char* const name = strrchr(info->dlpi_name, '/');
  if (name == NULL || strcmp(name, "/userdma.node") != 0) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)* const part = &info->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0) continue;
    first = info->dlpi_addr + part->p_vaddr;
    last = first + part->p_memsz;
  }
  return 1;
}

/** N is counted from here on; the addon is loaded. */
void fk_set_failure(long nth) {
  dl_iterate_phdr(look, NULL);
  seen = 0;
  failing = nth;
}

long fk_allocations(void) { return seen; }

bool fk_fails(const void* caller) {
  const uintptr_t at = (uintptr_t)caller;
  if (at < first || at >= last) return false;
  return ++seen == failing;
}

typedef void* (*allocation)(size_t);

static void* allocate(allocation* next, const char* real, size_t size, const void* caller) {
  if (*next == NULL) *next = (allocation)dlsym(RTLD_NEXT, real);
  if (!fk_fails(caller)) return (*next)(size);
  void (*give_up)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv");
  give_up();
  abort();
}

/** operator new, and the same for arrays. */
void* _Znwm(size_t size) {
  static allocation next;
  return allocate(&next, "_Znwm", size, __builtin_return_address(0));
}

void* _Znam(size_t size) {
  static allocation next;
  return allocate(&next, "_Znam", size, __builtin_return_address(0));
}

/** The published addons have operator new within them, where nothing gets between; it calls malloc. */
void* malloc(size_t size) {
  static allocation next;
  if (next == NULL) next = (allocation)dlsym(RTLD_NEXT, "malloc");
  if (!fk_fails(__builtin_return_address(0))) return next(size);
  errno = ENOMEM;
  return NULL;
}
