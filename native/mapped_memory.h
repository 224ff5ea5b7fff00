// Memory of this process that is mapped for a device: checking it, and holding it meanwhile.
//
// The kernel pins the pages that it maps. If the process unmaps or frees the memory meanwhile, the device
// keeps the old pages. The addon's own regions stay until they are revoked. Any other memory (a
// JavaScript buffer, registers) is held here from mapping to unmapping. So the same pages cannot get
// another owner while the device still reaches them (backing_store.h).
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "addon.h"

namespace userdma {

/** Memory to be mapped. */
struct MappedMemory {
  char* start = nullptr;
  uint64_t size = 0;
  const Mapping* region = nullptr;  // the addon's own region, if the memory is in one
  std::shared_ptr<void> held;       // keeps it alive; nullptr for memory of own regions
};

/** The held memory of one address space, by the IOVA of its mapping. */
using HeldMemory = std::map<uint64_t, std::shared_ptr<void>>;

/** Releases the held memory of the mappings that start in [iova, iova + size). */
void Release(HeldMemory& held, uint64_t iova, uint64_t size);

/**
 * Reads three arguments from `index` on: a buffer, an offset, a size. The memory may run past the end of
 * the buffer only into the rest of its last page, and only if that page is part of one of our regions,
 * because an allocation owns whole pages there. Any other memory behind the end does not belong to the
 * caller. Returns 0, -EINVAL, or -EOPNOTSUPP for memory in none of our regions that cannot be held.
 */
int BufferMemory(const Call& call, size_t index, MappedMemory* out);

/**
 * Reads three arguments from `index` on: a handle of an MMIO window, an offset, a size. Returns 0,
 * -EBADF, or -EINVAL if the bytes are not all inside one part of the window that is mapped into this
 * process.
 */
int WindowMemory(const Call& call, size_t index, MappedMemory* out);

}  // namespace userdma
