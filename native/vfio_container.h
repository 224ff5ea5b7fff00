// A VFIO container: one I/O address space of the IOMMU, and the groups whose functions see it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "fd.h"

namespace userdma {

/** Groups close before the container; the kernel unmaps and unpins everything when the last of them is gone.
 */
struct VfioContainer {
  /** Memory that is not ours while it is mapped, by IOVA; let go after the kernel has. */
  std::map<uint64_t, std::shared_ptr<void>> held;
  Fd fd;
  std::map<uint32_t, Fd> groups;  // by group number, attached or not
};

}  // namespace userdma
