// An I/O address space of iommufd (IOAS): the addresses that its attached devices see.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "addon.h"
#include "fd.h"

namespace userdma {

/** One mapping: its size, and the memory that must stay alive meanwhile (mapped_memory.h). */
struct IoasMapping {
  uint64_t size = 0;
  std::shared_ptr<void> held;
};

/**
 * Destroyed when no device is attached to it any more, because each VfioDevice has a share. The kernel
 * refuses to destroy it earlier.
 */
struct Ioas {
  /**
   * By IOVA. iommufd returns the same code if a range cuts a mapping and if it contains no mapping. It
   * also removes the mappings before the one that is cut. So the addon checks a range here first.
   */
  std::map<uint64_t, IoasMapping> mappings;
  std::shared_ptr<const Fd> iommufd;
  uint32_t id = 0;
  bool maps_files = true;  // until the kernel says that it does not

  Ioas() = default;
  Ioas(const Ioas&) = delete;
  Ioas& operator=(const Ioas&) = delete;
  ~Ioas();
};

}  // namespace userdma
