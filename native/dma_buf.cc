#include "dma_buf.h"

#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/magic.h>
#include <linux/udmabuf.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "addon.h"
#include "ioctl.h"
#include "mmio.h"
#include "vfio_device.h"

namespace userdma {
namespace {

constexpr uint64_t kMaxFd = 0x7fffffff;
constexpr size_t kFields = 3;           // memfd, offset, bytes
constexpr size_t kMaxPieces = 1 << 16;  // the driver accepts 1024 by default

/**
 * The handle of a new dma-buf, or -errno if it could not be added. The descriptor itself tells the size
 * (dma_buf_llseek).
 */
int64_t Own(const Call& call, Fd fd) {
  auto buf = std::make_shared<DmaBuf>();
  const off_t size = lseek(fd.get(), 0, SEEK_END);
  if (size < 0) return -errno;
  buf->size = static_cast<uint64_t>(size);
  buf->fd = std::move(fd);
  const Handle handle = call.addon->dma_bufs.Add(std::move(buf));
  return handle == 0 ? -EMFILE : static_cast<int64_t>(handle);
}

/** dmaBufImport(fd): a handle with a descriptor of its own. -ENOTTY: not a dma-buf. */
napi_value Import(Call& call) {
  uint64_t number;
  if (!call.Unsigned(0, kMaxFd, &number)) return call.Return(-EINVAL);
  Fd fd(fcntl(static_cast<int>(number), F_DUPFD_CLOEXEC, 0));
  if (!fd) return call.Return(-errno);
  struct statfs facts;
  if (fstatfs(fd.get(), &facts) != 0) return call.Return(-errno);
  if (facts.f_type != DMA_BUF_MAGIC) return call.Return(-ENOTTY);
  return call.Return(Own(call, std::move(fd)));
}

/**
 * dmaBufOfWindow(window, offset, size): a handle of registers, bytes [offset, offset + size) of an MMIO
 * window. -EOPNOTSUPP, -ENOTTY: this kernel, or the window, cannot.
 */
napi_value OfWindow(Call& call) {
  const MmioWindow* window = call.addon->windows.Get(call.GetHandle(0));
  if (window == nullptr) return call.Return(-EBADF);
  uint64_t offset, size;
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &offset) || !call.Unsigned(2, Call::kMaxSafeInteger, &size)) {
    return call.Return(-EINVAL);
  }
  if (size == 0 || offset > window->size || size > window->size - offset) return call.Return(-EINVAL);
  Fd fd(ExportRegisters(*window, offset, size));
  return call.Return(fd ? Own(call, std::move(fd)) : fd.get());
}

/** Reads the pieces from a Float64Array that JavaScript keeps, and checks each number. */
bool ReadPieces(const Call& call, size_t index, std::vector<udmabuf_create_item>* out) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(call.env, call[index], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || length == 0 || length % kFields != 0 || length > kFields * kMaxPieces) {
    return false;
  }
  const double* fields = static_cast<const double*>(data);
  for (size_t i = 0; i < length; i += kFields) {
    uint64_t numbers[kFields];
    for (size_t k = 0; k < kFields; k++) {
      const double field = fields[i + k];
      if (!(field >= 0 && field <= static_cast<double>(Call::kMaxSafeInteger))) return false;
      numbers[k] = static_cast<uint64_t>(field);
    }
    if (numbers[0] > kMaxFd) return false;
    out->push_back({static_cast<uint32_t>(numbers[0]), 0, numbers[1], numbers[2]});
  }
  return true;
}

/** udmabufCreate(device, pieces): handle. `device` is an open /dev/udmabuf. */
napi_value UdmabufCreate(Call& call) {
  uint64_t device;
  std::vector<udmabuf_create_item> pieces;
  if (!call.Unsigned(0, kMaxFd, &device) || !ReadPieces(call, 1, &pieces)) return call.Return(-EINVAL);
  // The list is the end of the structure.
  static_assert(sizeof(udmabuf_create_list) == 8 && sizeof(udmabuf_create_item) == 24);
  std::vector<uint64_t> room(1 + 3 * pieces.size());
  auto* const list = reinterpret_cast<udmabuf_create_list*>(room.data());
  list->flags = UDMABUF_FLAGS_CLOEXEC;
  list->count = static_cast<uint32_t>(pieces.size());
  for (size_t i = 0; i < pieces.size(); i++) list->list[i] = pieces[i];
  Fd fd(IoctlNumber(static_cast<int>(device), UDMABUF_CREATE_LIST, list));
  return call.Return(fd ? Own(call, std::move(fd)) : fd.get());
}

/** dmaHeapAllocate(heap, bytes): handle. `heap` is an open node of /dev/dma_heap. */
napi_value HeapAllocate(Call& call) {
  uint64_t heap;
  uint64_t bytes;
  if (!call.Unsigned(0, kMaxFd, &heap) || !call.Unsigned(1, Call::kMaxSafeInteger, &bytes) || bytes == 0) {
    return call.Return(-EINVAL);
  }
  dma_heap_allocation_data data = {};
  data.len = bytes;
  data.fd_flags = O_RDWR | O_CLOEXEC;
  if (const int error = Ioctl(static_cast<int>(heap), DMA_HEAP_IOCTL_ALLOC, &data)) return call.Return(error);
  return call.Return(Own(call, Fd(static_cast<int>(data.fd))));
}

/** dmaBufSize(dmaBuf): bytes. */
napi_value Size(Call& call) {
  const DmaBuf* buf = call.addon->dma_bufs.Get(call.GetHandle(0));
  return call.Return(buf == nullptr ? -EBADF : static_cast<int64_t>(buf->size));
}

/** dmaBufFd(dmaBuf): the descriptor. The dma-buf keeps owning it. */
napi_value Descriptor(Call& call) {
  const DmaBuf* buf = call.addon->dma_bufs.Get(call.GetHandle(0));
  return call.Return(buf == nullptr ? -EBADF : buf->fd.get());
}

/** dmaBufMap(dmaBuf, bytes): an ArrayBuffer of its first bytes. -EEXIST: there was one before. */
napi_value Map(Call& call) {
  DmaBuf* buf = call.addon->dma_bufs.Get(call.GetHandle(0));
  if (buf == nullptr) return call.Return(-EBADF);
  uint64_t bytes;
  if (!call.Unsigned(1, buf->size, &bytes) || bytes == 0) return call.Return(-EINVAL);
  if (buf->mapping != nullptr) return call.Return(-EEXIST);
  auto mapping = std::make_shared<Mapping>();
  void* base = mmap(nullptr, buf->size, PROT_READ | PROT_WRITE, MAP_SHARED, buf->fd.get(), 0);
  if (base == MAP_FAILED) return call.Return(-errno);
  mapping->base = static_cast<char*>(base);
  mapping->size = buf->size;
  napi_value made = CarveBuffer(call, mapping, 0, bytes);
  bool is_buffer = false;
  napi_is_arraybuffer(call.env, made, &is_buffer);
  if (is_buffer) buf->mapping = std::move(mapping);
  return made;
}

/** dmaBufSync(dmaBuf, flags): 0. DMA_BUF_SYNC_READ, _WRITE and _END, combined. */
napi_value Sync(Call& call) {
  const DmaBuf* buf = call.addon->dma_bufs.Get(call.GetHandle(0));
  if (buf == nullptr) return call.Return(-EBADF);
  uint64_t flags;
  if (!call.Unsigned(1, DMA_BUF_SYNC_VALID_FLAGS_MASK, &flags)) return call.Return(-EINVAL);
  dma_buf_sync sync = {flags};
  int error;
  do {
    error = Ioctl(buf->fd.get(), DMA_BUF_IOCTL_SYNC, &sync);
  } while (error == -EINTR || error == -EAGAIN);
  return call.Return(error);
}

/** dmaBufClose(dmaBuf): 0. If its ArrayBuffer still exists, it shows zeros of its own from here on. */
napi_value Close(Call& call) {
  const Handle handle = call.GetHandle(0);
  const DmaBuf* buf = call.addon->dma_bufs.Get(handle);
  if (buf == nullptr) return call.Return(-EBADF);
  if (buf->mapping != nullptr) {
    if (const int error = Abandon(*buf->mapping)) return call.Return(error);
  }
  call.addon->dma_bufs.Remove(handle);
  return call.Return(0);
}

}  // namespace

void InitDmaBuf(napi_env env, napi_value exports) {
  Export<Import>(env, exports, "dmaBufImport");
  Export<OfWindow>(env, exports, "dmaBufOfWindow");
  Export<UdmabufCreate>(env, exports, "udmabufCreate");
  Export<HeapAllocate>(env, exports, "dmaHeapAllocate");
  Export<Size>(env, exports, "dmaBufSize");
  Export<Descriptor>(env, exports, "dmaBufFd");
  Export<Map>(env, exports, "dmaBufMap");
  Export<Sync>(env, exports, "dmaBufSync");
  Export<Close>(env, exports, "dmaBufClose");
}

}  // namespace userdma
