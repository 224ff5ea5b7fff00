// The part of the kernel interface of iommufd, and of VFIO devices without groups, that the addon uses
// (include/uapi/linux/iommufd.h, vfio.h). It is declared here, because the headers of many systems are
// older. Linux 6.2 brought iommufd, 6.6 the devices, and 6.13 the mapping of files.
#pragma once

#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cstdint>

namespace userdma {

constexpr unsigned long IommufdRequest(unsigned number) { return _IO(';', number); }
constexpr unsigned long VfioRequest(unsigned number) { return _IO(VFIO_TYPE, VFIO_BASE + number); }

constexpr unsigned long kIommuDestroy = IommufdRequest(0x80);
constexpr unsigned long kIommuIoasAlloc = IommufdRequest(0x81);
constexpr unsigned long kIommuIoasIovaRanges = IommufdRequest(0x84);
constexpr unsigned long kIommuIoasMap = IommufdRequest(0x85);
constexpr unsigned long kIommuIoasUnmap = IommufdRequest(0x86);
constexpr unsigned long kIommuIoasMapFile = IommufdRequest(0x8f);
constexpr unsigned long kVfioBindIommufd = VfioRequest(18);
constexpr unsigned long kVfioAttachIommufdPt = VfioRequest(19);

/**
 * VFIO_DEVICE_FEATURE with VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF: registers of a BAR as a
 * dma-buf (Linux 6.19). The result is its descriptor.
 */
constexpr unsigned long kVfioDeviceFeature = VfioRequest(17);
constexpr uint32_t kVfioFeatureGetDmaBuf = 1u << 16 | 11;

/** struct vfio_device_feature with its data: struct vfio_device_feature_dma_buf of one range. */
struct VfioFeatureDmaBuf {
  uint32_t argsz;
  uint32_t flags;
  uint32_t region_index;
  uint32_t open_flags;
  uint32_t dma_buf_flags;
  uint32_t nr_ranges;
  uint64_t offset;
  uint64_t length;
};
static_assert(sizeof(VfioFeatureDmaBuf) == 40);

/** Flags of a mapping. */
constexpr uint32_t kIommuMapFixedIova = 1 << 0;
constexpr uint32_t kIommuMapWriteable = 1 << 1;
constexpr uint32_t kIommuMapReadable = 1 << 2;

/**
 * A flag of struct vfio_pci_hot_reset_info: it names functions by their device ids, not by their groups.
 */
constexpr uint32_t kHotResetDevId = 1 << 0;

struct IommuDestroy {
  uint32_t size;
  uint32_t id;
};
static_assert(sizeof(IommuDestroy) == 8);

struct IommuIoasAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_ioas_id;
};
static_assert(sizeof(IommuIoasAlloc) == 12);

/** Both ends inclusive. */
struct IommuIovaRange {
  uint64_t start;
  uint64_t last;
};
static_assert(sizeof(IommuIovaRange) == 16);

struct IommuIoasIovaRanges {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t reserved;
  uint64_t allowed_iovas;
  uint64_t out_iova_alignment;
};
static_assert(sizeof(IommuIoasIovaRanges) == 32);

struct IommuIoasMap {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t reserved;
  uint64_t user_va;
  uint64_t length;
  uint64_t iova;
};
static_assert(sizeof(IommuIoasMap) == 40);

struct IommuIoasMapFile {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  int32_t fd;
  uint64_t start;
  uint64_t length;
  uint64_t iova;
};
static_assert(sizeof(IommuIoasMapFile) == 40);

struct IommuIoasUnmap {
  uint32_t size;
  uint32_t ioas_id;
  uint64_t iova;
  uint64_t length;
};
static_assert(sizeof(IommuIoasUnmap) == 24);

/** A flag of VfioBindIommufd: there is a token. */
constexpr uint32_t kVfioBindToken = 1 << 0;

/** Linux 6.17 added the token. A kernel before it takes the structure only if the token is 0. */
struct VfioBindIommufd {
  uint32_t argsz;
  uint32_t flags;
  int32_t iommufd;
  uint32_t out_devid;
  uint64_t token;  // the address of 16 bytes
};
static_assert(sizeof(VfioBindIommufd) == 24);

/** The structure before Linux 6.15, which added a PASID at its end. */
struct VfioAttachIommufdPt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pt_id;
};
static_assert(sizeof(VfioAttachIommufdPt) == 12);

}  // namespace userdma
