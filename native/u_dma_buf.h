// The interface of u-dma-buf (github.com/ikwzm/udmabuf, version 4.7 and later). This module does not come
// with the kernel. It allocates one buffer for DMA when it is loaded, and shows it as a device node. There is
// no header in /usr/include, so the part that the addon uses is declared here.
//
//      /dev/<name>  --mmap MAP_SHARED-->  a region (region.h), carved and revoked as the others are
//                   --ioctl------------>  its identity; cache maintenance by range; a dma-buf of a part of it
//
// For the kernel the node's memory has no struct page (VM_PFNMAP), so VFIO cannot map it. It is for devices
// that reach memory by its physical address.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace userdma {

struct UDmaBufDriverInfo {
  uint64_t flags;  // bits 0-7: version of this interface
  char version[16];
};

struct UDmaBufDeviceInfo {
  uint64_t flags;  // bits 0-7: width of the DMA mask; bit 9: the device sees the CPU's caches
  uint64_t size;
  uint64_t address;
};

struct UDmaBufSync {
  uint64_t flags;  // bits 0-1: command; bits 2-3: direction; bits 8-15: sync_mode, 0 to leave it
  uint64_t size;   // 0 leaves it
  uint64_t offset;
};

struct UDmaBufExport {
  uint64_t flags;  // bits 0-31: O_* of the descriptor
  uint64_t size;
  uint64_t offset;
  uint64_t address;
  int32_t fd;
};

constexpr unsigned long kUDmaBufGetDriverInfo = _IOR('U', 1, UDmaBufDriverInfo);
constexpr unsigned long kUDmaBufGetDeviceInfo = _IOR('U', 7, UDmaBufDeviceInfo);
constexpr unsigned long kUDmaBufSetSync = _IOW('U', 9, UDmaBufSync);
constexpr unsigned long kUDmaBufExport = _IOWR('U', 10, UDmaBufExport);

static_assert(kUDmaBufGetDriverInfo == 0x80185501, "24 bytes");
static_assert(kUDmaBufGetDeviceInfo == 0x80185507, "24 bytes");
static_assert(kUDmaBufSetSync == 0x40185509, "24 bytes");
static_assert(kUDmaBufExport == 0xc028550a, "40 bytes");

constexpr uint64_t kUDmaBufForCpu = 1;
constexpr uint64_t kUDmaBufForDevice = 3;

}  // namespace userdma
