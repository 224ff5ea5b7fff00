// VFIO PCI devices (drivers/vfio/pci/vfio_pci_core.c).
//
// Registers: the parts of a BAR that the kernel allows to be mapped become areas of an MMIO window. The
// rest (I/O port BARs, the bytes around a sparse area) is reached through the file, where the kernel
// checks each access.
//
// Interrupts: the kernel signals eventfds. Only one kind (INTx, MSI, MSI-X) is on at a time. On some
// kernels the caller cannot enable more vectors than in its first call (VFIO_IRQ_INFO_NORESIZE). So it
// first asks for all of them, without eventfds, and then arms them one by one.
#include "vfio_device.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "addon.h"
#include "interrupt.h"
#include "ioctl.h"
#include "iommufd_abi.h"
#include "mmio.h"
#include "vfio_container.h"
#include "vfio_info.h"

namespace userdma {
namespace {

constexpr uint64_t kMaxVectors = 2048;  // the largest number of MSI-X vectors
constexpr uint32_t kMaxRegions = 256;   // far more than any driver has
constexpr uint64_t kMaxIndex = 0xffffffff;

uint64_t PageSize() { return static_cast<uint64_t>(sysconf(_SC_PAGESIZE)); }

/** One region; an index the device does not have reads as an empty one. 0 or -errno. */
int ReadRegion(int fd, uint32_t index, VfioRegion* out) {
  vfio_region_info seed = {};
  seed.index = index;
  VfioInfo info;
  const int error = info.Read(fd, VFIO_DEVICE_GET_REGION_INFO, seed);
  if (error == -EINVAL) return 0;
  if (error != 0) return error;
  const auto head = info.Head<vfio_region_info>();
  out->size = head.size;
  out->offset = head.offset;
  out->flags = head.flags;
  if ((head.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0 || head.size == 0) return 0;
  vfio_region_info_cap_sparse_mmap sparse;
  size_t tail;
  const uint32_t first = (head.flags & VFIO_REGION_INFO_FLAG_CAPS) != 0 ? head.cap_offset : 0;
  if (!info.Find(first, VFIO_REGION_INFO_CAP_SPARSE_MMAP, &sparse, &tail)) {
    out->areas = {{0, head.size}};
  } else if (!info.ReadArray(tail, sparse.nr_areas, &out->areas)) {
    out->areas.clear();
  }
  return 0;
}

/**
 * vfioDeviceClose(device): 0. Its windows are removed first. The kernel clears bus master and stops the
 * interrupts.
 */
napi_value DeviceClose(Call& call) {
  const std::shared_ptr<VfioDevice> device = call.addon->devices.Remove(call.GetHandle(0));
  if (device == nullptr) return call.Return(-EBADF);
  for (const Handle window : device->windows) RemoveWindow(*call.addon, window);
  return call.Return(0);
}

/** vfioDeviceReset(device): 0. -EINVAL the device has no reset of this function alone, -EAGAIN busy. */
napi_value DeviceReset(Call& call) {
  const VfioDevice* device = call.addon->devices.Get(call.GetHandle(0));
  if (device == nullptr) return call.Return(-EBADF);
  return call.Return(Ioctl(device->file->get(), VFIO_DEVICE_RESET, 0));
}

/** The most functions of one hot reset: 32 devices of 8 functions on a bus. */
constexpr uint32_t kMaxAffected = 256;

/** The functions that a hot reset hits. `group_id` of each is a device id when `by_device` is set. */
struct Affected {
  bool by_device = false;
  std::vector<vfio_pci_dependent_device> functions;
};

/**
 * Reads which functions a hot reset of `fd` resets; 0 or -errno. If there is no room, the kernel returns
 * their number.
 */
int ReadAffected(int fd, Affected* out) {
  std::vector<char> bytes(sizeof(vfio_pci_hot_reset_info));
  for (;;) {
    vfio_pci_hot_reset_info info = {};
    info.argsz = static_cast<uint32_t>(bytes.size());
    std::memcpy(bytes.data(), &info, sizeof info);
    const int error = Ioctl(fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, bytes.data());
    std::memcpy(&info, bytes.data(), sizeof info);
    if (error < 0 && error != -ENOSPC) return error;
    if (info.count > kMaxAffected) return -EOVERFLOW;
    const size_t needed = sizeof info + info.count * sizeof(vfio_pci_dependent_device);
    if (error == 0 && needed <= bytes.size()) {
      out->by_device = (info.flags & kHotResetDevId) != 0;
      out->functions.resize(info.count);
      if (info.count > 0)
        std::memcpy(out->functions.data(), bytes.data() + sizeof info, needed - sizeof info);
      return 0;
    }
    if (needed <= bytes.size()) return -EIO;  // the kernel must not want less than it was given
    bytes.assign(needed, 0);
  }
}

/**
 * vfioHotResetInfo(device): [id, segment, bus, devfn, ...]; -ENODEV if no hot reset is possible. `id` is
 * the group of a function. If `device` was opened without a group, `id` is 0 or more for a function that
 * is bound to the same iommufd, or shares a group with one, and -1 for any other.
 */
napi_value HotResetInfo(Call& call) {
  const VfioDevice* device = call.addon->devices.Get(call.GetHandle(0));
  if (device == nullptr) return call.Return(-EBADF);
  Affected affected;
  if (const int error = ReadAffected(device->file->get(), &affected)) return call.Return(error);
  napi_value list = nullptr;
  napi_create_array(call.env, &list);
  uint32_t index = 0;
  for (const vfio_pci_dependent_device& one : affected.functions) {
    const int64_t id =
        affected.by_device ? static_cast<int32_t>(one.group_id) : static_cast<int64_t>(one.group_id);
    napi_set_element(call.env, list, index++, call.Return(id));
    napi_set_element(call.env, list, index++, call.Return(one.segment));
    napi_set_element(call.env, list, index++, call.Return(one.bus));
    napi_set_element(call.env, list, index++, call.Return(one.devfn));
  }
  return list;
}

/**
 * vfioHotReset(device): 0. -EPERM a function that would be reset is in a group that this environment does
 * not have; -EAGAIN, -EBUSY busy.
 */
napi_value HotReset(Call& call) {
  const VfioDevice* device = call.addon->devices.Get(call.GetHandle(0));
  if (device == nullptr) return call.Return(-EBADF);
  Affected affected;
  if (const int error = ReadAffected(device->file->get(), &affected)) return call.Return(error);
  std::vector<int32_t>
      fds;  // of the groups; none when the kernel knows the devices of the caller by their iommufd
  for (const vfio_pci_dependent_device& one : affected.functions) {
    if (affected.by_device) break;
    const int fd = HeldGroup(*call.addon, one.group_id);
    if (fd < 0) return call.Return(-EPERM);
    if (std::find(fds.begin(), fds.end(), fd) == fds.end()) fds.push_back(fd);
  }
  std::vector<char> bytes(sizeof(vfio_pci_hot_reset) + fds.size() * sizeof(int32_t));
  vfio_pci_hot_reset reset = {};
  reset.argsz = static_cast<uint32_t>(bytes.size());
  reset.count = static_cast<uint32_t>(fds.size());
  std::memcpy(bytes.data(), &reset, sizeof reset);
  if (!fds.empty()) std::memcpy(bytes.data() + sizeof reset, fds.data(), fds.size() * sizeof(int32_t));
  return call.Return(Ioctl(device->file->get(), VFIO_DEVICE_PCI_HOT_RESET, bytes.data()));
}

/** The device of argument 0 and its region of argument 1; 0 or -errno. */
int FindRegion(const Call& call, VfioDevice** device, const VfioRegion** region) {
  *device = call.addon->devices.Get(call.GetHandle(0));
  if (*device == nullptr) return -EBADF;
  uint64_t index;
  if (!call.Unsigned(1, kMaxIndex, &index) || index >= (*device)->regions.size()) return -EINVAL;
  *region = &(*device)->regions[index];
  return 0;
}

/** vfioRegionSize(device, index): bytes, 0 when there is none. */
napi_value RegionSize(Call& call) {
  VfioDevice* device;
  const VfioRegion* region;
  if (const int error = FindRegion(call, &device, &region)) return call.Return(error);
  return call.Return(region->size > Call::kMaxSafeInteger ? -EOVERFLOW : static_cast<int64_t>(region->size));
}

/** The file offset of arguments 2 and 3 (offset, width 1, 2 or 4) in the region; 0 or -errno. */
int FileOffset(const Call& call, const VfioRegion& region, uint64_t* width, off_t* offset) {
  uint64_t inside;
  if (!call.Unsigned(2, Call::kMaxSafeInteger, &inside) || !call.Unsigned(3, 4, width)) return -EINVAL;
  if (*width == 0 || *width == 3) return -EINVAL;
  if (inside >= region.size || *width > region.size - inside) return -EINVAL;
  *offset = static_cast<off_t>(region.offset + inside);
  return 0;
}

/** vfioRegionRead(device, index, offset, width): little-endian value of 1, 2 or 4 bytes. */
napi_value RegionRead(Call& call) {
  VfioDevice* device;
  const VfioRegion* region;
  uint64_t width;
  off_t offset;
  if (const int error = FindRegion(call, &device, &region)) return call.Return(error);
  if (const int error = FileOffset(call, *region, &width, &offset)) return call.Return(error);
  uint8_t bytes[4] = {};
  const ssize_t count = pread(device->file->get(), bytes, width, offset);
  if (count < 0) return call.Return(-errno);
  if (static_cast<uint64_t>(count) != width) return call.Return(-EIO);
  uint32_t value = 0;
  for (uint64_t i = 0; i < width; i++) value |= static_cast<uint32_t>(bytes[i]) << (8 * i);
  return call.Return(value);
}

/**
 * vfioRegionReadBytes(device, index, offset, bytes): 0. Fills all of `bytes` from there on. The region
 * must be readable.
 */
napi_value RegionReadBytes(Call& call) {
  VfioDevice* device;
  const VfioRegion* region;
  if (const int error = FindRegion(call, &device, &region)) return call.Return(error);
  uint64_t inside;
  void* data = nullptr;
  size_t length = 0;
  if (!call.Unsigned(2, Call::kMaxSafeInteger, &inside) || !call.Buffer(3, &data, &length)) {
    return call.Return(-EINVAL);
  }
  if (inside > region->size || length > region->size - inside) return call.Return(-EINVAL);
  if ((region->flags & VFIO_REGION_INFO_FLAG_READ) == 0) return call.Return(-EINVAL);
  for (size_t done = 0; done < length;) {
    const off_t offset = static_cast<off_t>(region->offset + inside + done);
    const ssize_t count = pread(device->file->get(), static_cast<char*>(data) + done, length - done, offset);
    if (count < 0) return call.Return(-errno);
    if (count == 0) return call.Return(-EIO);
    done += static_cast<size_t>(count);
  }
  return call.Return(0);
}

/** vfioRegionWrite(device, index, offset, width, value): 0. */
napi_value RegionWrite(Call& call) {
  VfioDevice* device;
  const VfioRegion* region;
  uint64_t width, value;
  off_t offset;
  if (const int error = FindRegion(call, &device, &region)) return call.Return(error);
  if (const int error = FileOffset(call, *region, &width, &offset)) return call.Return(error);
  if (!call.Unsigned(4, (uint64_t{1} << (8 * width)) - 1, &value)) return call.Return(-EINVAL);
  uint8_t bytes[4];
  for (uint64_t i = 0; i < width; i++) bytes[i] = static_cast<uint8_t>(value >> (8 * i));
  const ssize_t count = pwrite(device->file->get(), bytes, width, offset);
  if (count < 0) return call.Return(-errno);
  return call.Return(static_cast<uint64_t>(count) == width ? 0 : -EIO);
}

/**
 * Maps the parts of `region` that the kernel allows into `window`. The last page of an area may reach
 * past the end of a BAR that is smaller than a page, because the kernel rounds up. No byte past the BAR
 * becomes part of the window. Registers that the kernel does not map are reached through the file. So is
 * a region that is not both readable and writable: a forbidden access is then an error of the kernel,
 * while a mapping would raise SIGSEGV. 0 or -errno.
 */
int MapAreas(int fd, const VfioRegion& region, MmioWindow* window) {
  const uint64_t page = PageSize();
  constexpr uint32_t both = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  if ((region.flags & both) != both) return 0;
  for (const SparseArea& area : region.areas) {
    const bool inside = area.offset <= region.size && area.size <= region.size - area.offset;
    if (!inside || area.size == 0 || area.size % 8 != 0 || area.offset % page != 0) continue;
    const uint64_t whole = (area.size + page - 1) / page * page;
    std::shared_ptr<void> memory = MapMmio(fd, region.offset + area.offset, whole);
    if (memory == nullptr && errno == ENOMEM) return -ENOMEM;
    if (memory != nullptr) window->areas.push_back({area.offset, area.size, std::move(memory)});
  }
  return 0;
}

/** vfioBarOpen(device, bar): handle of an MMIO window over the whole BAR. It closes with the device. */
napi_value BarOpen(Call& call) {
  VfioDevice* device;
  const VfioRegion* region;
  if (const int error = FindRegion(call, &device, &region)) return call.Return(error);
  if (region->size == 0 || region - device->regions.data() > VFIO_PCI_BAR5_REGION_INDEX) {
    return call.Return(-EINVAL);
  }
  device->windows.reserve(device->windows.size() + 1);  // it must have a place once the window is open
  MmioWindow window;
  window.size = region->size;
  window.file = device->file;
  window.file_offset = region->offset;
  window.region = static_cast<uint32_t>(region - device->regions.data());
  if (const int error = MapAreas(device->file->get(), *region, &window)) return call.Return(error);
  const Handle handle = AddWindow(*call.addon, std::move(window));
  if (handle == 0) return call.Return(-EMFILE);
  device->windows.push_back(handle);
  return call.Return(handle);
}

/** The device of argument 0 and the interrupt index of argument 1; 0 or -errno. */
int FindIrqs(const Call& call, VfioDevice** device, uint32_t* index) {
  uint64_t number;
  *device = call.addon->devices.Get(call.GetHandle(0));
  if (*device == nullptr) return -EBADF;
  if (!call.Unsigned(1, kMaxIndex, &number)) return -EINVAL;
  *index = static_cast<uint32_t>(number);
  return 0;
}

/**
 * Reads the kernel's information about the interrupts of argument 1. A kind that the device does not have
 * has no vectors. 0 or -errno.
 */
int ReadIrqs(const Call& call, vfio_irq_info* info) {
  VfioDevice* device;
  *info = {};
  info->argsz = sizeof *info;
  info->flags = VFIO_IRQ_INFO_NORESIZE;
  if (const int error = FindIrqs(call, &device, &info->index)) return error;
  const int error = Ioctl(device->file->get(), VFIO_DEVICE_GET_IRQ_INFO, info);
  return error == -EINVAL ? 0 : std::min(error, 0);
}

/** vfioIrqCount(device, kind): vectors, 0 when it has none. `kind`: VFIO_PCI_INTX_IRQ_INDEX, ... */
napi_value IrqCount(Call& call) {
  vfio_irq_info info;
  if (const int error = ReadIrqs(call, &info)) return call.Return(error);
  return call.Return(info.count);
}

/** VFIO_DEVICE_SET_IRQS with one eventfd (or -1, none) for each of `count` vectors, or without any data. */
int SetIrqs(const VfioDevice& device, uint32_t index, uint32_t action, uint32_t start, uint32_t count,
            const int* fd) {
  const size_t data = fd == nullptr ? 0 : count * sizeof(int32_t);
  std::vector<char> bytes(sizeof(vfio_irq_set) + data);
  vfio_irq_set set = {};
  set.argsz = static_cast<uint32_t>(bytes.size());
  set.flags = action | (fd == nullptr ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD);
  set.index = index;
  set.start = start;
  set.count = count;
  std::memcpy(bytes.data(), &set, sizeof set);
  if (fd != nullptr) std::fill_n(reinterpret_cast<int32_t*>(bytes.data() + sizeof set), count, *fd);
  return IoctlNumber(device.file->get(), VFIO_DEVICE_SET_IRQS, bytes.data());
}

/** VFIO_DEVICE_SET_IRQS without any data: 0 or -errno. */
int SwitchIrqs(const VfioDevice& device, uint32_t index, uint32_t action, uint32_t start, uint32_t count) {
  const int result = SetIrqs(device, index, action, start, count, nullptr);
  return result > 0 ? -EPROTO : result;
}

/**
 * vfioIrqArm(device, kind, start, count, interrupt): 0. If the system grants fewer vectors, the result is
 * their number, and none is armed. Vectors [start, start + count) signal `interrupt`, or nothing if it is
 * 0.
 */
napi_value IrqArm(Call& call) {
  VfioDevice* device;
  uint32_t index;
  uint64_t start, count;
  if (const int error = FindIrqs(call, &device, &index)) return call.Return(error);
  const bool valid =
      call.Unsigned(2, kMaxVectors, &start) && call.Unsigned(3, kMaxVectors, &count) && count > 0;
  if (!valid) return call.Return(-EINVAL);
  uint64_t none = 1;
  int fd = -1;
  if (!call.Unsigned(4, 0, &none)) {
    fd = InterruptFd(*call.addon, call.GetHandle(4));
    if (fd < 0) return call.Return(-EBADF);
  }
  return call.Return(SetIrqs(*device, index, VFIO_IRQ_SET_ACTION_TRIGGER, static_cast<uint32_t>(start),
                             static_cast<uint32_t>(count), &fd));
}

/** vfioIrqResizable(device, kind): 1 when vectors can be added while others are on, else 0. */
napi_value IrqResizable(Call& call) {
  vfio_irq_info info;
  if (const int error = ReadIrqs(call, &info)) return call.Return(error);
  return call.Return((info.flags & VFIO_IRQ_INFO_NORESIZE) == 0 ? 1 : 0);
}

/** vfioIrqTrigger(device, kind, vector): 0. Signals the eventfd of the vector, without the device. */
napi_value IrqTrigger(Call& call) {
  VfioDevice* device;
  uint32_t index;
  uint64_t vector;
  if (const int error = FindIrqs(call, &device, &index)) return call.Return(error);
  if (!call.Unsigned(2, kMaxVectors, &vector)) return call.Return(-EINVAL);
  return call.Return(
      SwitchIrqs(*device, index, VFIO_IRQ_SET_ACTION_TRIGGER, static_cast<uint32_t>(vector), 1));
}

/** vfioIrqOff(device, kind): 0. No vector of this kind fires any more, and another kind may be used. */
napi_value IrqOff(Call& call) {
  VfioDevice* device;
  uint32_t index;
  if (const int error = FindIrqs(call, &device, &index)) return call.Return(error);
  return call.Return(SwitchIrqs(*device, index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0));
}

/** vfioIrqUnmask(device, kind): 0. For INTx, which the kernel masks each time it fires. */
napi_value IrqUnmask(Call& call) {
  VfioDevice* device;
  uint32_t index;
  if (const int error = FindIrqs(call, &device, &index)) return call.Return(error);
  return call.Return(SwitchIrqs(*device, index, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1));
}

}  // namespace

int64_t AdoptDevice(Addon& addon, Fd descriptor, std::shared_ptr<void> space) {
  auto device = std::make_shared<VfioDevice>();
  device->space = std::move(space);
  const int fd = descriptor.get();
  device->file = std::make_shared<const Fd>(std::move(descriptor));
  vfio_device_info info = {};
  info.argsz = sizeof info;
  if (const int error = Ioctl(fd, VFIO_DEVICE_GET_INFO, &info)) return error;
  if ((info.flags & VFIO_DEVICE_FLAGS_PCI) == 0) return -ENODEV;
  device->regions.resize(std::min(info.num_regions, kMaxRegions));
  for (uint32_t index = 0; index < device->regions.size(); index++) {
    if (const int error = ReadRegion(fd, index, &device->regions[index])) return error;
  }
  const Handle handle = addon.devices.Add(std::move(device));
  return handle == 0 ? -EMFILE : static_cast<int64_t>(handle);
}

int ExportRegisters(const MmioWindow& window, uint64_t offset, uint64_t size) {
  if (window.file == nullptr) return -EOPNOTSUPP;
  VfioFeatureDmaBuf feature = {};
  feature.argsz = sizeof feature;
  feature.flags = kVfioFeatureGetDmaBuf;
  feature.region_index = window.region;
  feature.open_flags = O_RDWR | O_CLOEXEC;
  feature.nr_ranges = 1;
  feature.offset = offset;
  feature.length = size;
  return IoctlNumber(window.file->get(), kVfioDeviceFeature, &feature);
}

void InitVfioDevice(napi_env env, napi_value exports) {
  Export<DeviceClose>(env, exports, "vfioDeviceClose");
  Export<DeviceReset>(env, exports, "vfioDeviceReset");
  Export<HotResetInfo>(env, exports, "vfioHotResetInfo");
  Export<HotReset>(env, exports, "vfioHotReset");
  Export<RegionSize>(env, exports, "vfioRegionSize");
  Export<RegionRead>(env, exports, "vfioRegionRead");
  Export<RegionReadBytes>(env, exports, "vfioRegionReadBytes");
  Export<RegionWrite>(env, exports, "vfioRegionWrite");
  Export<BarOpen>(env, exports, "vfioBarOpen");
  Export<IrqCount>(env, exports, "vfioIrqCount");
  Export<IrqArm>(env, exports, "vfioIrqArm");
  Export<IrqResizable>(env, exports, "vfioIrqResizable");
  Export<IrqTrigger>(env, exports, "vfioIrqTrigger");
  Export<IrqOff>(env, exports, "vfioIrqOff");
  Export<IrqUnmask>(env, exports, "vfioIrqUnmask");
}

}  // namespace userdma
