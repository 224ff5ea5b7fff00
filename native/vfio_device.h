// A function that VFIO opened: configuration space, BARs, interrupts, reset.
#pragma once

#include <linux/vfio.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "addon.h"
#include "fd.h"
#include "handle_table.h"

namespace userdma {

/** A part of a region that the kernel allows to be mapped. */
using SparseArea = vfio_region_sparse_mmap_area;

/** The facts of VFIO_DEVICE_GET_REGION_INFO about one region. */
struct VfioRegion {
  uint64_t size = 0;    // bytes; 0 if there is no region
  uint64_t offset = 0;  // in the device file
  uint32_t flags = 0;   // VFIO_REGION_INFO_FLAG_*
  std::vector<SparseArea> areas;
};

/** Open windows keep the file open, and with it the device. So they are removed first. */
struct VfioDevice {
  // the address space that it is attached to, if it owns a share; released last
  std::shared_ptr<void> space;
  std::shared_ptr<const Fd> file;
  std::vector<VfioRegion> regions;  // by index: BAR 0-5, ROM, configuration space, ...
  std::vector<Handle> windows;      // the results of vfioBarOpen
};

/**
 * Makes a device from its open VFIO descriptor, and reads its regions. It does not matter how the
 * descriptor was opened. Returns the handle, or -errno: -ENODEV it is not a PCI function, -EMFILE the
 * handle table is full. `descriptor` is closed on failure.
 */
int64_t AdoptDevice(Addon& addon, Fd descriptor, std::shared_ptr<void> space = nullptr);

struct MmioWindow;

/**
 * A dma-buf of registers: bytes [offset, offset + size) of a window, whole pages. The descriptor, or -errno:
 * -ENOTTY the kernel does not know it (before Linux 6.19), -EOPNOTSUPP the window or its driver cannot.
 */
int ExportRegisters(const MmioWindow& window, uint64_t offset, uint64_t size);

}  // namespace userdma
