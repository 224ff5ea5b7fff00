// Interrupts: a file that the kernel makes readable (an eventfd of VFIO, a UIO device). The event loop of
// the calling environment watches it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "addon.h"
#include "fd.h"

namespace userdma {

/**
 * Reads `file`. Returns the events since the last call, 0 for none, or -errno if there will be no more.
 */
using TakeEvents = int64_t (*)(int file, uint32_t* seen);

/** The file that an interrupt watches. */
struct InterruptFile {
  Fd file;  // not blocking
  TakeEvents take = nullptr;
  uint32_t seen = 0;  // `take` stores its state here
};

/**
 * Calls argument `callback`, a function, with every number that `take` returns, from the event loop. A
 * negative number is the last. Returns a handle for interruptClose and interruptRef, or -errno.
 */
int64_t WatchInterrupt(const Call& call, size_t callback, InterruptFile source);

/**
 * The eventfd to give to VFIO_DEVICE_SET_IRQS, or -1 if the handle is not live. The interrupt keeps
 * owning it.
 */
int InterruptFd(const Addon& addon, Handle handle);

}  // namespace userdma
