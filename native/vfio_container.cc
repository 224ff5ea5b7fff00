// VFIO containers and groups, type1v2 IOMMU (drivers/vfio/{container,group,vfio_iommu_type1}.c).
//
// Order of opening: container, group, status, attach, set IOMMU; only then are there ranges and mappings, and
// devices. What is mapped stays pinned: if the process unmaps or frees the memory meanwhile, the device keeps
// the old pages. So the container holds memory that is not ours from mapping to unmapping (backing_store.h).
#include "vfio_container.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "addon.h"
#include "backing_store.h"
#include "mmio.h"
#include "vfio_info.h"

namespace userdma {
namespace {

constexpr uint64_t kMaxGroup = 0x7fffffff;
constexpr uint64_t kAccess = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;

/** vfioContainerOpen(): handle. -EOPNOTSUPP another API version, or no type1v2. */
napi_value ContainerOpen(Call& call) {
  Fd fd(open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC));
  if (!fd) return call.Return(-errno);
  if (VfioIoctl(fd.get(), VFIO_GET_API_VERSION, 0) != VFIO_API_VERSION) return call.Return(-EOPNOTSUPP);
  if (VfioIoctl(fd.get(), VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0) return call.Return(-EOPNOTSUPP);
  auto container = std::make_shared<VfioContainer>();
  container->fd = std::move(fd);
  const Handle handle = call.addon->containers.Add(std::move(container));
  return call.Return(handle == 0 ? -EMFILE : static_cast<int64_t>(handle));
}

/** vfioContainerClose(container): 0. The kernel drops every mapping, once no device of its groups is open. */
napi_value ContainerClose(Call& call) {
  return call.Return(call.addon->containers.Remove(call.GetHandle(0)) == nullptr ? -EBADF : 0);
}

/** The container of argument 0 and the fd of its open group of argument 1; 0 or -errno. */
int OpenGroup(const Call& call, VfioContainer** container, int* group) {
  *container = call.addon->containers.Get(call.GetHandle(0));
  if (*container == nullptr) return -EBADF;
  uint64_t number;
  if (!call.Unsigned(1, kMaxGroup, &number)) return -EINVAL;
  const auto found = (*container)->groups.find(static_cast<uint32_t>(number));
  if (found == (*container)->groups.end()) return -EINVAL;
  *group = found->second.get();
  return 0;
}

/** vfioGroupOpen(container, group): 0. Opens /dev/vfio/`group`, for this container to keep. */
napi_value GroupOpen(Call& call) {
  VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  uint64_t number;
  if (!call.Unsigned(1, kMaxGroup, &number)) return call.Return(-EINVAL);
  Fd fd(open(("/dev/vfio/" + std::to_string(number)).c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return call.Return(-errno);
  container->groups[static_cast<uint32_t>(number)] = std::move(fd);
  return call.Return(0);
}

/** vfioGroupClose(container, group): 0. Out of the container, once its devices are closed. */
napi_value GroupClose(Call& call) {
  VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  uint64_t number;
  if (!call.Unsigned(1, kMaxGroup, &number)) return call.Return(-EINVAL);
  return call.Return(container->groups.erase(static_cast<uint32_t>(number)) == 0 ? -EINVAL : 0);
}

/** vfioGroupStatus(container, group): VFIO_GROUP_FLAGS_*. */
napi_value GroupStatus(Call& call) {
  VfioContainer* container;
  int group;
  if (const int error = OpenGroup(call, &container, &group)) return call.Return(error);
  vfio_group_status status = {};
  status.argsz = sizeof status;
  const int error = VfioIoctl(group, VFIO_GROUP_GET_STATUS, &status);
  return call.Return(error < 0 ? error : static_cast<int64_t>(status.flags));
}

/** vfioGroupAttach(container, group): 0. */
napi_value GroupAttach(Call& call) {
  VfioContainer* container;
  int group;
  if (const int error = OpenGroup(call, &container, &group)) return call.Return(error);
  int fd = container->fd.get();
  return call.Return(VfioIoctl(group, VFIO_GROUP_SET_CONTAINER, &fd));
}

/** vfioSetIommu(container): 0. Needs an attached group. */
napi_value SetIommu(Call& call) {
  const VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  return call.Return(VfioIoctl(container->fd.get(), VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
}

/** [start, end, start, end, ...] as BigInts, ends inclusive; nullptr without the capability (Linux
 * before 5.4). */
napi_value IovaRanges(Call& call, const VfioInfo& info, uint32_t first) {
  vfio_iommu_type1_info_cap_iova_range capability;
  size_t tail;
  std::vector<vfio_iova_range> ranges;
  if (!info.Find(first, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, &capability, &tail)) return nullptr;
  if (!info.ReadArray(tail, capability.nr_iovas, &ranges)) return nullptr;
  napi_value list = nullptr;
  napi_create_array(call.env, &list);
  uint32_t index = 0;
  for (const vfio_iova_range& range : ranges) {
    napi_set_element(call.env, list, index++, call.ReturnBigInt(range.start));
    napi_set_element(call.env, list, index++, call.ReturnBigInt(range.end));
  }
  return list;
}

/** vfioIommuInfo(container): Type1Info, see lib/native/vfio.ts. -EOPNOTSUPP when the kernel tells no ranges.
 */
napi_value IommuInfo(Call& call) {
  const VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  VfioInfo info;
  if (const int error = info.Read(container->fd.get(), VFIO_IOMMU_GET_INFO, vfio_iommu_type1_info{})) {
    return call.Return(error);
  }
  const auto head = info.Head<vfio_iommu_type1_info>();
  if ((head.flags & VFIO_IOMMU_INFO_PGSIZES) == 0) return call.Return(-EOPNOTSUPP);
  const uint32_t first = (head.flags & VFIO_IOMMU_INFO_CAPS) != 0 ? head.cap_offset : 0;
  napi_value ranges = IovaRanges(call, info, first);
  if (ranges == nullptr) return call.Return(-EOPNOTSUPP);
  vfio_iommu_type1_info_dma_avail available;
  size_t tail;
  napi_value result = nullptr;
  napi_create_object(call.env, &result);
  napi_set_named_property(call.env, result, "pageSizes", call.ReturnBigInt(head.iova_pgsizes));
  napi_set_named_property(call.env, result, "ranges", ranges);
  if (info.Find(first, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, &available, &tail)) {
    napi_set_named_property(call.env, result, "available", call.Return(available.avail));
  }
  return result;
}

/** vfioPageOffset(buffer, pageSize): where in its page the first byte lies. `pageSize` is a power of two. */
napi_value PageOffset(Call& call) {
  void* data = nullptr;
  size_t length = 0;
  uint64_t page;
  if (!call.Buffer(0, &data, &length) || length == 0) return call.Return(-EINVAL);
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &page) || page == 0 || (page & (page - 1)) != 0) {
    return call.Return(-EINVAL);
  }
  return call.Return(static_cast<int64_t>(reinterpret_cast<uintptr_t>(data) & (page - 1)));
}

/**
 * The memory of argument `index` from `offset` for `size` bytes. It may run past the end of the buffer only
 * into the rest of its last page, when that page is part of one of our regions: there the allocation owns
 * whole pages. Any other memory behind the end belongs to someone else.
 */
bool MappedMemory(const Call& call, size_t index, uint64_t offset, uint64_t size, char** out) {
  void* data = nullptr;
  size_t length = 0;
  if (!call.Buffer(index, &data, &length) || offset >= length || size == 0) return false;
  *out = static_cast<char*>(data) + offset;
  if (size <= length - offset) return true;
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t whole = (length + page - 1) / page * page;
  return size <= whole - offset && call.addon->FindRegion(*out, size) != nullptr;
}

/** VFIO_IOMMU_MAP_DMA, with a share in the memory if it needs one; 0 or -errno. */
int MapAt(VfioContainer* container, uint64_t iova, const char* memory, uint64_t size, uint64_t access,
          std::shared_ptr<void> held) {
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof map;
  map.flags = static_cast<uint32_t>(access);
  map.vaddr = reinterpret_cast<uintptr_t>(memory);
  map.iova = iova;
  map.size = size;
  const int error = VfioIoctl(container->fd.get(), VFIO_IOMMU_MAP_DMA, &map);
  if (error < 0) return error;
  if (held != nullptr) container->held[iova] = std::move(held);
  return 0;
}

/** vfioCanMapForeign(): whether vfioMap takes memory that is in none of our regions. */
napi_value CanMapForeign(Call& call) {
  napi_value result = nullptr;
  napi_get_boolean(call.env, CanHoldBackingStores(), &result);
  return result;
}

/**
 * vfioMap(container, iova, buffer, offset, size, flags): 0. `flags`: 1 the device reads, 2 writes, 3 both.
 * -EOPNOTSUPP for memory in none of our regions that cannot be held.
 */
napi_value Map(Call& call) {
  VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  uint64_t iova, offset, size, access;
  char* memory;
  const bool valid = call.Unsigned(1, Call::kMaxSafeInteger, &iova) &&
                     call.Unsigned(3, Call::kMaxSafeInteger, &offset) &&
                     call.Unsigned(4, Call::kMaxSafeInteger, &size) && call.Unsigned(5, kAccess, &access) &&
                     MappedMemory(call, 2, offset, size, &memory);
  if (!valid) return call.Return(-EINVAL);
  std::shared_ptr<void> held;
  if (call.addon->FindRegion(memory, size) == nullptr) {
    held = HoldBackingStore(call[2]);
    if (held == nullptr) return call.Return(-EOPNOTSUPP);
  }
  return call.Return(MapAt(container, iova, memory, size, access, std::move(held)));
}

/** The part of `window` that is mapped into this process and holds all of [offset, offset + size), or
 * nullptr. */
const MmioArea* MappedArea(const MmioWindow& window, uint64_t offset, uint64_t size) {
  for (const MmioArea& area : window.areas) {
    const uint64_t inside = offset - area.offset;  // huge when below the area
    if (inside < area.size && size != 0 && size <= area.size - inside) return &area;
  }
  return nullptr;
}

/**
 * vfioMapWindow(container, iova, window, offset, size, flags): 0. As vfioMap, for registers. The kernel looks
 * the process's mapping of them up and then needs it no more; it is kept because it keeps their function
 * open, so that nobody else is handed a function whose registers this device writes.
 */
napi_value MapWindow(Call& call) {
  VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  const MmioWindow* window = call.addon->windows.Get(call.GetHandle(2));
  if (container == nullptr || window == nullptr) return call.Return(-EBADF);
  uint64_t iova, offset, size, access;
  const bool valid = call.Unsigned(1, Call::kMaxSafeInteger, &iova) &&
                     call.Unsigned(3, Call::kMaxSafeInteger, &offset) &&
                     call.Unsigned(4, Call::kMaxSafeInteger, &size) && call.Unsigned(5, kAccess, &access);
  if (!valid) return call.Return(-EINVAL);
  const MmioArea* area = MappedArea(*window, offset, size);
  if (area == nullptr) return call.Return(-EINVAL);
  const char* memory = static_cast<const char*>(area->memory.get()) + (offset - area->offset);
  return call.Return(MapAt(container, iova, memory, size, access, area->memory));
}

/** vfioUnmap(container, iova, size): bytes unmapped. Whole mappings only. */
napi_value Unmap(Call& call) {
  VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  uint64_t iova, size;
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &iova) || !call.Unsigned(2, Call::kMaxSafeInteger, &size)) {
    return call.Return(-EINVAL);
  }
  vfio_iommu_type1_dma_unmap unmap = {};
  unmap.argsz = sizeof unmap;
  unmap.iova = iova;
  unmap.size = size;
  const int error = VfioIoctl(container->fd.get(), VFIO_IOMMU_UNMAP_DMA, &unmap);
  if (error < 0) return call.Return(error);
  auto& held = container->held;
  held.erase(held.lower_bound(iova), held.lower_bound(iova + size));
  return call.Return(static_cast<int64_t>(unmap.size));
}

}  // namespace

void InitVfioContainer(Napi::Env env, Napi::Object exports) {
  Export<ContainerOpen>(env, exports, "vfioContainerOpen");
  Export<ContainerClose>(env, exports, "vfioContainerClose");
  Export<GroupOpen>(env, exports, "vfioGroupOpen");
  Export<GroupClose>(env, exports, "vfioGroupClose");
  Export<GroupStatus>(env, exports, "vfioGroupStatus");
  Export<GroupAttach>(env, exports, "vfioGroupAttach");
  Export<SetIommu>(env, exports, "vfioSetIommu");
  Export<IommuInfo>(env, exports, "vfioIommuInfo");
  Export<PageOffset>(env, exports, "vfioPageOffset");
  Export<CanMapForeign>(env, exports, "vfioCanMapForeign");
  Export<Map>(env, exports, "vfioMap");
  Export<MapWindow>(env, exports, "vfioMapWindow");
  Export<Unmap>(env, exports, "vfioUnmap");
}

}  // namespace userdma
