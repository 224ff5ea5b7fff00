/**
 * Registers, rings and requests (Virtual I/O Device 1.2: 2.7 split virtqueues, 4.1 PCI transport, 5.2 block device).
 */
import { struct, u8, u16, u32, u64 } from '../../lib/index.ts';

export const RED_HAT = 0x1af4;
/** 0x1040 plus the device type, for devices of version 1.0 and later. */
export const VIRTIO_BLK_DEVICE = 0x1042;

/** The offsets of the fields in a vendor-specific capability (4.1.4). */
export const CAPABILITY = { type: 3, bar: 4, offset: 8, length: 12, notifyMultiplier: 16 } as const;
/** The kinds of configuration that a capability can describe. */
export const CONFIGURATION = { common: 1, notify: 2, interruptStatus: 3, device: 4 } as const;

/** The common configuration (4.1.4.3). */
export const COMMON = {
  deviceFeatureSelect: 0x00,
  deviceFeature: 0x04,
  driverFeatureSelect: 0x08,
  driverFeature: 0x0c,
  configVector: 0x10,
  queueCount: 0x12,
  status: 0x14,
  generation: 0x15,
  queueSelect: 0x16,
  queueSize: 0x18,
  queueVector: 0x1a,
  queueEnable: 0x1c,
  queueNotifyOffset: 0x1e,
  queueDescriptors: 0x20,
  queueDriver: 0x28,
  queueDevice: 0x30,
} as const;
export const COMMON_BYTES = 0x38;
/** A vector register reads this if the device could not take the vector. */
export const NO_VECTOR = 0xffff;

/** The device status (2.1). */
export const STATUS = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 64,
  failed: 128,
} as const;

/** Feature bits (5.2.3, 6). */
export const FEATURE = {
  segmentMax: 1n << 2n,
  readOnly: 1n << 5n,
  blockSize: 1n << 6n,
  flush: 1n << 9n,
  version1: 1n << 32n,
  /** The device's addresses go through the IOMMU, as those of other devices do. */
  accessPlatform: 1n << 33n,
  /** The device needs the barriers that other devices need. */
  orderPlatform: 1n << 36n,
} as const;

/** The device's own configuration (5.2.4). */
export const DEVICE = { capacity: 0x00, segmentMax: 0x0c, blockSize: 0x14 } as const;
export const DEVICE_BYTES = 0x24;
/** Bytes of a sector, for every block size. */
export const SECTOR = 512;

export const Descriptor = struct(16, { address: u64(0), length: u32(8), flags: u16(12), next: u16(14) });
export const DESCRIPTOR_FLAG = { next: 1, deviceWrites: 2 } as const;
/** The head of the available and of the used ring. The entries follow. */
export const RingHead = struct(4, { flags: u16(0), index: u16(2) });
export const RING_HEAD_BYTES = 4;
export const AvailableEntry = struct(2, { head: u16(0) });
export const UsedEntry = struct(8, { id: u32(0), length: u32(4) });
/** In the flags of the available ring: the driver polls. In those of the used ring: the device polls. */
export const NO_NOTIFICATION = 1;

/** A request begins with this, and ends with a byte of status that the device writes (5.2.6). */
export const RequestHead = struct(16, { type: u32(0), sector: u64(8) });
export const RequestStatus = struct(1, { value: u8(0) });
export const REQUEST = { read: 0, write: 1, flush: 4, id: 8 } as const;
export const RESULT = { ok: 0, error: 1, unsupported: 2 } as const;
/** The longest serial number. */
export const ID_BYTES = 20;
