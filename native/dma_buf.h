// dma-bufs: memory that kernel drivers and processes share as a file descriptor (drivers/dma-buf/dma-buf.c,
// Documentation/driver-api/dma-buf.rst).
//
//      pages of a memfd --UDMABUF_CREATE_LIST--.
//      a heap of the kernel --DMA_HEAP_ALLOC----+--> dma-buf ---> fd     V4L2, DRM, another process
//      fd of another driver or process ---dup---'            '--> mmap   one ArrayBuffer
//
// Ownership: the handle table owns the descriptor until dmaBufClose. The kernel keeps the pages until the
// last descriptor and the last mapping of the dma-buf are gone, in any process. The ArrayBuffer shares the
// mapping, like that of a region (region.h): closing puts anonymous memory in its place.
#pragma once

#include <cstdint>
#include <memory>

#include "fd.h"
#include "region.h"

namespace userdma {

struct DmaBuf {
  Fd fd;
  uint64_t size = 0;
  std::shared_ptr<Mapping> mapping;  // nullptr until dmaBufMap
};

}  // namespace userdma
