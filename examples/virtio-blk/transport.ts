/**
 * virtio over PCI, for devices of version 1.0 and later (4.1): the parts of the BARs, features, status, and queues.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bar, DmaError, type PciFunction, type VendorCapability } from '../../lib/index.ts';
import type { VirtQueue } from './queue.ts';
import { CAPABILITY, COMMON, COMMON_BYTES, CONFIGURATION, FEATURE, NO_VECTOR, STATUS } from './registers.ts';

/** A part of a BAR. */
interface Part {
  readonly bar: Bar;
  readonly offset: number;
  readonly length: number;
  readonly capability: VendorCapability;
}

/** Milliseconds that a reset may take. */
const RESET_TIME = 1000;
/** The most readings of the device's own configuration until one is not torn. */
const READINGS = 1000;

export class VirtioPci {
  readonly #fn: PciFunction;
  readonly #common: Part;
  readonly #notify: Part;
  readonly #device: Part;
  readonly #notifyMultiplier: number;

  /**
   * @param deviceBytes the number of bytes of the device's own configuration that the driver reads
   * @throws DmaError ENODEV it is not a device of version 1.0, or a capability leads outside its BAR
   */
  constructor(fn: PciFunction, deviceBytes: number) {
    this.#fn = fn;
    this.#common = this.#part(CONFIGURATION.common, COMMON_BYTES);
    this.#notify = this.#part(CONFIGURATION.notify, 2);
    this.#device = this.#part(CONFIGURATION.device, deviceBytes);
    this.#notifyMultiplier = this.#notify.capability.read32(CAPABILITY.notifyMultiplier);
  }

  get status(): number {
    const { bar, offset } = this.#common;
    return bar.read8(offset + COMMON.status);
  }

  /** Sets bits of the device status. */
  addStatus(bits: number): void {
    const { bar, offset } = this.#common;
    bar.write8(offset + COMMON.status, this.status | bits);
  }

  /**
   * Brings the device to rest (4.1.4.3.2). When this returns, the device has forgotten its queues.
   * @throws DmaError EIO it does not come to rest
   */
  async reset(): Promise<void> {
    const { bar, offset } = this.#common;
    bar.write8(offset + COMMON.status, 0);
    for (let waited = 0; this.status !== 0; waited++) {
      if (waited >= RESET_TIME) {
        throw new DmaError('EIO', `${this.#fn.address} is not at rest after ${RESET_TIME} ms`, {
          remedy: 'reset the function, or look whether the device is there',
        });
      }
      await sleep(1);
    }
  }

  /**
   * Negotiates the features that driver and device both have (3.1.1), and returns them.
   * @param wanted the features of the driver
   * @throws DmaError EOPNOTSUPP the device has no version that the driver knows, or does not accept its own features
   */
  negotiate(wanted: bigint): bigint {
    const offered = this.#deviceFeatures();
    const agreed = offered & (wanted | FEATURE.version1 | FEATURE.accessPlatform | FEATURE.orderPlatform);
    if ((agreed & FEATURE.version1) === 0n)
      throw this.#refusal('does not speak virtio 1.0', 'use a newer device');
    if ((agreed & FEATURE.accessPlatform) === 0n && this.#fn.domain !== undefined) {
      throw this.#refusal(
        'goes around the IOMMU, and would reach memory by physical addresses',
        'QEMU: start the device with iommu_platform=on',
      );
    }
    const { bar, offset } = this.#common;
    for (const half of [0, 1]) {
      bar.write32(offset + COMMON.driverFeatureSelect, half);
      bar.write32(offset + COMMON.driverFeature, Number((agreed >> BigInt(32 * half)) & 0xffff_ffffn));
    }
    this.addStatus(STATUS.featuresOk);
    if ((this.status & STATUS.featuresOk) === 0) {
      throw this.#refusal('takes none of its own features', 'look whether it is one of version 1.0');
    }
    return agreed;
  }

  /**
   * Sets the vector for changes of the device's own configuration. @throws DmaError EIO the device could not take the
   * vector
   */
  setConfigVector(vector: number): void {
    const { bar, offset } = this.#common;
    this.#setVector(bar, offset + COMMON.configVector, vector);
  }

  /** The longest possible queue of that number; 0 if there is none. */
  maxQueueSize(index: number): number {
    const { bar, offset } = this.#common;
    if (index >= bar.read16(offset + COMMON.queueCount)) return 0;
    bar.write16(offset + COMMON.queueSelect, index);
    return bar.read16(offset + COMMON.queueSize);
  }

  /**
   * Tells the device the addresses of a queue (4.1.5.1.3). Returns the function that notifies the device of new
   * requests.
   * @throws DmaError EIO the device could not take the vector, or its doorbell is outside its registers
   */
  enableQueue(index: number, queue: VirtQueue, vector: number): () => void {
    const { bar, offset } = this.#common;
    bar.write16(offset + COMMON.queueSelect, index);
    bar.write16(offset + COMMON.queueSize, queue.size);
    this.#setVector(bar, offset + COMMON.queueVector, vector);
    bar.write64LoHi(offset + COMMON.queueDescriptors, queue.descriptors);
    bar.write64LoHi(offset + COMMON.queueDriver, queue.available);
    bar.write64LoHi(offset + COMMON.queueDevice, queue.used);
    const notify = this.#notify;
    const at = bar.read16(offset + COMMON.queueNotifyOffset) * this.#notifyMultiplier;
    if (at + 2 > notify.length) throw this.#broken(`is notified at ${at} of ${notify.length} bytes`);
    bar.write16(offset + COMMON.queueEnable, 1);
    return () => notify.bar.write16(notify.offset + at, index);
  }

  /**
   * A value of the device's own configuration. It is read again until the device did not change it meanwhile
   * (4.1.4.3.1).
   * @throws DmaError EIO it changes all the time
   */
  readDevice<T>(read: (bar: Bar, offset: number) => T): T {
    const { bar, offset } = this.#common;
    for (let reading = 0; reading < READINGS; reading++) {
      const before = bar.read8(offset + COMMON.generation);
      const value = read(this.#device.bar, this.#device.offset);
      if (bar.read8(offset + COMMON.generation) === before) return value;
    }
    throw this.#broken('changes its configuration all the time');
  }

  #deviceFeatures(): bigint {
    const { bar, offset } = this.#common;
    let features = 0n;
    for (const half of [0, 1]) {
      bar.write32(offset + COMMON.deviceFeatureSelect, half);
      features |= BigInt(bar.read32(offset + COMMON.deviceFeature)) << BigInt(32 * half);
    }
    return features;
  }

  #setVector(bar: Bar, register: number, vector: number): void {
    bar.write16(register, vector);
    if (bar.read16(register) === NO_VECTOR) throw this.#broken(`did not take MSI-X vector ${vector}`);
  }

  /** The first capability of its kind that is in a BAR. A driver ignores kinds that it does not know (4.1.4.1). */
  #part(type: number, bytes: number): Part {
    for (const one of this.#fn.config.vendorSpecific) {
      if (one.size < CAPABILITY.length + 4 || one.read8(CAPABILITY.type) !== type) continue;
      const [index, offset, length] = [
        one.read8(CAPABILITY.bar),
        one.read32(CAPABILITY.offset),
        one.read32(CAPABILITY.length),
      ];
      if (index > 5) continue;
      const bar = this.#fn.bar(index);
      if (length >= bytes && offset + length <= bar.size) return { bar, offset, length, capability: one };
    }
    throw new DmaError(
      'ENODEV',
      `${this.#fn.address} has no registers of virtio 1.0 (configuration ${type})`,
      {
        remedy: 'QEMU: start the device with disable-legacy=on',
      },
    );
  }

  #refusal(what: string, remedy: string): DmaError {
    return new DmaError('EOPNOTSUPP', `${this.#fn.address} ${what}`, { remedy });
  }

  #broken(what: string): DmaError {
    return new DmaError('EIO', `${this.#fn.address} ${what}`, { remedy: 'reset the function' });
  }
}
