// iommufd as drivers/iommu/iommufd answers it: /dev/iommu with address spaces, and functions that are opened
// without their group: /dev/vfio/devices/vfio0 and vfio1 (drivers/vfio/device_cdev.c; the rest of them is
// vfio.c's). It maps whole pages, also of a memfd by its descriptor.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_kernel.h"

enum { MAX_IOAS = 8, MAX_AREAS = 64 };

struct area {
  uint64_t iova, size;
};

struct ioas {
  bool used;
  int attached;
  int count;
  struct area areas[MAX_AREAS];
};

struct iommufd {
  struct object object;
  struct ioas ioas[MAX_IOAS];  // its id is its place + 1
};

static int mappings;

int fk_ioas_mappings(void) { return mappings; }

static uint64_t mask(void) { return (uint64_t)sysconf(_SC_PAGESIZE) - 1; }

static int iommufd_open(const char* path, int flags) {
  if (strcmp(path, "/dev/iommu") != 0) return -2;
  struct iommufd* const iommufd = calloc(1, sizeof *iommufd);
  if (iommufd == NULL) abort();
  iommufd->object = (struct object){&fk_iommufd, "iommufd", 0};
  return fk_open_object(&iommufd->object, 0, flags);
}

static struct ioas* find(struct iommufd* iommufd, uint32_t id) {
  return id >= 1 && id <= MAX_IOAS && iommufd->ioas[id - 1].used ? &iommufd->ioas[id - 1] : NULL;
}

static int map(struct ioas* ioas, uint64_t iova, uint64_t size, uint32_t flags) {
  if ((flags & 1) == 0 || (flags & ~7u) != 0) return -EOPNOTSUPP;
  if ((flags & 6) == 0 || size == 0 || ((iova | size) & mask()) != 0) return -EINVAL;
  if (iova + size - 1 < iova || iova + size > 1ull << 48) return -EINVAL;
  if (iova < 0xfef00000 && iova + size > 0xfee00000) return -EINVAL;
  for (int i = 0; i < ioas->count; i++) {
    const struct area* const there = &ioas->areas[i];
    if (iova < there->iova + there->size && there->iova < iova + size) return -EEXIST;
  }
  if (ioas->count == MAX_AREAS) return -ENOMEM;
  ioas->areas[ioas->count++] = (struct area){iova, size};
  mappings++;
  return 0;
}

/** One code for a range that cuts an area and for one without any; what comes before the cut is gone. */
static int unmap(struct ioas* ioas, uint64_t start, uint64_t* size) {
  const bool all = start == 0 && *size == UINT64_MAX;
  const uint64_t end = start + *size;
  if (!all && (*size == 0 || end < start)) return -EINVAL;
  uint64_t unmapped = 0;
  for (;;) {
    int first = -1;
    for (int i = 0; i < ioas->count; i++) {
      const struct area* const one = &ioas->areas[i];
      const bool inside = all || (one->iova < end && start < one->iova + one->size);
      if (inside && (first < 0 || one->iova < ioas->areas[first].iova)) first = i;
    }
    if (first < 0) break;
    const struct area area = ioas->areas[first];
    if (!all && (area.iova < start || area.iova + area.size > end)) return -ENOENT;
    ioas->areas[first] = ioas->areas[--ioas->count];
    mappings--;
    unmapped += area.size;
  }
  if (unmapped == 0 && !all) return -ENOENT;
  *size = unmapped;
  return 0;
}

static int iommufd_ioctl(struct object* object, unsigned long request, void* argument) {
  struct iommufd* const iommufd = (struct iommufd*)object;
  uint32_t* const words = argument;
  uint64_t* const longs = argument;
  if (fk_check_memory((uintptr_t)argument, 4) != 0) return -EFAULT;
  if (fk_check_memory((uintptr_t)argument, words[0]) != 0) return -EFAULT;
  switch (request & 0xff) {
    case 0x80: {  // IOMMU_DESTROY: size, id
      struct ioas* const ioas = find(iommufd, words[1]);
      if (ioas == NULL) return -ENOENT;
      if (ioas->attached > 0) return -EBUSY;
      mappings -= ioas->count;
      *ioas = (struct ioas){0};
      return 0;
    }
    case 0x81:  // IOMMU_IOAS_ALLOC: size, flags, out_ioas_id
      if (words[1] != 0) return -EOPNOTSUPP;
      for (uint32_t i = 0; i < MAX_IOAS; i++) {
        if (iommufd->ioas[i].used) continue;
        iommufd->ioas[i].used = true;
        words[2] = i + 1;
        return 0;
      }
      return -ENOMEM;
    case 0x84: {  // IOMMU_IOAS_IOVA_RANGES: size, id, count, 0; array; alignment
      static const uint64_t ranges[] = {0, 0xfedfffff, 0xfef00000, (1ull << 48) - 1};
      if (find(iommufd, words[1]) == NULL) return -ENOENT;
      const uint32_t room = words[2];
      words[2] = 2;
      longs[3] = mask() + 1;
      const size_t bytes = (room < 2 ? room : 2) * 16;
      if (bytes > 0 && fk_check_memory(longs[2], bytes) != 0) return -EFAULT;
      memcpy((void*)(uintptr_t)longs[2], ranges, bytes);
      return room < 2 ? -EMSGSIZE : 0;
    }
    case 0x85: {  // IOMMU_IOAS_MAP: size, flags, id, 0; address, length, iova
      struct ioas* const ioas = find(iommufd, words[2]);
      if (ioas == NULL) return -ENOENT;
      if ((longs[2] & mask()) != 0) return -EINVAL;
      if (fk_check_memory(longs[2], longs[3]) != 0) return -EFAULT;
      return map(ioas, longs[4], longs[3], words[1]);
    }
    case 0x86: {  // IOMMU_IOAS_UNMAP: size, id; iova, length
      struct ioas* const ioas = find(iommufd, words[1]);
      return ioas == NULL ? -ENOENT : unmap(ioas, longs[1], &longs[2]);
    }
    case 0x8f: {  // IOMMU_IOAS_MAP_FILE: size, flags, id, fd; start, length, iova
      struct ioas* const ioas = find(iommufd, words[2]);
      struct stat stat;
      if (ioas == NULL) return -ENOENT;
      if (fstat((int)words[3], &stat) != 0) return -EBADF;
      if (longs[2] + longs[3] > (uint64_t)stat.st_size) return -EINVAL;
      return map(ioas, longs[4], longs[3], words[1]);
    }
    default:
      return -ENOTTY;
  }
}

static void iommufd_release(struct object* object) {
  for (int i = 0; i < MAX_IOAS; i++) mappings -= ((struct iommufd*)object)->ioas[i].count;
}

int fk_attach(struct object* iommufd, uint32_t id, int change) {
  struct ioas* const ioas = find((struct iommufd*)iommufd, id);
  if (ioas == NULL) return -ENOENT;
  ioas->attached += change;
  return 0;
}

const struct driver fk_iommufd = {"iommufd", iommufd_open, iommufd_ioctl, iommufd_release};
