// MMIO windows: device registers. Each access has exactly the width that the caller asks for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "addon.h"
#include "fd.h"

namespace userdma {

/** A part of a window that is mapped into this process. */
struct MmioArea {
  uint64_t offset;               // inside the window, a multiple of 8
  uint64_t size;                 // bytes, a multiple of 8
  std::shared_ptr<void> memory;  // its first byte; unmapped with its last owner (see MapMmio)
};

/** Bytes [start, end) of a window that belong to the host: an MSI-X table, its pending bits. */
struct MmioReserved {
  uint64_t start;
  uint64_t end;
  bool readable;
};

/**
 * One BAR. Bytes that no area covers are reached by pread/pwrite on `file`, if there is one, up to 32
 * bits. Linux before 6.11 makes two accesses of a read of 8 bytes, and I/O ports have no access of 64
 * bits.
 */
struct MmioWindow {
  uint64_t size = 0;               // bytes
  std::vector<MmioArea> areas;     // disjoint; empty if nothing can be mapped (an I/O port BAR)
  std::shared_ptr<const Fd> file;  // the VFIO device; nullptr: only the areas answer
  uint64_t file_offset = 0;        // of the window's first byte in `file`
  uint32_t region = 0;             // of the VFIO device, i.e. the number of the BAR
  std::vector<MmioReserved> reserved;
  uint64_t reserved_start = 0;  // of the first of them
  uint64_t reserved_end = 0;    // of the last; 0 if there are none
};

/**
 * Where JavaScript puts the handle, the offset and the value of the next access, and where it finds the value
 * that was read. A call with arguments takes three times as long as one that finds them here: Node-API
 * converts each argument and each result in a call of its own.
 */
struct MmioFrame {
  double handle;   // of a window or of a sequence
  double offset;   // inside the window
  uint64_t value;  // of a register; after a run that failed, the number of steps that were made
};

/**
 * Maps registers for reading and writing. Returns nullptr with errno set on failure. `offset` and `size` are
 * multiples of the page size.
 */
std::shared_ptr<void> MapMmio(int fd, uint64_t offset, size_t size);

/**
 * Opens a window for JavaScript's mmio functions, and arms the SIGBUS guard. Returns 0 if the table is
 * full. The window keeps `file` and the areas open. So call RemoveWindow before the kernel has to see the
 * device as closed.
 */
Handle AddWindow(Addon& addon, MmioWindow window);

/** Later accesses by this handle give -EBADF. Does nothing if the handle is not live. */
void RemoveWindow(Addon& addon, Handle handle);

}  // namespace userdma
