#include "u_dma_buf.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "addon.h"
#include "ioctl.h"
#include "region.h"

namespace userdma {
namespace {

constexpr size_t kMaxVersion = sizeof(UDmaBufDriverInfo::version);

/** The descriptor of a live region, or -1. */
int RegionFile(const Call& call) {
  const Mapping* mapping = call.addon->regions.Get(call.GetHandle(0));
  return mapping == nullptr ? -1 : mapping->fd.get();
}

/** Opens `path` and maps its first `size` bytes. `lock`: refuses if another process has the lock. */
int Open(const char* path, uint64_t size, bool uncached, bool lock, std::shared_ptr<Mapping>* out) {
  auto mapping = std::make_shared<Mapping>();
  mapping->fd.Reset(open(path, O_RDWR | O_CLOEXEC | (uncached ? O_SYNC : 0)));
  const int fd = mapping->fd.get();
  if (fd < 0) return -errno;
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  // The module refuses to map more than it has. A regular file that stands for the node in a test would
  // raise SIGBUS later.
  if (S_ISREG(status.st_mode) && static_cast<uint64_t>(status.st_size) < size) return -ENXIO;
  if (lock && flock(fd, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? -EBUSY : -errno;
  void* const base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return -errno;
  mapping->base = static_cast<char*>(base);
  mapping->size = size;
  *out = std::move(mapping);
  return 0;
}

/** uDmaBufOpen(path, size, uncached, lock): a region, or -errno. */
napi_value UDmaBufOpen(Call& call) {
  std::string path;
  uint64_t size;
  bool uncached;
  bool lock;
  if (!call.Text(0, PATH_MAX, &path) || !call.Unsigned(1, Call::kMaxSafeInteger, &size) ||
      !call.Boolean(2, &uncached) || !call.Boolean(3, &lock)) {
    return call.Return(-EINVAL);
  }
  if (size == 0 || size % static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) != 0) return call.Return(-EINVAL);
  std::shared_ptr<Mapping> mapping;
  const int error = Open(path.c_str(), size, uncached, lock, &mapping);
  if (error != 0) return call.Return(error);
  const Handle handle = call.addon->AddRegion(std::move(mapping));
  return call.Return(handle == 0 ? -EMFILE : static_cast<int64_t>(handle));
}

/**
 * uDmaBufInfo(region): UDmaBufInfo, see lib/native/u-dma-buf.ts; -ENOTTY if the node belongs to another
 * driver.
 */
napi_value UDmaBufInfo(Call& call) {
  const int fd = RegionFile(call);
  if (fd < 0) return call.Return(-EBADF);
  UDmaBufDriverInfo driver = {};
  UDmaBufDeviceInfo device = {};
  if (const int error = Ioctl(fd, kUDmaBufGetDriverInfo, &driver)) return call.Return(error);
  if (const int error = Ioctl(fd, kUDmaBufGetDeviceInfo, &device)) return call.Return(error);
  napi_value version = nullptr;
  const size_t length = strnlen(driver.version, kMaxVersion);
  napi_create_string_utf8(call.env, driver.version, length, &version);
  napi_value result = nullptr;
  napi_create_object(call.env, &result);
  napi_set_named_property(call.env, result, "ioctlVersion",
                          call.Return(static_cast<int64_t>(driver.flags & 0xff)));
  napi_set_named_property(call.env, result, "driverVersion", version);
  napi_set_named_property(call.env, result, "address", call.ReturnBigInt(device.address));
  napi_set_named_property(call.env, result, "size", call.ReturnBigInt(device.size));
  return result;
}

/** uDmaBufSync(region, offset, size, direction, forDevice): 0 or -errno. */
napi_value UDmaBufSyncRange(Call& call) {
  const int fd = RegionFile(call);
  if (fd < 0) return call.Return(-EBADF);
  UDmaBufSync sync = {};
  uint64_t direction;
  bool for_device;
  // A size of 0 would mean the range of the last call, and direction 3 its direction.
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &sync.offset) ||
      !call.Unsigned(2, Call::kMaxSafeInteger, &sync.size) || sync.size == 0 ||
      !call.Unsigned(3, 2, &direction) || !call.Boolean(4, &for_device)) {
    return call.Return(-EINVAL);
  }
  sync.flags = (for_device ? kUDmaBufForDevice : kUDmaBufForCpu) | direction << 2;
  return call.Return(Ioctl(fd, kUDmaBufSetSync, &sync));
}

/** uDmaBufSetMode(region, mode): 0 or -errno. The mode applies to all later mappings, of any process. */
napi_value UDmaBufSetMode(Call& call) {
  const int fd = RegionFile(call);
  if (fd < 0) return call.Return(-EBADF);
  uint64_t mode;
  if (!call.Unsigned(1, 7, &mode) || mode == 0) return call.Return(-EINVAL);
  UDmaBufSync sync = {};
  sync.flags = mode << 8;
  return call.Return(Ioctl(fd, kUDmaBufSetSync, &sync));
}

/**
 * uDmaBufExport(region, offset, size): the descriptor of a dma-buf, which the caller must close, or
 * -errno.
 */
napi_value UDmaBufExportRange(Call& call) {
  const int fd = RegionFile(call);
  if (fd < 0) return call.Return(-EBADF);
  UDmaBufExport range = {};
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &range.offset) ||
      !call.Unsigned(2, Call::kMaxSafeInteger, &range.size) || range.size == 0) {
    return call.Return(-EINVAL);
  }
  range.flags = O_RDWR | O_CLOEXEC;
  const int error = Ioctl(fd, kUDmaBufExport, &range);
  return call.Return(error != 0 ? error : range.fd);
}

}  // namespace

void InitUDmaBuf(napi_env env, napi_value exports) {
  Export<UDmaBufOpen>(env, exports, "uDmaBufOpen");
  Export<UDmaBufInfo>(env, exports, "uDmaBufInfo");
  Export<UDmaBufSyncRange>(env, exports, "uDmaBufSync");
  Export<UDmaBufSetMode>(env, exports, "uDmaBufSetMode");
  Export<UDmaBufExportRange>(env, exports, "uDmaBufExport");
}

}  // namespace userdma
