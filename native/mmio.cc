#include "mmio.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "mmio_register.h"
#include "region.h"
#include "sigbus_guard.h"

namespace userdma {

namespace {

/** The window and the offset in the frame, for an access of `width` bytes; 0 or -errno. */
inline int Locate(const Call& call, size_t width, bool write, const MmioWindow** window, uint64_t* offset) {
  const MmioFrame& frame = *call.addon->frame;
  *window = call.addon->windows.Get(ToHandle(frame.handle));
  if (*window == nullptr) return -EBADF;
  if (!ToUnsigned(frame.offset, Call::kMaxSafeInteger, offset)) return -EINVAL;
  return CheckRegister(**window, *offset, width, write);
}

template <class T>
napi_value MmioRead(Call& call) {
  const MmioWindow* window;
  uint64_t offset;
  T value;
  int error = Locate(call, sizeof(T), false, &window, &offset);
  if (error == 0) error = ReadRegister(*window, MappedRegister(*window, offset), offset, &value);
  if (error != 0) return call.Return(error);
  call.addon->frame->value = value;
  return nullptr;
}

template <class T>
napi_value MmioWrite(Call& call) {
  const MmioWindow* window;
  uint64_t offset;
  const T value = static_cast<T>(call.addon->frame->value);
  int error = Locate(call, sizeof(T), true, &window, &offset);
  if (error == 0) error = WriteRegister(*window, MappedRegister(*window, offset), offset, value);
  return error == 0 ? nullptr : call.Return(error);
}

/** mmioFrame(): an ArrayBuffer over the frame. Each call makes another one. */
napi_value Frame(Call& call) { return LendBuffer(call, call.addon->frame, sizeof(MmioFrame)); }

napi_value MmioSize(Call& call) {
  const MmioWindow* window = call.addon->windows.Get(call.GetHandle(0));
  return call.Return(window == nullptr ? -EBADF : static_cast<int64_t>(window->size));
}

/** mmioReserve(window, offset, size, readable): 0. The host owns these bytes from here on. */
napi_value MmioReserve(Call& call) {
  MmioWindow* window = call.addon->windows.Get(call.GetHandle(0));
  if (window == nullptr) return call.Return(-EBADF);
  uint64_t start, size;
  bool readable;
  if (!call.Unsigned(1, window->size, &start) || !call.Unsigned(2, window->size - start, &size) ||
      !call.Boolean(3, &readable) || size == 0) {
    return call.Return(-EINVAL);
  }
  const bool first = window->reserved.empty();
  window->reserved.push_back({start, start + size, readable});
  window->reserved_start = first ? start : std::min(window->reserved_start, start);
  window->reserved_end = std::max(window->reserved_end, start + size);
  return call.Return(0);
}

napi_value ReturnWindow(const Call& call, MmioWindow window) {
  const Handle handle = AddWindow(*call.addon, std::move(window));
  return call.Return(handle == 0 ? -EMFILE : static_cast<int64_t>(handle));
}

napi_value Barrier(Call& call) {
  DmaBarrier();
  return call.Return(0);
}

napi_value WindowFromRegion(Call& call) {
  const std::shared_ptr<Mapping> mapping = call.addon->regions.Share(call.GetHandle(0));
  if (mapping == nullptr) return call.Return(-EBADF);
  uint64_t start;
  uint64_t size;
  uint64_t hole;
  uint64_t hole_size;
  if (!call.Unsigned(1, mapping->size, &start) || !call.Unsigned(2, mapping->size - start, &size) ||
      !call.Unsigned(3, size, &hole) || !call.Unsigned(4, size - hole, &hole_size) ||
      (start | size | hole | hole_size) % 8 != 0) {
    return call.Return(-EINVAL);
  }
  const auto area = [&](uint64_t offset, uint64_t length) {
    return MmioArea{offset, length, std::shared_ptr<void>(mapping, mapping->base + start + offset)};
  };
  MmioWindow window;
  window.size = size;
  window.areas = {area(0, hole), area(hole + hole_size, size - hole - hole_size)};
  window.file = std::shared_ptr<const Fd>(mapping, &mapping->fd);
  window.file_offset = start;
  return ReturnWindow(call, std::move(window));
}

napi_value WindowPastEnd(Call& call) {
  uint64_t size;
  if (!call.Unsigned(0, uint64_t{1} << 30, &size) || size == 0 || size % 8 != 0) return call.Return(-EINVAL);
  const Fd empty(memfd_create("userdma-past-end", MFD_CLOEXEC));
  if (!empty) return call.Return(-errno);
  std::shared_ptr<void> memory = MapMmio(empty.get(), 0, size);
  if (memory == nullptr) return call.Return(-errno);
  MmioWindow window;
  window.size = size;
  window.areas = {MmioArea{0, size, std::move(memory)}};
  return ReturnWindow(call, std::move(window));
}

napi_value WindowClose(Call& call) {
  return call.Return(call.addon->windows.Remove(call.GetHandle(0)) == nullptr ? -EBADF : 0);
}

}  // namespace

std::shared_ptr<void> MapMmio(int fd, uint64_t offset, size_t size) {
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (base == MAP_FAILED) return nullptr;
  return std::shared_ptr<void>(base, [size](void* memory) { munmap(memory, size); });
}

Handle AddWindow(Addon& addon, MmioWindow window) {
  ArmSigbusGuard();
  return addon.windows.Add(std::make_shared<MmioWindow>(std::move(window)));
}

void RemoveWindow(Addon& addon, Handle handle) { addon.windows.Remove(handle); }

void InitMmio(napi_env env, napi_value exports, napi_value testing) {
  Export<Frame, 0>(env, exports, "mmioFrame");
  Export<MmioSize, 1>(env, exports, "mmioSize");
  Export<MmioReserve, 4>(env, exports, "mmioReserve");
  Export<MmioRead<uint8_t>, 0>(env, exports, "mmioRead8");
  Export<MmioRead<uint16_t>, 0>(env, exports, "mmioRead16");
  Export<MmioRead<uint32_t>, 0>(env, exports, "mmioRead32");
  Export<MmioRead<uint64_t>, 0>(env, exports, "mmioRead64");
  Export<MmioWrite<uint8_t>, 0>(env, exports, "mmioWrite8");
  Export<MmioWrite<uint16_t>, 0>(env, exports, "mmioWrite16");
  Export<MmioWrite<uint32_t>, 0>(env, exports, "mmioWrite32");
  Export<MmioWrite<uint64_t>, 0>(env, exports, "mmioWrite64");
  Export<Barrier, 0>(env, exports, "dmaBarrier");
  if (!kTesting) return;
  Export<WindowFromRegion>(env, testing, "windowFromRegion");
  Export<WindowPastEnd>(env, testing, "windowPastEnd");
  Export<WindowClose>(env, testing, "windowClose");
}

}  // namespace userdma
