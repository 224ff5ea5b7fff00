// VFIO containers and groups, type1v2 IOMMU or none (drivers/vfio/{container,group,vfio_iommu_type1}.c).
//
// The order of opening is: container, group, status, attach, set IOMMU. Ranges, mappings and devices
// exist only after that. A group returns the descriptor of a device; vfio_device.cc adopts it.
#include "vfio_container.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "addon.h"
#include "mapped_memory.h"
#include "vfio_device.h"
#include "vfio_info.h"

namespace userdma {
namespace {

constexpr uint64_t kMaxGroup = 0x7fffffff;
constexpr uint64_t kAccess = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;

/**
 * vfioContainerOpen(iommu): handle. `iommu` is VFIO_TYPE1v2_IOMMU or VFIO_NOIOMMU_IOMMU. -EOPNOTSUPP another
 * API version, or the kernel does not offer that.
 */
napi_value ContainerOpen(Call& call) {
  uint64_t iommu;
  if (!call.Unsigned(0, VFIO_NOIOMMU_IOMMU, &iommu)) return call.Return(-EINVAL);
  if (iommu != VFIO_TYPE1v2_IOMMU && iommu != VFIO_NOIOMMU_IOMMU) return call.Return(-EINVAL);
  Fd fd(open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC));
  if (!fd) return call.Return(-errno);
  if (IoctlNumber(fd.get(), VFIO_GET_API_VERSION, 0) != VFIO_API_VERSION) return call.Return(-EOPNOTSUPP);
  if (IoctlNumber(fd.get(), VFIO_CHECK_EXTENSION, iommu) <= 0) return call.Return(-EOPNOTSUPP);
  auto container = std::make_shared<VfioContainer>();
  container->fd = std::move(fd);
  container->iommu = static_cast<uint32_t>(iommu);
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

/**
 * vfioGroupOpen(container, group): 0. Opens /dev/vfio/`group`, or /dev/vfio/noiommu-`group`; the container
 * keeps the descriptor.
 */
napi_value GroupOpen(Call& call) {
  VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  uint64_t number;
  if (!call.Unsigned(1, kMaxGroup, &number)) return call.Return(-EINVAL);
  const char* const folder = container->iommu == VFIO_NOIOMMU_IOMMU ? "/dev/vfio/noiommu-" : "/dev/vfio/";
  Fd fd(open((folder + std::to_string(number)).c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return call.Return(-errno);
  container->groups[static_cast<uint32_t>(number)] = std::move(fd);
  return call.Return(0);
}

/** vfioGroupClose(container, group): 0. The group leaves the container when its devices are closed. */
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
  const int error = Ioctl(group, VFIO_GROUP_GET_STATUS, &status);
  return call.Return(error < 0 ? error : static_cast<int64_t>(status.flags));
}

/** vfioGroupAttach(container, group): 0. */
napi_value GroupAttach(Call& call) {
  VfioContainer* container;
  int group;
  if (const int error = OpenGroup(call, &container, &group)) return call.Return(error);
  int fd = container->fd.get();
  return call.Return(Ioctl(group, VFIO_GROUP_SET_CONTAINER, &fd));
}

/** vfioSetIommu(container): 0. Needs an attached group. */
napi_value SetIommu(Call& call) {
  const VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  return call.Return(Ioctl(container->fd.get(), VFIO_SET_IOMMU, container->iommu));
}

/** vfioGroupHeld(group): 1 if a container of this environment has the group, else 0. */
napi_value GroupHeld(Call& call) {
  uint64_t number;
  if (!call.Unsigned(0, 0xffffffff, &number)) return call.Return(-EINVAL);
  return call.Return(HeldGroup(*call.addon, static_cast<uint32_t>(number)) < 0 ? 0 : 1);
}

/** vfioDeviceOpen(container, group, name): handle of a device (vfio_device.h). `name` is the PCI address. */
napi_value DeviceOpen(Call& call) {
  VfioContainer* container;
  int group;
  std::string name;
  if (const int error = OpenGroup(call, &container, &group)) return call.Return(error);
  if (!call.Text(2, 64, &name)) return call.Return(-EINVAL);
  Fd device(IoctlNumber(group, VFIO_GROUP_GET_DEVICE_FD, name.c_str()));
  return call.Return(device ? AdoptDevice(*call.addon, std::move(device)) : device.get());
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

/**
 * VFIO_IOMMU_MAP_DMA. Memory that must be held is held before the device can reach it. 0 or -errno. If
 * the address is already mapped, the kernel refuses, and the memory that is held for that mapping stays
 * held.
 */
int MapAt(VfioContainer* container, uint64_t iova, MappedMemory memory, uint64_t access) {
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof map;
  map.flags = static_cast<uint32_t>(access);
  map.vaddr = reinterpret_cast<uintptr_t>(memory.start);
  map.iova = iova;
  map.size = memory.size;
  if (memory.held == nullptr) return Ioctl(container->fd.get(), VFIO_IOMMU_MAP_DMA, &map);
  const auto [place, added] = container->held.emplace(iova, std::move(memory.held));
  const int error = Ioctl(container->fd.get(), VFIO_IOMMU_MAP_DMA, &map);
  if (error != 0 && added) container->held.erase(place);
  return error;
}

/**
 * vfioMap(container, iova, buffer, offset, size, flags): 0. `flags`: 1 the device reads, 2 writes, 3 both.
 * -EOPNOTSUPP for memory in none of our regions that cannot be held.
 */
napi_value Map(Call& call) {
  VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  uint64_t iova, access;
  MappedMemory memory;
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &iova) || !call.Unsigned(5, kAccess, &access)) {
    return call.Return(-EINVAL);
  }
  if (const int error = BufferMemory(call, 2, &memory)) return call.Return(error);
  return call.Return(MapAt(container, iova, std::move(memory), access));
}

/**
 * vfioMapWindow(container, iova, window, offset, size, flags): 0. As vfioMap, for registers. The kernel
 * looks up how the process has mapped them, and does not need that mapping afterwards. The addon holds it
 * nevertheless, because it keeps the function of the registers open. So the kernel cannot give that
 * function to another program while this device can still write its registers.
 */
napi_value MapWindow(Call& call) {
  VfioContainer* container = call.addon->containers.Get(call.GetHandle(0));
  if (container == nullptr) return call.Return(-EBADF);
  uint64_t iova, access;
  MappedMemory memory;
  if (!call.Unsigned(1, Call::kMaxSafeInteger, &iova) || !call.Unsigned(5, kAccess, &access)) {
    return call.Return(-EINVAL);
  }
  if (const int error = WindowMemory(call, 2, &memory)) return call.Return(error);
  return call.Return(MapAt(container, iova, std::move(memory), access));
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
  const int error = Ioctl(container->fd.get(), VFIO_IOMMU_UNMAP_DMA, &unmap);
  if (error != 0) return call.Return(error);
  if (unmap.size > size) return call.Return(-EPROTO);
  Release(container->held, iova, size);
  return call.Return(static_cast<int64_t>(unmap.size));
}

}  // namespace

int HeldGroup(const Addon& addon, uint32_t number) {
  int fd = -1;
  addon.containers.ForEach([&](const VfioContainer& container) {
    const auto group = container.groups.find(number);
    if (group != container.groups.end()) fd = group->second.get();
  });
  return fd;
}

void InitVfioContainer(napi_env env, napi_value exports) {
  Export<ContainerOpen>(env, exports, "vfioContainerOpen");
  Export<ContainerClose>(env, exports, "vfioContainerClose");
  Export<GroupOpen>(env, exports, "vfioGroupOpen");
  Export<GroupClose>(env, exports, "vfioGroupClose");
  Export<GroupStatus>(env, exports, "vfioGroupStatus");
  Export<GroupAttach>(env, exports, "vfioGroupAttach");
  Export<SetIommu>(env, exports, "vfioSetIommu");
  Export<DeviceOpen>(env, exports, "vfioDeviceOpen");
  Export<GroupHeld>(env, exports, "vfioGroupHeld");
  Export<IommuInfo>(env, exports, "vfioIommuInfo");
  Export<Map>(env, exports, "vfioMap");
  Export<MapWindow>(env, exports, "vfioMapWindow");
  Export<Unmap>(env, exports, "vfioUnmap");
}

}  // namespace userdma
