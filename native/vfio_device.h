// A function that VFIO handed out: configuration space, BARs, interrupts, reset.
#pragma once

#include <linux/vfio.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "addon.h"
#include "fd.h"
#include "handle_table.h"

namespace userdma {

/** Part of a region that the kernel lets us map. */
using SparseArea = vfio_region_sparse_mmap_area;

/** The facts of VFIO_DEVICE_GET_REGION_INFO about one region. */
struct VfioRegion {
  uint64_t size = 0;    // bytes; 0 when there is none
  uint64_t offset = 0;  // in the device file
  uint32_t flags = 0;   // VFIO_REGION_INFO_FLAG_*
  std::vector<SparseArea> areas;
};

/** Open windows keep the file, and with it the device, open: they go first. */
struct VfioDevice {
  std::shared_ptr<void> space;  // the address space that it is attached to, when it owns a share; goes last
  std::shared_ptr<const Fd> file;
  std::vector<VfioRegion> regions;  // by index: BAR 0-5, ROM, configuration space, ...
  std::vector<Handle> windows;      // what vfioBarOpen gave out
};

/**
 * Makes a device of its open VFIO descriptor, whichever way that was had, and reads its regions. The handle,
 * or -errno: -ENODEV it is no PCI function, -EMFILE the handle table is full. `descriptor` is closed on
 * failure.
 */
int64_t AdoptDevice(Addon& addon, Fd descriptor, std::shared_ptr<void> space = nullptr);

}  // namespace userdma
