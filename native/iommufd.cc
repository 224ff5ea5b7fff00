// iommufd (drivers/iommu/iommufd) and VFIO devices without groups (drivers/vfio/device_cdev.c).
//
//      /dev/iommu                 one for this environment, opened with the first IOAS
//        IOAS                     one for each domain
//          /dev/vfio/devices/N    bound to the iommufd, attached to the IOAS
//
// All domains share one iommufd, because a hot reset needs all its functions to be bound to the same iommufd.
// The IOAS knows its valid addresses only after a device is attached.
#include "iommufd.h"

#include <fcntl.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ioctl.h"
#include "iommufd_abi.h"
#include "mapped_memory.h"
#include "mmio.h"
#include "region.h"
#include "vfio_device.h"

namespace userdma {
namespace {

constexpr uint64_t kAccess = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
constexpr size_t kTokenSize = 16;      // a UUID
constexpr uint32_t kMaxRanges = 4096;  // far beyond what any system reserves

/**
 * The iommufd of this environment, or a share of the one that the caller passed in. On failure nullptr,
 * with errno set.
 */
std::shared_ptr<const Fd> Context(Addon& addon, int passed) {
  if (passed >= 0) {
    Fd copy(fcntl(passed, F_DUPFD_CLOEXEC, 0));
    return copy ? std::make_shared<const Fd>(std::move(copy)) : nullptr;
  }
  std::shared_ptr<const Fd> shared = addon.iommufd.lock();
  if (shared == nullptr) {
    Fd fd(open("/dev/iommu", O_RDWR | O_CLOEXEC));
    if (!fd) return nullptr;
    shared = std::make_shared<const Fd>(std::move(fd));
    addon.iommufd = shared;
  }
  return shared;
}

/** ioasCreate(iommufd): handle. `iommufd` is a descriptor, which the caller keeps owning, or -1. */
napi_value Create(Call& call) {
  double number = -1;
  uint64_t passed = 0;
  const bool own = napi_get_value_double(call.env, call[0], &number) == napi_ok && number == -1;
  if (!own && !call.Unsigned(0, 0x7fffffff, &passed)) return call.Return(-EINVAL);
  auto ioas = std::make_shared<Ioas>();
  std::shared_ptr<const Fd> context = Context(*call.addon, own ? -1 : static_cast<int>(passed));
  if (context == nullptr) return call.Return(-errno);
  IommuIoasAlloc alloc = {};
  alloc.size = sizeof alloc;
  if (const int error = Ioctl(context->get(), kIommuIoasAlloc, &alloc); error < 0) {
    return call.Return(error);
  }
  ioas->iommufd = std::move(context);
  ioas->id = alloc.out_ioas_id;
  const Handle handle = call.addon->ioases.Add(std::move(ioas));
  return call.Return(handle == 0 ? -EMFILE : static_cast<int64_t>(handle));
}

/** IOMMU_IOAS_UNMAP; bytes unmapped or -errno. */
int64_t UnmapRange(const Ioas& ioas, uint64_t iova, uint64_t size) {
  IommuIoasUnmap unmap = {};
  unmap.size = sizeof unmap;
  unmap.ioas_id = ioas.id;
  unmap.iova = iova;
  unmap.length = size;
  const int error = Ioctl(ioas.iommufd->get(), kIommuIoasUnmap, &unmap);
  if (error < 0) return error;
  return unmap.length > size ? -EPROTO : static_cast<int64_t>(unmap.length);
}

/**
 * ioasClose(ioas): 0. Nothing is mapped any more. The IOAS is destroyed with the last device that is
 * attached to it.
 */
napi_value Close(Call& call) {
  const std::shared_ptr<Ioas> ioas = call.addon->ioases.Remove(call.GetHandle(0));
  if (ioas == nullptr) return call.Return(-EBADF);
  if (!ioas->mappings.empty()) UnmapRange(*ioas, 0, UINT64_MAX);
  ioas->mappings.clear();
  return call.Return(0);
}

/**
 * ioasDeviceOpen(ioas, descriptor, token): handle of a device (vfio_device.h) that is attached to the IOAS.
 * The descriptor is one of /dev/vfio/devices/vfioN. The device owns it from the call on, and closes it on
 * failure. `token` is an ArrayBuffer of 16 bytes, or undefined. If the binding fails, the result is -errno.
 * If the attaching or a later step fails, it is -errno - 1000.
 */
napi_value DeviceOpen(Call& call) {
  uint64_t descriptor;
  if (!call.Unsigned(1, 0x7fffffff, &descriptor)) return call.Return(-EINVAL);
  Fd file(static_cast<int>(descriptor));
  std::shared_ptr<Ioas> ioas = call.addon->ioases.Share(call.GetHandle(0));
  if (ioas == nullptr) return call.Return(-EBADF);
  VfioBindIommufd bind = {};
  bind.argsz = offsetof(VfioBindIommufd, token);  // what every kernel takes
  bind.iommufd = ioas->iommufd->get();
  napi_valuetype kind = napi_undefined;
  if (napi_typeof(call.env, call[2], &kind) == napi_ok && kind != napi_undefined) {
    void* token = nullptr;
    size_t length = 0;
    if (!call.Buffer(2, &token, &length) || length != kTokenSize) return call.Return(-EINVAL);
    bind.argsz = sizeof bind;
    bind.flags = kVfioBindToken;
    bind.token = reinterpret_cast<uintptr_t>(token);
  }
  if (const int error = Ioctl(file.get(), kVfioBindIommufd, &bind); error < 0) return call.Return(error);
  VfioAttachIommufdPt attach = {};
  attach.argsz = sizeof attach;
  attach.pt_id = ioas->id;
  if (const int error = Ioctl(file.get(), kVfioAttachIommufdPt, &attach); error < 0) {
    return call.Return(error - 1000);
  }
  const int64_t device = AdoptDevice(*call.addon, std::move(file), std::move(ioas));
  return call.Return(device < 0 ? device - 1000 : device);
}

/** ioasInfo(ioas): IoasInfo, see lib/native/iommufd.ts. */
napi_value Info(Call& call) {
  const Ioas* ioas = call.addon->ioases.Get(call.GetHandle(0));
  if (ioas == nullptr) return call.Return(-EBADF);
  std::vector<IommuIovaRange> ranges(16);
  IommuIoasIovaRanges query = {};
  for (;;) {
    query = {};
    query.size = sizeof query;
    query.ioas_id = ioas->id;
    query.num_iovas = static_cast<uint32_t>(ranges.size());
    query.allowed_iovas = reinterpret_cast<uintptr_t>(ranges.data());
    const int error = Ioctl(ioas->iommufd->get(), kIommuIoasIovaRanges, &query);
    if (error < 0 && error != -EMSGSIZE) return call.Return(error);
    if (query.num_iovas > kMaxRanges) return call.Return(-EOVERFLOW);
    if (query.num_iovas <= ranges.size()) break;
    ranges.resize(query.num_iovas);
  }
  napi_value list = nullptr;
  napi_value result = nullptr;
  napi_create_array(call.env, &list);
  for (uint32_t index = 0; index < query.num_iovas; index++) {
    napi_set_element(call.env, list, 2 * index, call.ReturnBigInt(ranges[index].start));
    napi_set_element(call.env, list, 2 * index + 1, call.ReturnBigInt(ranges[index].last));
  }
  napi_create_object(call.env, &result);
  napi_set_named_property(call.env, result, "alignment", call.ReturnBigInt(query.out_iova_alignment));
  napi_set_named_property(call.env, result, "ranges", list);
  return result;
}

uint32_t MapFlags(uint64_t access) {
  return kIommuMapFixedIova | ((access & VFIO_DMA_MAP_FLAG_READ) != 0 ? kIommuMapReadable : 0) |
         ((access & VFIO_DMA_MAP_FLAG_WRITE) != 0 ? kIommuMapWriteable : 0);
}

/** IOMMU_IOAS_MAP_FILE. 0 or -errno; -ENOTTY: this kernel does not have the call. */
int MapDescriptor(const Ioas& ioas, uint64_t iova, int fd, uint64_t start, uint64_t size, uint64_t access) {
  IommuIoasMapFile map = {};
  map.size = sizeof map;
  map.flags = MapFlags(access);
  map.ioas_id = ioas.id;
  map.fd = fd;
  map.start = start;
  map.length = size;
  map.iova = iova;
  return Ioctl(ioas.iommufd->get(), kIommuIoasMapFile, &map);
}

/** The same, of bytes of a memfd. */
int MapFile(const Ioas& ioas, uint64_t iova, const MappedMemory& memory, uint64_t access) {
  const auto start = static_cast<uint64_t>(memory.start - memory.region->base);
  return MapDescriptor(ioas, iova, memory.region->fd.get(), start, memory.size, access);
}

/** IOMMU_IOAS_MAP. 0 or -errno. */
int MapAddress(const Ioas& ioas, uint64_t iova, const MappedMemory& memory, uint64_t access) {
  IommuIoasMap map = {};
  map.size = sizeof map;
  map.flags = MapFlags(access);
  map.ioas_id = ioas.id;
  map.user_va = reinterpret_cast<uintptr_t>(memory.start);
  map.length = memory.size;
  map.iova = iova;
  return Ioctl(ioas.iommufd->get(), kIommuIoasMap, &map);
}

/**
 * ioasMap(ioas, iova, buffer, offset, size, flags): 0. `flags`: 1 the device reads, 2 writes, 3 both.
 * -EOPNOTSUPP for memory in none of our regions that cannot be held.
 */
napi_value Map(Call& call) {
  Ioas* ioas = call.addon->ioases.Get(call.GetHandle(0));
  if (ioas == nullptr) return call.Return(-EBADF);
  uint64_t iova, access;
  MappedMemory memory;
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &iova) || !call.Unsigned(5, kAccess, &access) || access == 0) {
    return call.Return(-EINVAL);
  }
  if (const int error = BufferMemory(call, 2, &memory)) return call.Return(error);
  const auto place = ioas->mappings.try_emplace(iova);
  if (!place.second) return call.Return(-EEXIST);
  int error = -ENOTTY;
  if (ioas->maps_files && memory.region != nullptr && memory.region->page != 0) {
    error = MapFile(*ioas, iova, memory, access);
    if (error == -ENOTTY) ioas->maps_files = false;
  }
  if (error == -ENOTTY) error = MapAddress(*ioas, iova, memory, access);
  if (error < 0) {
    ioas->mappings.erase(place.first);
    return call.Return(error);
  }
  place.first->second = {memory.size, std::move(memory.held)};
  return call.Return(0);
}

/**
 * ioasMapWindow(ioas, iova, window, offset, size, flags): 0. As ioasMap, for registers. The kernel cuts the
 * device off when the registers cease to answer, and the mapping has to be made again when they do. The addon
 * holds their mapping in this process, which keeps their function open. -EOPNOTSUPP: this kernel cannot.
 * -EFAULT: memory decode is off.
 */
napi_value MapWindow(Call& call) {
  Ioas* ioas = call.addon->ioases.Get(call.GetHandle(0));
  if (ioas == nullptr) return call.Return(-EBADF);
  uint64_t iova, access, offset;
  MappedMemory memory;
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &iova) || !call.Unsigned(5, kAccess, &access) || access == 0) {
    return call.Return(-EINVAL);
  }
  if (const int error = WindowMemory(call, 2, &memory)) return call.Return(error);
  const MmioWindow* window = call.addon->windows.Get(call.GetHandle(2));
  if (!call.Unsigned(3, Call::kMaxSafeInteger, &offset)) return call.Return(-EINVAL);
  const auto place = ioas->mappings.try_emplace(iova);
  if (!place.second) return call.Return(-EEXIST);
  const Fd buffer(ExportRegisters(*window, offset, memory.size));
  int error = buffer.get();
  if (error >= 0) error = MapDescriptor(*ioas, iova, buffer.get(), 0, memory.size, access);
  if (error < 0) {
    ioas->mappings.erase(place.first);
    // The arguments are right, so -EINVAL is of a kernel whose iommufd takes files of memory only.
    if (error == -ENODEV) return call.Return(-EFAULT);
    return call.Return(error == -ENOTTY || error == -EINVAL ? -EOPNOTSUPP : error);
  }
  place.first->second = {memory.size, std::move(memory.held)};
  return call.Return(0);
}

/**
 * ioasUnmap(ioas, iova, size): bytes unmapped. -EINVAL: the range cuts a mapping, and nothing has
 * changed.
 */
napi_value Unmap(Call& call) {
  Ioas* ioas = call.addon->ioases.Get(call.GetHandle(0));
  if (ioas == nullptr) return call.Return(-EBADF);
  uint64_t iova, size;
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &iova) || !call.Unsigned(2, Call::kMaxSafeInteger, &size)) {
    return call.Return(-EINVAL);
  }
  auto& mappings = ioas->mappings;
  const auto first = mappings.lower_bound(iova);
  const auto last = mappings.lower_bound(iova + size);
  if (first != mappings.begin()) {
    const auto before = std::prev(first);
    if (before->first + before->second.size > iova) return call.Return(-EINVAL);
  }
  if (first == last) return call.Return(0);
  const auto end = std::prev(last);
  if (end->first + end->second.size > iova + size) return call.Return(-EINVAL);
  const int64_t unmapped = UnmapRange(*ioas, iova, size);
  if (unmapped >= 0) mappings.erase(first, last);
  return call.Return(unmapped);
}

}  // namespace

Ioas::~Ioas() {
  if (iommufd == nullptr) return;
  IommuDestroy destroy = {};
  destroy.size = sizeof destroy;
  destroy.id = id;
  ioctl(iommufd->get(), kIommuDestroy, &destroy);
}

void InitIommufd(napi_env env, napi_value exports) {
  Export<Create>(env, exports, "ioasCreate");
  Export<Close>(env, exports, "ioasClose");
  Export<DeviceOpen>(env, exports, "ioasDeviceOpen");
  Export<Info>(env, exports, "ioasInfo");
  Export<Map>(env, exports, "ioasMap");
  Export<MapWindow>(env, exports, "ioasMapWindow");
  Export<Unmap>(env, exports, "ioasUnmap");
}

}  // namespace userdma
