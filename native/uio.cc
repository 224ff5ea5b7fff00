// Devices without VFIO that are reached through files: registers by mapping /dev/uioN or a resourceN file
// of /sys, and the interrupt of /dev/uioN (drivers/uio/uio.c, drivers/pci/mmap.c). TypeScript opens the
// files and knows the place of the registers in them. This code does not keep the caller's descriptor.
#include <fcntl.h>
#include <unistd.h>

#include <climits>
#include <cstdint>
#include <memory>
#include <utility>

#include "addon.h"
#include "fd.h"
#include "interrupt.h"
#include "mmio.h"

namespace userdma {

namespace {

/** No BAR and no map is larger: 2^46 is half of what a process can address. */
constexpr uint64_t kMaxWindow = uint64_t{1} << 46;

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

/**
 * A descriptor of our own for the open file behind argument `index`. On failure it is empty, and errno is
 * set.
 */
Fd Duplicate(const Call& call, size_t index) {
  uint64_t file;
  if (call.Unsigned(index, INT_MAX, &file)) return Fd(fcntl(static_cast<int>(file), F_DUPFD_CLOEXEC, 0));
  errno = EINVAL;
  return Fd();
}

/** The place of registers in a file. */
struct Extent {
  uint64_t position;  // of the page that holds the first byte
  uint64_t start;     // of that byte in the page
  uint64_t size;      // bytes
};

/**
 * Reads arguments 1 to 3. The registers are as aligned as `start`, so `start` must be a multiple of 8.
 */
bool ReadExtent(const Call& call, uint64_t page, Extent* out) {
  return call.Unsigned(1, kMaxWindow, &out->position) && out->position % page == 0 &&
         call.Unsigned(2, page - 1, &out->start) && out->start % 8 == 0 &&
         call.Unsigned(3, kMaxWindow, &out->size) && out->size > 0;
}

/** Maps the pages that hold `extent`; 0 or -errno. */
int MapExtent(int file, const Extent& extent, uint64_t page, MmioWindow* window) {
  const uint64_t whole = RoundUp(extent.start + extent.size, page);
  const std::shared_ptr<void> memory = MapMmio(file, extent.position, whole);
  if (memory == nullptr) return -errno;
  char* const first = static_cast<char*>(memory.get()) + extent.start;
  window->areas.push_back({0, RoundUp(extent.size, 8), std::shared_ptr<void>(memory, first)});
  return 0;
}

/**
 * fileWindowOpen(fd, position, start, size, mapped): a window for the mmio functions over `size` bytes that
 * begin `start` bytes into the page at `position` of the file. Without `mapped` each access is a pread or
 * pwrite.
 */
napi_value FileWindowOpen(Call& call) {
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  Extent extent;
  bool mapped;
  if (!ReadExtent(call, page, &extent) || !call.Boolean(4, &mapped)) return call.Return(-EINVAL);
  Fd file = Duplicate(call, 0);
  if (!file) return call.Return(-errno);
  MmioWindow window;
  window.size = extent.size;
  if (mapped) {
    if (const int error = MapExtent(file.get(), extent, page, &window)) return call.Return(error);
  } else {
    window.file = std::make_shared<const Fd>(std::move(file));
    window.file_offset = extent.position + extent.start;
  }
  const Handle handle = AddWindow(*call.addon, std::move(window));
  return call.Return(handle == 0 ? -EMFILE : static_cast<int64_t>(handle));
}

/** fileWindowClose(window): 0. It accepts a window of any kind. */
napi_value FileWindowClose(Call& call) {
  return call.Return(call.addon->windows.Remove(call.GetHandle(0)) == nullptr ? -EBADF : 0);
}

/** The file tells the number of interrupts since the beginning, modulo 2^32. */
int64_t TakeUioEvents(int file, uint32_t* seen) {
  uint32_t total;
  const ssize_t bytes = read(file, &total, sizeof total);
  if (bytes < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
  if (bytes != sizeof total) return -EIO;
  const uint32_t count = total - *seen;
  *seen = total;
  return count;
}

/** uioInterruptCreate(fd, seen, deliver): an interrupt for interruptClose and interruptRef. */
napi_value UioInterruptCreate(Call& call) {
  uint64_t seen;
  if (!call.Unsigned(1, UINT32_MAX, &seen) || !call.IsFunction(2)) return call.Return(-EINVAL);
  Fd file = Duplicate(call, 0);
  if (!file) return call.Return(-errno);
  return call.Return(WatchInterrupt(call, 2, {std::move(file), TakeUioEvents, static_cast<uint32_t>(seen)}));
}

}  // namespace

void InitUio(napi_env env, napi_value exports) {
  Export<FileWindowOpen>(env, exports, "fileWindowOpen");
  Export<FileWindowClose>(env, exports, "fileWindowClose");
  Export<UioInterruptCreate>(env, exports, "uioInterruptCreate");
}

}  // namespace userdma
