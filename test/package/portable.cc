// Linked into the prebuilt addons alone, so that one file serves glibc from 2.28 on and musl. The addon has its part of the
// C++ library within it, and takes from libc only functions that both have under the same name.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exception>
#include <new>

extern "C" {

// glibc's since 2.32: libstdc++ counts references without atomics while there is one thread.
char __libc_single_threaded = 0;

// glibc's since 2.33; before that it was a macro around __fxstat.
int fstat(int file, struct stat* status) noexcept { return static_cast<int>(syscall(SYS_fstat, file, status)); }

// glibc's since 2.35, a faster way to unwinding tables. Where it finds none, libgcc asks dl_iterate_phdr, as it always did.
int _dl_find_object(void*, void*) { return -1; }

}  // extern "C"

// What the containers throw. Those of libstdc++ bring its locales with them, to translate what they say; the border of the
// addon makes ENOMEM of every exception and reads no text.
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
