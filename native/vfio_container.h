// A VFIO container: one I/O address space of the IOMMU, and the groups whose functions see it.
#pragma once

#include <cstdint>
#include <map>

#include "fd.h"

namespace userdma {

/** Groups close before the container; the kernel unmaps and unpins everything when the last of them is gone.
 */
struct VfioContainer {
  Fd fd;
  std::map<uint32_t, Fd> groups;  // by group number, attached or not
};

}  // namespace userdma
