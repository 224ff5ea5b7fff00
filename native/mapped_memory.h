// Memory of this process that is mapped for a device: checking it, and holding it meanwhile.
//
// The kernel pins what it maps: if the process unmaps or frees the memory meanwhile, the device keeps the old
// pages. Our own regions stay until they are revoked. Any other memory (a JavaScript buffer, registers) is
// held here from mapping to unmapping, so that the same pages are not given to another owner while the device
// still reaches them (backing_store.h).
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
  const Mapping* region = nullptr;  // ours, where it is in one
  std::shared_ptr<void> held;       // keeps it alive; nullptr for memory of our regions, which needs no hold
};

/** The memory that is held for the mappings of one address space, by IOVA. */
using HeldMemory = std::map<uint64_t, std::shared_ptr<void>>;

/** Releases what was held for the mappings that start in [iova, iova + size). */
void Release(HeldMemory& held, uint64_t iova, uint64_t size);

/**
 * Three arguments from `index` on: a buffer, an offset, a size. The memory may run past the end of the buffer
 * only into the rest of its last page, when that page is part of one of our regions: there the allocation
 * owns whole pages. Any other memory behind the end is not the caller's. 0, -EINVAL, or -EOPNOTSUPP for
 * memory in none of our regions that cannot be held.
 */
int BufferMemory(const Call& call, size_t index, MappedMemory* out);

/**
 * Three arguments from `index` on: a handle of an MMIO window, an offset, a size. 0, -EBADF, or -EINVAL for
 * bytes that are not all inside one part of the window that is mapped into this process.
 */
int WindowMemory(const Call& call, size_t index, MappedMemory* out);

}  // namespace userdma
