// udmabuf, DMA heaps, the dma-bufs of both, and u-dma-buf nodes, as
// drivers/dma-buf/{udmabuf,dma-heap,dma-buf}.c and the module u-dma-buf answer them. The bytes of a dma-buf
// are its own here, also where the kernel would share a memfd's.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_kernel.h"

enum { NODE_BYTES = 1 << 20, LIST_LIMIT = 1024 };
#define NODE_ADDRESS 0x3fff0000ull

static int new_file(const char* kind, uint64_t size, int flags) {
  struct object* const object = calloc(1, sizeof *object);
  if (object == NULL) abort();
  object->driver = &fk_buffers;
  object->kind = kind;
  return fk_open_object(object, size, flags);
}

int fk_new_dma_buf(uint64_t size, int flags) {
  if (size > 1ull << 40) return -ENOMEM;
  const int fd = new_file("dma-buf", size, flags);
  return fd < 0 ? -errno : fd;
}

static int buffers_open(const char* path, int flags) {
  if (strcmp(path, "/dev/udmabuf") == 0) return new_file("udmabuf", 0, flags);
  if (strcmp(path, "/dev/dma_heap/system") == 0) return new_file("heap", 0, flags);
  if (strcmp(path, "/dev/fake-udmabuf0") == 0) return new_file("u-dma-buf", NODE_BYTES, flags);
  return -2;
}

static int udmabuf_create(const struct udmabuf_create_list* list) {
  const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  if (fk_check_memory((uintptr_t)list, sizeof *list) != 0) return -EFAULT;
  if (list->count == 0 || list->count > LIST_LIMIT) return -EINVAL;
  if (fk_check_memory((uintptr_t)list, sizeof *list + list->count * sizeof *list->list) != 0) return -EFAULT;
  uint64_t size = 0;
  for (uint32_t i = 0; i < list->count; i++) {
    const struct udmabuf_create_item* const item = &list->list[i];
    struct stat facts;
    if (((item->offset | item->size) & (page - 1)) != 0 || item->size == 0) return -EINVAL;
    const int seals = fcntl((int)item->memfd, F_GET_SEALS);
    if (seals < 0) return errno == EBADF ? -EBADFD : -EINVAL;
    if ((seals & F_SEAL_SHRINK) == 0 || (seals & F_SEAL_WRITE) != 0) return -EINVAL;
    if (fstat((int)item->memfd, &facts) != 0) return -EBADFD;
    if (item->offset > (uint64_t)facts.st_size || item->size > (uint64_t)facts.st_size - item->offset)
      return -EINVAL;
    size += item->size;
  }
  return fk_new_dma_buf(size, (list->flags & UDMABUF_FLAGS_CLOEXEC) != 0 ? O_CLOEXEC : 0);
}

static int heap_allocate(struct dma_heap_allocation_data* data) {
  const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  if (data->fd != 0 || data->heap_flags != 0 || data->len == 0 || data->len > 1ull << 40) return -EINVAL;
  const int fd = fk_new_dma_buf((data->len + page - 1) / page * page, (int)data->fd_flags);
  if (fd < 0) return fd;
  data->fd = (uint32_t)fd;
  return 0;
}

/** A node of u-dma-buf 5.5. */
static int node_ioctl(unsigned long request, void* argument) {
  uint64_t* const fields = argument;
  switch (request & 0xff) {
    case 1: {  // GET_DRV_INFO: flags, version
      static const char version[16] = "5.5.0";
      fields[0] = 2;
      memcpy(fields + 1, version, sizeof version);
      return 0;
    }
    case 7:  // GET_DEV_INFO: flags, size, address
      fields[0] = 32;
      fields[1] = NODE_BYTES;
      fields[2] = NODE_ADDRESS;
      return 0;
    case 9:  // SET_SYNC: flags, size, offset
      return fields[2] > NODE_BYTES || fields[1] > NODE_BYTES - fields[2] ? -EINVAL : 0;
    case 10: {  // EXPORT: flags, size, offset, address, fd
      if (fields[2] > NODE_BYTES || fields[1] > NODE_BYTES - fields[2]) return -EINVAL;
      const int fd = fk_new_dma_buf(fields[1], (int)fields[0]);
      if (fd < 0) return fd;
      fields[3] = NODE_ADDRESS + fields[2];
      memcpy(fields + 4, &fd, sizeof fd);
      return 0;
    }
    default:
      return -ENOTTY;
  }
}

static int buffers_ioctl(struct object* object, unsigned long request, void* argument) {
  if (strcmp(object->kind, "udmabuf") == 0 && request == UDMABUF_CREATE_LIST) return udmabuf_create(argument);
  if (strcmp(object->kind, "heap") == 0 && request == DMA_HEAP_IOCTL_ALLOC) return heap_allocate(argument);
  if (strcmp(object->kind, "u-dma-buf") == 0 && ((request >> 8) & 0xff) == 'U')
    return node_ioctl(request, argument);
  if (strcmp(object->kind, "dma-buf") == 0 && request == DMA_BUF_IOCTL_SYNC) {
    const struct dma_buf_sync* const sync = argument;
    const bool valid =
        (sync->flags & ~(uint64_t)DMA_BUF_SYNC_VALID_FLAGS_MASK) == 0 && (sync->flags & DMA_BUF_SYNC_RW) != 0;
    return valid ? 0 : -EINVAL;
  }
  return -ENOTTY;
}

const struct driver fk_buffers = {"buffers", buffers_open, buffers_ioctl, NULL};
