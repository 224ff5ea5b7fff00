// Regions: large pieces of memory that a device may reach, carved into ArrayBuffers.
//
//      sealed memfd  --mmap MAP_SHARED-->  [ carved ArrayBuffer | carved ... | free ]
//
// The memfd is shared and not private, so that a fork cannot move pages away from the device, and so that a
// udmabuf can be made of it. Shrink and grow are sealed: no access can cause SIGBUS.
//
// Ownership: the handle table owns the Mapping until regionRevoke. Every ArrayBuffer carved from it shares
// it, even if transfer() moved its backing store. Revoking puts anonymous memory in place of the file. So
// late views reach no memory that a device or another allocation sees. The addresses are unmapped when the
// last of the views is gone.
#pragma once

#include <cstddef>
#include <memory>

#include "addon.h"
#include "fd.h"

namespace userdma {

struct Mapping {
  char* base = nullptr;
  size_t size = 0;  // whole pages of `page` bytes
  size_t page = 0;  // for a memfd: the size of the system's pages, or of a huge page; 0 for other memory
  Fd fd;            // the memfd; empty after revoking

  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();
};

/**
 * The object behind the backing store of a carved ArrayBuffer: a share of the memory, from the call that
 * makes the buffer until the finalizer runs. V8 counts the buffer's bytes as garbage that it could
 * collect. Subtracting them from that count (napi_adjust_external_memory) would avoid some collections.
 * But Node 24 and 26 abort if the count drops below zero, which may happen between the death of a buffer
 * and its finalizer.
 */
struct Carving {
  std::shared_ptr<void> memory;   // a share in its owner
  std::shared_ptr<Carving> self;  // the finalizer's share; nullptr after it has run
};

/**
 * An external ArrayBuffer of bytes [offset, offset + length) of the mapping. The caller has checked the
 * range. The backing store holds a share of the mapping. If no buffer can be made, the result is a
 * Number, -errno.
 */
napi_value CarveBuffer(const Call& call, std::shared_ptr<Mapping> mapping, size_t offset, size_t length);

/** An external ArrayBuffer of `length` bytes from `memory` on, which it holds a share in; else as
 * CarveBuffer. */
napi_value LendBuffer(const Call& call, std::shared_ptr<void> memory, size_t length);

/** Puts private anonymous memory in the place of the mapping, under every view of it. 0 or -errno. */
int Abandon(const Mapping& mapping);

}  // namespace userdma
