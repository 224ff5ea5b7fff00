// A VFIO container: one I/O address space of the IOMMU, and the groups whose functions see it. Without an
// IOMMU it has no address space.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "addon.h"
#include "fd.h"
#include "mapped_memory.h"

namespace userdma {

/**
 * Groups close before the container. The kernel unmaps and unpins everything when the last of them is
 * gone.
 */
struct VfioContainer {
  /** Declared first, so that it is released last, after the kernel has released its own hold. */
  HeldMemory held;
  Fd fd;
  uint32_t iommu = 0;             // VFIO_TYPE1v2_IOMMU; VFIO_NOIOMMU_IOMMU maps nothing, and has other nodes
  std::map<uint32_t, Fd> groups;  // by group number, attached or not
};

/** The descriptor of an IOMMU group that a container of this environment has open, or -1. */
int HeldGroup(const Addon& addon, uint32_t number);

}  // namespace userdma
