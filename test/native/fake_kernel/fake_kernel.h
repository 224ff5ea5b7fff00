// A kernel for the tests of the addon: a library to preload. It stands in front of libc for the files of
// VFIO, udmabuf, DMA heaps and u-dma-buf, which a machine without an IOMMU does not have, and answers their
// ioctls as drivers/vfio and drivers/dma-buf do. So all of native/vfio*.cc and native/dma_buf.cc runs under
// sanitizers.
//
//      open, close, dup, ioctl, mmap ... --interpose.c--> a file of ours?  no: libc
//                                              |  yes
//           vfio.c, iommufd.c, buffers.c (one file for each driver) --> the faithful answer --hostile.c-->
//           the answer
//
// Every file of ours is a memfd below, so that read, write, lseek and mmap need no help. The state that an
// open file stands for is an Object; it ends with the last descriptor, as a struct file of the kernel does.
//
// The test steers it by opening names that do not exist (interpose.c):
//   /fake-kernel/hostile/SEED   answers are wrong from here on, by chance; SEED 0: faithful again
//   /fake-kernel/fail/N         the Nth allocation of the addon from here on fails; 0: none does (failures.c)
//   /fake-kernel/report         a file to read: {"open": {kind: count}, "dma": mappings, "allocations":
//   count}
//
// A driver more: a file with a `Driver`, and its name in `drivers` of interpose.c.
#ifndef FAKE_KERNEL_H
#define FAKE_KERNEL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_FDS 4096

struct object;

/** What a driver does for the files it opened. */
struct driver {
  const char* name;
  /** A descriptor for `path`, or -1 with errno; -2: this is not its path. */
  int (*open)(const char* path, int flags);
  /** Its ioctls: a result of 0 or more, or -errno. */
  int (*ioctl)(struct object* object, unsigned long request, void* argument);
  /** The last descriptor is closed. */
  void (*release)(struct object* object);
};

/** An open file of a driver; drivers put theirs first in a structure of their own. */
struct object {
  const struct driver* driver;
  const char* kind;
  int descriptors;  // and other objects that keep it open
};

/** A new descriptor for a new file of `size` bytes; it owns `object`, which came from calloc. -1 with errno.
 */
int fk_open_object(struct object* object, uint64_t size, int flags);
/** The object of a descriptor, or NULL. */
struct object* fk_object(int fd);
/** Something that kept an object open lets go of it. */
void fk_put(struct object* object);
/** How many objects of a kind are open. */
int fk_count(const char* kind);
/** Calls libc's close for a descriptor that is no object (an eventfd kept by a driver). */
void fk_close(int fd);

/** Whether all of [address, address + size) is memory of this process that may be read: 0 or -EFAULT. Ends
 * the process with a message when it is memory that nobody owns: the addon gave a pointer that it must not
 * give. */
int fk_check_memory(uint64_t address, uint64_t size);

/** Bytes that a request lets the kernel write at `argument`; asked before the driver changes them. */
size_t fk_room(unsigned long request, const void* argument);
/** Changes a faithful answer by chance, if the test wants that: `result`, and `room` bytes at `argument`. */
int fk_hostile(unsigned long request, void* argument, size_t room, int result);
void fk_set_hostile(uint64_t seed);

/** failures.c: whether the allocation that a function at `caller` asks for is to fail. */
bool fk_fails(const void* caller);
void fk_set_failure(long nth);
long fk_allocations(void);

/** buffers.c: a descriptor of a new dma-buf, or -errno. */
int fk_new_dma_buf(uint64_t size, int flags);

/** vfio.c: mappings for DMA, over all containers. */
int fk_dma_mappings(void);

/** iommufd.c: mappings over all address spaces; a device attaches to one of them (1), or leaves it (-1). */
int fk_ioas_mappings(void);
int fk_attach(struct object* iommufd, uint32_t id, int change);

extern const struct driver fk_vfio, fk_buffers, fk_iommufd;

#endif
