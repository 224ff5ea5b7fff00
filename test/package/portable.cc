// Linked into the prebuilt addons alone, so that one file serves glibc from 2.28 on and musl, and into what
// musl.ts makes of libstdc++. The addon has its part of the C++ library within it, and takes from libc only
// functions that both have under the same name.
#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exception>
#include <new>

extern "C" {

// glibc's since 2.32: libstdc++ counts references without atomics while there is one thread.
char __libc_single_threaded = 0;

// glibc's since 2.33; before that it was a macro around __fxstat.
int fstat(int file, struct stat* status) noexcept {
  return static_cast<int>(syscall(SYS_fstat, file, status));
}

// glibc's since 2.35: where the loaded file that holds `code` has its unwinding tables.
int _dl_find_object(void* code, dl_find_object* found) noexcept {
  struct Search {
    ElfW(Addr) code;
    dl_find_object* found;
  } search = {reinterpret_cast<ElfW(Addr)>(code), found};
  const auto look = [](dl_phdr_info* file, size_t, void* data) {
    const auto& wanted = *static_cast<Search*>(data);
    bool inside = false;
    ElfW(Addr) tables = 0;
    for (int i = 0; i < file->dlpi_phnum; i++) {
      const ElfW(Phdr)& part = file->dlpi_phdr[i];
      const ElfW(Addr) start = file->dlpi_addr + part.p_vaddr;
      if (part.p_type == PT_LOAD && wanted.code - start < part.p_memsz) {
        inside = true;
        wanted.found->dlfo_map_start = reinterpret_cast<void*>(start);
        wanted.found->dlfo_map_end = reinterpret_cast<void*>(start + part.p_memsz);
      }
      if (part.p_type == PT_GNU_EH_FRAME) tables = start;
    }
    if (!inside || tables == 0) return 0;
    wanted.found->dlfo_eh_frame = reinterpret_cast<void*>(tables);
    return 1;
  };
  return dl_iterate_phdr(look, &search) == 1 ? 0 : -1;
}

// glibc's name for it within libgcc, which asks what atomic instructions an arm64 processor has.
unsigned long __getauxval(unsigned long type) { return getauxval(type); }

// libstdc++ has them in thread-local memory of a kind that musl refuses to files which are loaded late.
struct Exceptions {
  void* caught;
  unsigned int uncaught;
};
static thread_local Exceptions exceptions;
void* __cxa_get_globals() { return &exceptions; }
void* __cxa_get_globals_fast() { return &exceptions; }

// libstdc++ refers to it without asking for it to be linked.
void __cxa_pure_virtual() { std::terminate(); }

}  // extern "C"

// What the containers throw. Those of libstdc++ bring its locales with them, to translate what they say; the
// border of the addon makes ENOMEM of every exception and reads no text.
namespace std {

void __throw_bad_alloc() { throw bad_alloc(); }
void __throw_bad_array_new_length() { throw bad_alloc(); }
void __throw_bad_function_call() { throw exception(); }
void __throw_length_error(const char*) { throw exception(); }
void __throw_logic_error(const char*) { throw exception(); }
void __throw_out_of_range(const char*) { throw exception(); }
void __throw_out_of_range_fmt(const char*, ...) { throw exception(); }
void __throw_system_error(int) { throw exception(); }

}  // namespace std
