// Regions: large pieces of memory that a device may reach, carved into ArrayBuffers.
//
//      sealed memfd  --mmap MAP_SHARED-->  [ carved ArrayBuffer | carved ... | free ]
//
// The memfd is shared rather than private so that a fork cannot move pages away from the device, and so that
// a udmabuf can be made of it. Shrink and grow are sealed: no access can SIGBUS.
//
// Ownership: the handle table owns the Mapping until regionRevoke; every ArrayBuffer carved from it,
// also one whose backing store was stolen by transfer(), shares it. Revoking puts anonymous memory in place
// of the file, so late views touch nothing that a device or another allocation sees; the addresses are given
// back only when the last of them is gone.
#pragma once

#include <cstddef>
#include <memory>

#include "addon.h"
#include "fd.h"

namespace userdma {

struct Mapping {
  char* base = nullptr;
  size_t size = 0;  // whole pages of `page` bytes
  size_t page = 0;  // of a memfd: the system's, or a huge one; 0 for other memory
  Fd fd;            // the memfd; holds none once revoked

  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();
};

/**
 * What the backing store of a carved ArrayBuffer holds: a share of the mapping, from the call that makes the
 * buffer until the finalizer runs. V8 counts the buffer's bytes as garbage it could collect; taking them off
 * that count (napi_adjust_external_memory) would spare some collections, but Node 24 and 26 abort when the
 * count drops below zero, as it may between the death of a buffer and its finalizer.
 */
struct Carving {
  std::shared_ptr<Mapping> mapping;
  std::shared_ptr<Carving> self;  // the finalizer's share; nullptr once it has run
};

/**
 * An external ArrayBuffer of bytes [offset, offset + length) of the mapping, which the caller has checked.
 * Its backing store holds a share of the mapping. When there is none to be had: a Number, -errno.
 */
napi_value CarveBuffer(const Call& call, std::shared_ptr<Mapping> mapping, size_t offset, size_t length);

/** Puts private anonymous memory in the mapping's place, under every view of it. 0 or -errno. */
int Abandon(const Mapping& mapping);

}  // namespace userdma
