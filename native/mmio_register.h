// One register of a window: where it is, who may access it, and the access itself.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "mmio.h"
#include "mmio_access.h"

namespace userdma {

constexpr size_t kMaxFileAccess = 4;  // the kernel moves so many bytes in one access for certain (mmio.h)

/** The mapped register at `offset`, or nullptr. An area holds whole 8-byte units, so an aligned access is
 * inside. */
inline volatile char* MappedRegister(const MmioWindow& window, uint64_t offset) {
  for (const MmioArea& area : window.areas) {
    const uint64_t inside = offset - area.offset;  // huge when below the area
    if (inside < area.size) return static_cast<char*>(area.memory.get()) + inside;
  }
  return nullptr;
}

/** True if an access touches bytes of the host that it may not touch. */
inline bool IsRefused(const MmioWindow& window, uint64_t offset, size_t width, bool write) {
  if (offset >= window.reserved_end || offset + width <= window.reserved_start) return false;
  for (const MmioReserved& reserved : window.reserved) {
    const bool touches = offset < reserved.end && offset + width > reserved.start;
    if (touches && (write || !reserved.readable)) return true;
  }
  return false;
}

/** 0, or the -errno of an access of `width` bytes at `offset`. */
inline int CheckRegister(const MmioWindow& window, uint64_t offset, size_t width, bool write) {
  if (offset % width != 0 || window.size < width || offset > window.size - width) return -EINVAL;
  return IsRefused(window, offset, width, write) ? -EPERM : 0;
}

/** Reads a register that was checked. `mapped` is the result of MappedRegister. 0 or -errno. */
template <class T>
int ReadRegister(const MmioWindow& window, const volatile char* mapped, uint64_t offset, T* value) {
  if (mapped != nullptr) return Load(reinterpret_cast<const volatile T*>(mapped), value) ? 0 : -EIO;
  if (window.file == nullptr) return -EIO;
  if (sizeof(T) > kMaxFileAccess) return -EOPNOTSUPP;
  const off_t position = static_cast<off_t>(window.file_offset + offset);
  return pread(window.file->get(), value, sizeof(T), position) == sizeof(T) ? 0 : -EIO;
}

/** As ReadRegister. */
template <class T>
int WriteRegister(const MmioWindow& window, volatile char* mapped, uint64_t offset, T value) {
  if (mapped != nullptr) return Store(reinterpret_cast<volatile T*>(mapped), value) ? 0 : -EIO;
  if (window.file == nullptr) return -EIO;
  if (sizeof(T) > kMaxFileAccess) return -EOPNOTSUPP;
  const off_t position = static_cast<off_t>(window.file_offset + offset);
  return pwrite(window.file->get(), &value, sizeof(T), position) == sizeof(T) ? 0 : -EIO;
}

}  // namespace userdma
