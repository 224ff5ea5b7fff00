/**
 * A model of QEMU's virtio-blk-pci, written as a user of the simulation would write one: a modern device with one
 * split virtqueue. Its disk is in memory. It follows the specification where a driver could notice a difference.
 * Features are negotiated before queues are set up, and only negotiated features work. After an invalid chain the
 * device needs a reset (2.1.2).
 */
import {
  type BarDescription,
  type CapabilityDescription,
  type DeviceBus,
  type DeviceModel,
  type FunctionDescription,
  type SimulatedSource,
  type SimulateOptions,
  simulate,
  type Width,
} from '../../lib/sim/index.ts';
import { ModelDisk } from './model-disk.ts';
import { ModelQueue } from './model-queue.ts';
import {
  CAPABILITY,
  COMMON,
  CONFIGURATION,
  DEVICE,
  FEATURE,
  NO_VECTOR,
  RED_HAT,
  SECTOR,
  STATUS,
  VIRTIO_BLK_DEVICE,
} from './registers.ts';

/** Options of the model. */
export interface VirtioBlkModelOptions {
  /** Bytes of the disk, a multiple of 512. Default 1 MiB. */
  readonly capacity?: number;
  /**
   * Simulated microseconds from a notification to the end of its requests. Default 0: all is done inside the write.
   */
  readonly latency?: number;
  /** The number of descriptors of its queue. Default 256. */
  readonly queueSize?: number;
  readonly readOnly?: boolean;
  /** The serial number, up to 20 characters. Default `simulated`. */
  readonly serial?: string;
}

/** The places of the parts in BAR 4, as in QEMU. */
const PART = { common: 0x0000, interruptStatus: 0x1000, device: 0x2000, notify: 0x3000 } as const;
const PART_BYTES = 0x1000;
const NOTIFY_MULTIPLIER = 4;
const REGISTER_BAR = 4;
const INTERRUPT_CAUSE = { queue: 1, configuration: 2 } as const;
const SEGMENT_MAX = 254;

export class VirtioBlkModel implements DeviceModel {
  readonly config: FunctionDescription = {
    vendorId: RED_HAT,
    deviceId: VIRTIO_BLK_DEVICE,
    revision: 1,
    classCode: 0x010000,
    subsystemVendorId: RED_HAT,
    subsystemId: 0x1100,
    intx: true,
    msix: { vectors: 2, bar: 1, table: 0, pending: 0x800 },
    express: true,
    functionLevelReset: true,
    capabilities: [
      part(CONFIGURATION.common, PART.common),
      part(CONFIGURATION.interruptStatus, PART.interruptStatus),
      part(CONFIGURATION.device, PART.device),
      part(CONFIGURATION.notify, PART.notify, NOTIFY_MULTIPLIER),
    ],
  };
  readonly bars: readonly BarDescription[] = [
    { index: 1, size: 0x1000 },
    { index: REGISTER_BAR, size: 0x4000, is64Bit: true, prefetchable: true },
  ];
  /** The stored data. A test may read and change it without the driver's knowledge. */
  readonly disk: ModelDisk;
  readonly #latency: number;
  readonly #features: bigint;
  readonly #queueSize: number;
  #bus!: DeviceBus;
  #queue!: ModelQueue;
  #status = 0;
  #generation = 0;
  #deviceSelect = 0;
  #driverSelect = 0;
  #driverFeatures = 0n;
  #configVector = NO_VECTOR;
  #queueVector = NO_VECTOR;
  #queueSelect = 0;
  #causes = 0;
  #working = false;
  /** The number of resets. */
  #life = 0;

  constructor(options: VirtioBlkModelOptions = {}) {
    const {
      capacity = 2 ** 20,
      latency = 0,
      queueSize = 256,
      readOnly = false,
      serial = 'simulated',
    } = options;
    this.disk = new ModelDisk(capacity, serial, readOnly);
    this.#latency = latency;
    this.#queueSize = queueSize;
    const { segmentMax, blockSize, flush, version1, accessPlatform } = FEATURE;
    this.#features =
      segmentMax | blockSize | flush | version1 | accessPlatform | (readOnly ? FEATURE.readOnly : 0n);
  }

  attach(bus: DeviceBus): void {
    this.#bus = bus;
    this.#queue = new ModelQueue(bus, this.#queueSize);
  }

  reset(): void {
    this.#status = 0;
    this.#deviceSelect = 0;
    this.#driverSelect = 0;
    this.#driverFeatures = 0n;
    this.#configVector = NO_VECTOR;
    this.#queueVector = NO_VECTOR;
    this.#queueSelect = 0;
    this.#causes = 0;
    this.#working = false;
    this.#life++;
    this.#queue.reset();
  }

  activity(): string | undefined {
    return this.#queue.activity;
  }

  /** Changes the size of the disk, and tells the driver. @param capacity bytes, a multiple of 512 */
  resize(capacity: number): void {
    this.disk.resize(capacity);
    this.#generation = (this.#generation + 1) & 0xff;
    this.#tellOfChange();
  }

  /** The driver reads a register. */
  read(bar: number, offset: number, width: Width): number {
    if (bar !== REGISTER_BAR) return 0;
    const register = offset % PART_BYTES;
    switch (offset - register) {
      case PART.common:
        return this.#readCommon(register);
      case PART.device:
        return this.#readDevice(register, width);
      case PART.interruptStatus: {
        // Reading clears the causes, and the line goes down.
        const causes = this.#causes;
        this.#causes = 0;
        this.#bus.lower();
        return causes;
      }
      default:
        return 0;
    }
  }

  /** The driver writes a register. */
  write(bar: number, offset: number, _width: Width, value: number): void {
    if (bar !== REGISTER_BAR) return;
    const register = offset % PART_BYTES;
    if (offset - register === PART.common) this.#writeCommon(register, value);
    else if (offset === PART.notify) this.#notified();
  }

  #readCommon(register: number): number {
    const first = this.#queueSelect === 0;
    switch (register) {
      case COMMON.deviceFeatureSelect:
        return this.#deviceSelect;
      case COMMON.deviceFeature:
        return half(this.#features, this.#deviceSelect);
      case COMMON.driverFeatureSelect:
        return this.#driverSelect;
      case COMMON.driverFeature:
        return half(this.#driverFeatures, this.#driverSelect);
      case COMMON.configVector:
        return this.#configVector;
      case COMMON.queueCount:
        return 1;
      case COMMON.status:
        return this.#status;
      case COMMON.generation:
        return this.#generation;
      case COMMON.queueSelect:
        return this.#queueSelect;
      case COMMON.queueSize:
        return first ? this.#queue.size : 0;
      case COMMON.queueVector:
        return first ? this.#queueVector : NO_VECTOR;
      case COMMON.queueEnable:
        return first && this.#queue.enabled ? 1 : 0;
      default:
        return first ? this.#queue.readAddress(register) : 0;
    }
  }

  #writeCommon(register: number, value: number): void {
    switch (register) {
      case COMMON.deviceFeatureSelect:
        this.#deviceSelect = value;
        return;
      case COMMON.driverFeatureSelect:
        this.#driverSelect = value;
        return;
      case COMMON.driverFeature:
        this.#setDriverFeatures(value);
        return;
      case COMMON.configVector:
        this.#configVector = vectorOf(value);
        return;
      case COMMON.status:
        this.#setStatus(value);
        return;
      case COMMON.queueSelect:
        this.#queueSelect = value;
        return;
    }
    if (this.#queueSelect !== 0) return;
    if (register === COMMON.queueVector) this.#queueVector = vectorOf(value);
    else if (register === COMMON.queueSize) this.#queue.setSize(value);
    else if (register === COMMON.queueEnable) this.#queue.enabled ||= value === 1;
    else this.#queue.writeAddress(register, value);
  }

  /** Features are negotiated once, before FEATURES_OK. */
  #setDriverFeatures(value: number): void {
    if ((this.#status & STATUS.featuresOk) !== 0 || this.#driverSelect > 1) return;
    const shift = BigInt(32 * this.#driverSelect);
    const others = this.#driverFeatures & ~(0xffff_ffffn << shift);
    this.#driverFeatures = others | (BigInt(value) << shift);
  }

  /**
   * Writing 0 resets. FEATURES_OK stays off if the driver wants a feature that was not offered, or is older than 1.0.
   */
  #setStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    const taken =
      (this.#driverFeatures & ~this.#features) === 0n && (this.#driverFeatures & FEATURE.version1) !== 0n;
    this.#status = taken ? value : value & ~STATUS.featuresOk;
  }

  #readDevice(register: number, width: Width): number {
    const view = new DataView(new ArrayBuffer(0x40));
    view.setBigUint64(DEVICE.capacity, BigInt(this.disk.capacity / SECTOR), true);
    view.setUint32(DEVICE.segmentMax, SEGMENT_MAX, true);
    view.setUint32(DEVICE.blockSize, SECTOR, true);
    if (register + width > view.byteLength) return 0;
    if (width === 4) return view.getUint32(register, true);
    return width === 2 ? view.getUint16(register, true) : view.getUint8(register);
  }

  #notified(): void {
    if ((this.#status & STATUS.driverOk) === 0 || !this.#queue.enabled) return;
    if (this.#latency === 0) {
      this.#work();
      return;
    }
    if (this.#working) return;
    this.#working = true;
    const life = this.#life;
    this.#bus.after(this.#latency, () => {
      // A reset through the status register has ended this work.
      if (life !== this.#life) return;
      this.#working = false;
      this.#work();
    });
  }

  /** Processes all chains in the available ring. */
  #work(): void {
    const ran = this.#queue.run((chain) => this.disk.handle(chain));
    if (!ran.intact) {
      this.#status |= STATUS.needsReset;
      this.#tellOfChange();
      return;
    }
    if (ran.interrupts) this.#interrupt(this.#queueVector, INTERRUPT_CAUSE.queue);
  }

  #tellOfChange(): void {
    if ((this.#status & STATUS.driverOk) !== 0) {
      this.#interrupt(this.#configVector, INTERRUPT_CAUSE.configuration);
    }
  }

  #interrupt(vector: number, cause: number): void {
    if (this.#bus.messages) {
      if (vector !== NO_VECTOR) this.#bus.raise(vector);
      return;
    }
    this.#causes |= cause;
    this.#bus.raise();
  }
}

/** The model, in a simulated machine. */
export function simulateVirtioBlk(
  options: VirtioBlkModelOptions = {},
  machine: SimulateOptions = {},
): SimulatedSource<VirtioBlkModel> {
  return simulate(new VirtioBlkModel(options), machine);
}

/** A vendor-specific capability that tells the place of a part of the registers (4.1.4). */
function part(type: number, offset: number, multiplier?: number): CapabilityDescription {
  const bytes = new Uint8Array(multiplier === undefined ? 16 : 20);
  const view = new DataView(bytes.buffer);
  bytes[2] = bytes.length;
  bytes[CAPABILITY.type] = type;
  bytes[CAPABILITY.bar] = REGISTER_BAR;
  view.setUint32(CAPABILITY.offset, offset, true);
  view.setUint32(CAPABILITY.length, PART_BYTES, true);
  if (multiplier !== undefined) view.setUint32(CAPABILITY.notifyMultiplier, multiplier, true);
  return { id: 9, registers: bytes.subarray(2) };
}

/** Bits 0 to 31 or 32 to 63 of the features. There are no others. */
function half(features: bigint, select: number): number {
  return select > 1 ? 0 : Number((features >> BigInt(32 * select)) & 0xffff_ffffn);
}

function vectorOf(value: number): number {
  return value < 2 ? value : NO_VECTOR;
}
