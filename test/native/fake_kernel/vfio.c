// VFIO containers, groups and devices as drivers/vfio/{container,group,vfio_main,vfio_iommu_type1}.c and
// drivers/vfio/pci/vfio_pci_core.c answer them, for these functions:
//
//   group 7: 0000:00:02.0    group 8: 0000:00:03.0    group 9: not viable, since Linux has another function
//   of it                    group 10: 0000:00:05.0, without an IOMMU
//
// Each has BAR 0 of 16 KiB, of which the kernel maps [0, 4 KiB) and [8 KiB, 16 KiB); BAR 1 of 64 I/O ports;
// BAR 2 of 64 KiB, mapped all over; BAR 4 of 8 KiB that may be read only, which no PCI function has and
// vfio-platform may; a ROM; configuration space; one INTx, 4 MSI, 16 MSI-X, error and request. Registers are
// memory.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fake_kernel.h"

enum { KINDS = 5, MAX_VECTORS = 16, MAX_MAPPINGS = 1024, GROUPS = 4, FIRST_GROUP = 7, NO_IOMMU = 10 };

struct mapping {
  uint64_t iova, size;
};

struct container {
  struct object object;
  bool iommu;
  bool without;  // its groups have no IOMMU
  int groups;    // attached
  int mappings;
  struct mapping mapping[MAX_MAPPINGS];
};

struct group {
  struct object object;
  int number;
  struct container* container;
  int devices;
};

struct device {
  struct object object;
  struct group* group;     // NULL: opened by its own node
  struct object* iommufd;  // that it is bound to
  uint32_t ioas;           // that it is attached to, or 0
  int kind;                // of interrupts that is on, or -1
  int vectors;
  int event[KINDS][MAX_VECTORS];
};

static const uint32_t vectors[KINDS] = {1, 4, 16, 1, 1};
static struct group* open_groups[GROUPS];  // a group is opened once at a time
static int mappings;                       // of all containers

int fk_dma_mappings(void) { return mappings + fk_ioas_mappings(); }

static uint64_t page_size(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

static void* new_object(size_t size, const char* kind) {
  struct object* const object = calloc(1, size);
  if (object == NULL) abort();
  object->driver = &fk_vfio;
  object->kind = kind;
  return object;
}

static int vfio_open(const char* path, int flags) {
  if (strcmp(path, "/dev/vfio/vfio") == 0) {
    return fk_open_object(new_object(sizeof(struct container), "container"), 0, flags);
  }
  if (strncmp(path, "/dev/vfio/devices/vfio", 22) == 0) {
    struct device* const device = new_object(sizeof *device, "device");
    device->kind = -1;
    memset(device->event, -1, sizeof device->event);
    return fk_open_object(&device->object, 10ull << 40, flags);
  }
  int number;
  char rest;
  const bool without = sscanf(path, "/dev/vfio/noiommu-%d%c", &number, &rest) == 1;
  if (!without && sscanf(path, "/dev/vfio/%d%c", &number, &rest) != 1) return -2;
  if (number < FIRST_GROUP || number >= FIRST_GROUP + GROUPS) return errno = ENOENT, -1;
  if (without != (number == NO_IOMMU)) return errno = ENOENT, -1;
  if (open_groups[number - FIRST_GROUP] != NULL) return errno = EBUSY, -1;
  struct group* const group = new_object(sizeof *group, "group");
  group->number = number;
  const int fd = fk_open_object(&group->object, 0, flags);
  if (fd >= 0) open_groups[number - FIRST_GROUP] = group;
  return fd;
}

// Containers: type1

/** Copies `fixed` bytes and a chain of two capabilities, as vfio_info_cap_add does: only if there is room. */
static int iommu_info(struct container* container, struct vfio_iommu_type1_info* info) {
  struct {
    struct vfio_iommu_type1_info info;
    struct vfio_iommu_type1_info_cap_iova_range ranges;
    struct vfio_iova_range range[2];
    struct vfio_iommu_type1_info_dma_avail available;
  } full = {0};
  const uint32_t argsz = info->argsz;
  if (argsz < offsetof(struct vfio_iommu_type1_info, cap_offset)) return -EINVAL;
  if (fk_check_memory((uintptr_t)info, argsz) != 0) return -EFAULT;
  full.info.argsz = sizeof full;
  full.info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
  full.info.iova_pgsizes = ~(page_size() - 1);
  full.ranges.header = (struct vfio_info_cap_header){VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1,
                                                     (uint32_t)((char*)&full.available - (char*)&full)};
  full.ranges.nr_iovas = 2;
  full.range[0] = (struct vfio_iova_range){0, 0xfedfffff};
  full.range[1] = (struct vfio_iova_range){0xfef00000, (1ull << 48) - 1};
  full.available.header = (struct vfio_info_cap_header){VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0};
  full.available.avail = (uint32_t)(MAX_MAPPINGS - container->mappings);
  if (argsz >= sizeof full) {
    full.info.cap_offset = (uint32_t)((char*)&full.ranges - (char*)&full);
    memcpy(info, &full, sizeof full);
  } else {
    memcpy(info, &full, argsz < sizeof full.info ? argsz : sizeof full.info);
  }
  return 0;
}

static int map_dma(struct container* container, const struct vfio_iommu_type1_dma_map* map) {
  const uint64_t mask = page_size() - 1;
  if (map->argsz < sizeof *map || (map->flags & ~3u) != 0 || (map->flags & 3u) == 0) return -EINVAL;
  if (map->size == 0 || ((map->size | map->iova | map->vaddr) & mask) != 0) return -EINVAL;
  if (map->iova + map->size - 1 < map->iova || map->vaddr + map->size - 1 < map->vaddr) return -EINVAL;
  for (int i = 0; i < container->mappings; i++) {
    const struct mapping* const there = &container->mapping[i];
    if (map->iova < there->iova + there->size && there->iova < map->iova + map->size) return -EEXIST;
  }
  if (container->mappings == MAX_MAPPINGS) return -ENOSPC;
  if (fk_check_memory(map->vaddr, map->size) != 0) return -EFAULT;
  container->mapping[container->mappings++] = (struct mapping){map->iova, map->size};
  mappings++;
  return 0;
}

/** v2: whole mappings only, and none of them is an answer, too. */
static int unmap_dma(struct container* container, struct vfio_iommu_type1_dma_unmap* unmap) {
  const uint64_t start = unmap->iova, end = unmap->iova + unmap->size;
  if (unmap->argsz < sizeof *unmap || unmap->flags != 0) return -EINVAL;
  if (unmap->size == 0 || ((start | end) & (page_size() - 1)) != 0 || end < start) return -EINVAL;
  for (int i = 0; i < container->mappings; i++) {
    const uint64_t first = container->mapping[i].iova, last = first + container->mapping[i].size;
    if (first < end && start < last && (first < start || last > end)) return -EINVAL;
  }
  unmap->size = 0;
  for (int i = container->mappings - 1; i >= 0; i--) {
    const struct mapping there = container->mapping[i];
    if (there.iova < start || there.iova + there.size > end) continue;
    unmap->size += there.size;
    container->mapping[i] = container->mapping[--container->mappings];
    mappings--;
  }
  return 0;
}

static int container_ioctl(struct container* container, unsigned long request, void* argument) {
  switch (request) {
    case VFIO_GET_API_VERSION:
      return VFIO_API_VERSION;
    case VFIO_CHECK_EXTENSION:
      return (uintptr_t)argument == VFIO_TYPE1_IOMMU || (uintptr_t)argument == VFIO_TYPE1v2_IOMMU ||
             (uintptr_t)argument == VFIO_NOIOMMU_IOMMU;
    case VFIO_SET_IOMMU:
      if (container->groups == 0 || container->iommu) return -EINVAL;
      if ((uintptr_t)argument != (container->without ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU))
        return -ENODEV;
      container->iommu = true;
      return 0;
    default:
      break;
  }
  if (!container->iommu) return -EINVAL;
  if (container->without) return -ENOTTY;
  switch (request) {
    case VFIO_IOMMU_GET_INFO:
      return iommu_info(container, argument);
    case VFIO_IOMMU_MAP_DMA:
      return map_dma(container, argument);
    case VFIO_IOMMU_UNMAP_DMA:
      return unmap_dma(container, argument);
    default:
      return -ENOTTY;
  }
}

// Groups

static int device_open(struct group* group, const char* name) {
  static const char* const names[GROUPS] = {"0000:00:02.0", "0000:00:03.0", "0000:00:04.0", "0000:00:05.0"};
  if (fk_check_memory((uintptr_t)name, strlen(name) + 1) != 0) return -EFAULT;
  if (group->container == NULL || !group->container->iommu) return -EINVAL;
  if (strcmp(name, names[group->number - FIRST_GROUP]) != 0) return -ENODEV;
  struct device* const device = new_object(sizeof *device, "device");
  device->group = group;
  device->kind = -1;
  memset(device->event, -1, sizeof device->event);
  // An open device keeps its group, and with it the container.
  group->object.descriptors++;
  const int fd = fk_open_object(&device->object, 10ull << 40, O_CLOEXEC);
  if (fd < 0) group->object.descriptors--;
  return fd < 0 ? -errno : fd;
}

static int group_ioctl(struct group* group, unsigned long request, void* argument) {
  switch (request) {
    case VFIO_GROUP_GET_STATUS: {
      struct vfio_group_status* const status = argument;
      if (status->argsz < sizeof *status) return -EINVAL;
      status->flags = (group->number == 9 ? 0 : VFIO_GROUP_FLAGS_VIABLE) |
                      (group->container != NULL ? VFIO_GROUP_FLAGS_CONTAINER_SET : 0);
      return 0;
    }
    case VFIO_GROUP_SET_CONTAINER: {
      struct object* const found = fk_object(*(int*)argument);
      if (found == NULL || strcmp(found->kind, "container") != 0) return -EBADF;
      if (group->container != NULL) return -EINVAL;
      if (group->number == 9) return -EPERM;
      if (((struct container*)found)->groups > 0 &&
          ((struct container*)found)->without != (group->number == NO_IOMMU))
        return -EPERM;
      group->container = (struct container*)found;
      group->container->without = group->number == NO_IOMMU;
      group->container->groups++;
      found->descriptors++;
      return 0;
    }
    case VFIO_GROUP_GET_DEVICE_FD:
      return device_open(group, argument);
    default:
      return -ENOTTY;
  }
}

// Devices

static int region_info(struct vfio_region_info* info) {
  static const uint64_t sizes[] = {16384, 64, 65536, 0, 8192, 0, 2048, 4096, 0};
  enum { RW = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE, MAP = VFIO_REGION_INFO_FLAG_MMAP };
  static const uint32_t flags[] = {RW | MAP | VFIO_REGION_INFO_FLAG_CAPS,
                                   RW,
                                   RW | MAP,
                                   0,
                                   VFIO_REGION_INFO_FLAG_READ | MAP,
                                   0,
                                   VFIO_REGION_INFO_FLAG_READ,
                                   RW,
                                   0};
  struct {
    struct vfio_region_info info;
    struct vfio_region_info_cap_sparse_mmap sparse;
    struct vfio_region_sparse_mmap_area area[2];
  } full = {0};
  const uint32_t argsz = info->argsz;
  if (argsz < sizeof full.info || info->index >= sizeof sizes / sizeof *sizes) return -EINVAL;
  if (fk_check_memory((uintptr_t)info, argsz) != 0) return -EFAULT;
  full.info.index = info->index;
  full.info.flags = flags[info->index];
  full.info.size = sizes[info->index];
  full.info.offset = (uint64_t)info->index << 40;
  full.info.argsz = sizeof full.info;
  if ((full.info.flags & VFIO_REGION_INFO_FLAG_CAPS) != 0) {
    full.info.argsz = sizeof full;
    full.sparse.header = (struct vfio_info_cap_header){VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0};
    full.sparse.nr_areas = 2;
    full.area[0] = (struct vfio_region_sparse_mmap_area){0, 4096};
    full.area[1] = (struct vfio_region_sparse_mmap_area){8192, 8192};
    if (argsz >= sizeof full) full.info.cap_offset = sizeof full.info;
  }
  memcpy(info, &full, argsz >= full.info.argsz ? full.info.argsz : sizeof full.info);
  return 0;
}

static void forget(struct device* device, uint32_t kind, uint32_t vector) {
  int* const event = &device->event[kind][vector];
  if (*event >= 0) fk_close(*event);
  *event = -1;
}

static void turn_off(struct device* device, uint32_t kind) {
  for (uint32_t vector = 0; vector < MAX_VECTORS; vector++) forget(device, kind, vector);
  if (device->kind == (int)kind) device->kind = -1;
}

static int set_irqs(struct device* device, const struct vfio_irq_set* set) {
  if (set->argsz < sizeof *set || set->index >= KINDS) return -EINVAL;
  const bool events = (set->flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0;
  const size_t data = events ? set->count * sizeof(int32_t) : 0;
  if (set->argsz - sizeof *set < data) return -EINVAL;
  if (fk_check_memory((uintptr_t)set, set->argsz) != 0) return -EFAULT;
  if (set->start >= vectors[set->index] || set->count > vectors[set->index] - set->start) return -EINVAL;
  if ((set->flags & VFIO_IRQ_SET_ACTION_UNMASK) != 0)
    return set->index == VFIO_PCI_INTX_IRQ_INDEX && device->kind == 0 ? 0 : -EINVAL;
  const bool exclusive = set->index <= VFIO_PCI_MSIX_IRQ_INDEX;
  if (exclusive && device->kind >= 0 && device->kind != (int)set->index) return -EINVAL;
  if (!events && set->count == 0) return turn_off(device, set->index), 0;
  if (!events) {
    for (uint32_t i = 0; i < set->count; i++) {
      const int event = device->event[set->index][set->start + i];
      if (event >= 0 && eventfd_write(event, 1) != 0) return -EIO;
    }
    return 0;
  }
  for (uint32_t i = 0; i < set->count; i++) {
    int32_t event;
    memcpy(&event, set->data + i * sizeof event, sizeof event);
    if (event >= 0 && fcntl(event, F_GETFD) < 0) return -EBADF;
    forget(device, set->index, set->start + i);
    if (event >= 0) device->event[set->index][set->start + i] = fcntl(event, F_DUPFD_CLOEXEC, 0);
  }
  if (exclusive) device->kind = (int)set->index;
  return 0;
}

static int hot_reset_info(struct vfio_pci_hot_reset_info* info) {
  const uint32_t argsz = info->argsz, count = 2;
  if (argsz < sizeof *info) return -EINVAL;
  if (fk_check_memory((uintptr_t)info, argsz) != 0) return -EFAULT;
  info->flags = 0;
  info->count = count;
  if ((argsz - sizeof *info) / sizeof *info->devices < count) return -ENOSPC;
  for (uint32_t i = 0; i < count; i++) {
    info->devices[i] =
        (struct vfio_pci_dependent_device){.group_id = FIRST_GROUP + i, .devfn = (uint8_t)((2 + i) << 3)};
  }
  return 0;
}

static int hot_reset(const struct vfio_pci_hot_reset* reset) {
  if (reset->argsz < sizeof *reset + reset->count * sizeof(int32_t)) return -EINVAL;
  if (fk_check_memory((uintptr_t)reset, reset->argsz) != 0) return -EFAULT;
  bool owned[2] = {false, false};
  for (uint32_t i = 0; i < reset->count; i++) {
    const struct object* const found = fk_object(reset->group_fds[i]);
    if (found == NULL || strcmp(found->kind, "group") != 0) return -EINVAL;
    const int number = ((const struct group*)found)->number - FIRST_GROUP;
    if (number < 2) owned[number] = true;
  }
  return owned[0] && owned[1] ? 0 : -EPERM;
}

/** VFIO_DEVICE_BIND_IOMMUFD: argsz, flags, iommufd, out_devid; the address of a token, which any function
 * takes. */
static int bind_iommufd(struct device* device, uint32_t* words) {
  struct object* const found = fk_object((int)words[2]);
  if (words[0] < 16 || words[1] > 1 || device->group != NULL || device->iommufd != NULL) return -EINVAL;
  if (words[1] == 1) {
    if (words[0] < 24) return -EINVAL;
    uint64_t token;
    memcpy(&token, words + 4, sizeof token);
    if (fk_check_memory(token, 16) != 0) return -EFAULT;
  }
  if (found == NULL || strcmp(found->kind, "iommufd") != 0) return -EBADF;
  device->iommufd = found;
  found->descriptors++;
  words[3] = 1;
  return 0;
}

/** VFIO_DEVICE_ATTACH_IOMMUFD_PT: argsz, flags, id. */
static int attach(struct device* device, const uint32_t* words) {
  if (words[0] < 12 || words[1] != 0 || device->iommufd == NULL || device->ioas != 0) return -EINVAL;
  const int error = fk_attach(device->iommufd, words[2], 1);
  if (error == 0) device->ioas = words[2];
  return error;
}

/**
 * VFIO_DEVICE_FEATURE with VFIO_DEVICE_FEATURE_DMA_BUF: argsz, flags, region, flags of the descriptor, 0,
 * number of ranges; offset, length. A BAR that is mapped has one.
 */
static int registers_as_dma_buf(const uint32_t* words) {
  static const uint64_t sizes[] = {16384, 0, 65536};
  uint64_t range[2];
  if (words[0] < 40 || words[1] != ((1u << 16) | 11)) return -ENOTTY;
  if (fk_check_memory((uintptr_t)words, 40) != 0) return -EFAULT;
  if (words[2] >= 3 || sizes[words[2]] == 0) return -ENODEV;
  if (words[4] != 0 || words[5] != 1) return -EINVAL;
  memcpy(range, words + 6, sizeof range);
  if (range[1] == 0 || ((range[0] | range[1]) & (page_size() - 1)) != 0) return -EINVAL;
  if (range[0] > sizes[words[2]] || range[1] > sizes[words[2]] - range[0]) return -EINVAL;
  return fk_new_dma_buf(range[1], (int)words[3] & O_CLOEXEC);
}

static int device_ioctl(struct device* device, unsigned long request, void* argument) {
  if (request == _IO(VFIO_TYPE, VFIO_BASE + 18)) return bind_iommufd(device, argument);
  if (device->group == NULL && device->iommufd == NULL) return -EINVAL;
  if (request == _IO(VFIO_TYPE, VFIO_BASE + 19)) return attach(device, argument);
  if (request == _IO(VFIO_TYPE, VFIO_BASE + 17)) return registers_as_dma_buf(argument);
  switch (request) {
    case VFIO_DEVICE_GET_INFO: {
      struct vfio_device_info* const info = argument;
      const uint32_t argsz = info->argsz;
      if (argsz < offsetof(struct vfio_device_info, cap_offset)) return -EINVAL;
      if (fk_check_memory((uintptr_t)info, argsz) != 0) return -EFAULT;
      info->flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
      info->num_regions = 9;
      info->num_irqs = KINDS;
      return 0;
    }
    case VFIO_DEVICE_GET_REGION_INFO:
      return region_info(argument);
    case VFIO_DEVICE_GET_IRQ_INFO: {
      struct vfio_irq_info* const info = argument;
      if (info->argsz < sizeof *info || info->index >= KINDS) return -EINVAL;
      info->flags =
          VFIO_IRQ_INFO_EVENTFD | (info->index == VFIO_PCI_MSI_IRQ_INDEX ? VFIO_IRQ_INFO_NORESIZE : 0);
      info->count = vectors[info->index];
      return 0;
    }
    case VFIO_DEVICE_SET_IRQS:
      return set_irqs(device, argument);
    case VFIO_DEVICE_RESET:
      return 0;
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
      return hot_reset_info(argument);
    case VFIO_DEVICE_PCI_HOT_RESET:
      return hot_reset(argument);
    default:
      return -ENOTTY;
  }
}

static int vfio_ioctl(struct object* object, unsigned long request, void* argument) {
  if (object->kind[0] == 'c') return container_ioctl((struct container*)object, request, argument);
  if (object->kind[0] == 'g') return group_ioctl((struct group*)object, request, argument);
  return device_ioctl((struct device*)object, request, argument);
}

static void release_container(struct container* container) { mappings -= container->mappings; }

static void release_group(struct group* group) {
  open_groups[group->number - FIRST_GROUP] = NULL;
  struct container* const container = group->container;
  if (container == NULL) return;
  container->groups--;
  fk_put(&container->object);
}

static void vfio_release(struct object* object) {
  if (object->kind[0] == 'c') return release_container((struct container*)object);
  if (object->kind[0] == 'g') return release_group((struct group*)object);
  struct device* const device = (struct device*)object;
  for (uint32_t kind = 0; kind < KINDS; kind++) turn_off(device, kind);
  if (device->group != NULL) fk_put(&device->group->object);
  if (device->ioas != 0) fk_attach(device->iommufd, device->ioas, -1);
  if (device->iommufd != NULL) fk_put(device->iommufd);
}

const struct driver fk_vfio = {"vfio", vfio_open, vfio_ioctl, vfio_release};
