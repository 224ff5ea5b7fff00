// The functions of libc that the addon and Node.js call, with our files taken out.
// libc has two names for functions with an offset; with this macro, the headers would take one for both.
#undef _FILE_OFFSET_BITS
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fake_kernel.h"

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALLER __builtin_return_address(0)

static const struct driver* const drivers[] = {&fk_vfio, &fk_iommufd, &fk_buffers};

// Workers call at the same time; a driver may call back into here, for the descriptors it keeps.
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static struct object* objects[MAX_FDS];

struct object* fk_object(int fd) { return fd >= 0 && fd < MAX_FDS ? objects[fd] : NULL; }

static void put(int fd, struct object* object) {
  objects[fd] = object;
  object->descriptors++;
}

int fk_open_object(struct object* object, uint64_t size, int flags) {
  const int fd = memfd_create("fake-kernel", flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
  if (fd < 0 || fd >= MAX_FDS || ftruncate(fd, (off_t)size) != 0) {
    if (fd >= 0) REAL(close)(fd);
    free(object);
    errno = EMFILE;
    return -1;
  }
  put(fd, object);
  return fd;
}

int fk_count(const char* kind) {
  int count = 0;
  for (int fd = 0; fd < MAX_FDS; fd++) {
    bool first = objects[fd] != NULL && strcmp(objects[fd]->kind, kind) == 0;
    for (int other = 0; first && other < fd; other++) first = objects[other] != objects[fd];
    if (first) count++;
  }
  return count;
}

void fk_put(struct object* object) {
  if (--object->descriptors > 0) return;
  if (object->driver->release != NULL) object->driver->release(object);
  free(object);
}

/** The descriptor is about to go, or to become another file's. */
static void take(int fd) {
  struct object* const object = fk_object(fd);
  if (object == NULL) return;
  objects[fd] = NULL;
  fk_put(object);
}

void fk_close(int fd) { REAL(close)(fd); }

static int report(void) {
  static const char* const kinds[] = {"container", "group",   "device", "iommufd",
                                      "dma-buf",   "udmabuf", "heap",   "u-dma-buf"};
  char text[512];
  int length = snprintf(text, sizeof text, "{\"open\":{");
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    length += snprintf(text + length, sizeof text - (size_t)length, "%s\"%s\":%d", i > 0 ? "," : "", kinds[i],
                       fk_count(kinds[i]));
  }
  length += snprintf(text + length, sizeof text - (size_t)length, "},\"dma\":%d,\"allocations\":%ld}",
                     fk_dma_mappings(), fk_allocations());
  const int fd = memfd_create("fake-kernel-report", MFD_CLOEXEC);
  if (write(fd, text, (size_t)length) != length || lseek(fd, 0, SEEK_SET) != 0) abort();
  return fd;
}

static bool starts(const char* path, const char* with, const char** rest) {
  const size_t length = strlen(with);
  *rest = path + length;
  return strncmp(path, with, length) == 0;
}

/** A descriptor, -1 with errno, or -2: not ours. */
static int open_ours(const char* path, int flags) {
  const char* rest;
  int fd = -2;
  if (strncmp(path, "/dev/", 5) != 0 && strncmp(path, "/fake-kernel/", 13) != 0) return fd;
  pthread_mutex_lock(&lock);
  if (starts(path, "/fake-kernel/", &rest)) {
    fd = -1;
    errno = ENOENT;
    if (starts(path, "/fake-kernel/report", &rest))
      fd = report();
    else if (starts(path, "/fake-kernel/hostile/", &rest))
      fk_set_hostile(strtoull(rest, NULL, 0));
    else if (starts(path, "/fake-kernel/fail/", &rest))
      fk_set_failure(strtol(rest, NULL, 0));
  }
  for (size_t i = 0; fd == -2 && i < sizeof drivers / sizeof *drivers; i++)
    fd = drivers[i]->open(path, flags);
  pthread_mutex_unlock(&lock);
  return fd;
}

#define OPEN(NAME)                                        \
  int NAME(const char* path, int flags, ...) {            \
    va_list list;                                         \
    va_start(list, flags);                                \
    const int mode = va_arg(list, int);                   \
    va_end(list);                                         \
    if (fk_fails(CALLER)) return errno = EMFILE, -1;      \
    const int fd = open_ours(path, flags);                \
    return fd != -2 ? fd : REAL(NAME)(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

int close(int fd) {
  pthread_mutex_lock(&lock);
  take(fd);
  pthread_mutex_unlock(&lock);
  return REAL(close)(fd);
}

/** libuv closes by this. */
long syscall(long number, ...) {
  va_list list;
  long a[6];
  va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_close) return close((int)a[0]);
  return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/** fcntl(F_DUPFD_CLOEXEC) shares the file. */
static int duplicated(int from, int to) {
  pthread_mutex_lock(&lock);
  if (to >= 0 && to < MAX_FDS && fk_object(from) != NULL) put(to, fk_object(from));
  pthread_mutex_unlock(&lock);
  return to;
}

#define FCNTL(NAME)                                                           \
  int NAME(int fd, int command, ...) {                                        \
    va_list list;                                                             \
    va_start(list, command);                                                  \
    void* const argument = va_arg(list, void*);                               \
    va_end(list);                                                             \
    const bool duplicates = command == F_DUPFD || command == F_DUPFD_CLOEXEC; \
    if (duplicates && fk_fails(CALLER)) return errno = EMFILE, -1;            \
    const int result = REAL(NAME)(fd, command, argument);                     \
    return duplicates ? duplicated(fd, result) : result;                      \
  }
FCNTL(fcntl)
FCNTL(fcntl64)

int ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void* const argument = va_arg(list, void*);
  va_end(list);
  pthread_mutex_lock(&lock);
  struct object* const object = fk_object(fd);
  int result = 0;
  if (object != NULL) {
    const size_t room = fk_room(request, argument);
    result = fk_hostile(request, argument, room, object->driver->ioctl(object, request, argument));
  }
  pthread_mutex_unlock(&lock);
  if (object == NULL) return REAL(ioctl)(fd, request, argument);
  if (result >= 0) return result;
  errno = -result;
  return -1;
}

#define FSTATFS(NAME, TYPE)                                                                                \
  int NAME(int fd, TYPE* facts) {                                                                          \
    const int result = REAL(NAME)(fd, facts);                                                              \
    const struct object* const object = fk_object(fd);                                                     \
    if (result == 0 && object != NULL && strcmp(object->kind, "dma-buf") == 0) facts->f_type = 0x444d4142; \
    return result;                                                                                         \
  }
FSTATFS(fstatfs, struct statfs)
FSTATFS(fstatfs64, struct statfs64)

// What the addon takes from the system, so that each can fail once (failures.c).

void* mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
  if ((flags & MAP_FIXED) == 0 && fk_fails(CALLER)) return errno = ENOMEM, MAP_FAILED;
  return REAL(mmap)(address, size, protection, flags, fd, offset);
}

void* mmap64(void* address, size_t size, int protection, int flags, int fd, off64_t offset) {
  if ((flags & MAP_FIXED) == 0 && fk_fails(CALLER)) return errno = ENOMEM, MAP_FAILED;
  return REAL(mmap64)(address, size, protection, flags, fd, offset);
}

int memfd_create(const char* name, unsigned flags) {
  if (fk_fails(CALLER)) return errno = EMFILE, -1;
  return REAL(memfd_create)(name, flags);
}

int eventfd(unsigned count, int flags) {
  if (fk_fails(CALLER)) return errno = EMFILE, -1;
  return REAL(eventfd)(count, flags);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  if ((mode & FALLOC_FL_PUNCH_HOLE) == 0 && fk_fails(CALLER)) return errno = ENOSPC, -1;
  return REAL(fallocate64)(fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  if ((mode & FALLOC_FL_PUNCH_HOLE) == 0 && fk_fails(CALLER)) return errno = ENOSPC, -1;
  return REAL(fallocate)(fd, mode, offset, length);
}
