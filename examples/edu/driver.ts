/**
 * A driver for QEMU's `edu` teaching device (QEMU documentation, "EDU device"). It is written against PciFunction and
 * DmaDevice: no part of it knows if the device is real or simulated.
 */
import {
  type Bar,
  type CoherentBuffer,
  DmaError,
  dmaBitMask,
  type Interrupt,
  type PciFunction,
} from '../../lib/index.ts';

export const EDU_VENDOR = 0x1234;
export const EDU_DEVICE = 0x11e8;

/** Registers in BAR 0. */
const ID = 0x00;
const LIVENESS = 0x04;
const FACTORIAL = 0x08;
const STATUS = 0x20;
const IRQ_STATUS = 0x24;
const IRQ_ACKNOWLEDGE = 0x64;
const DMA_SOURCE = 0x80;
const DMA_DESTINATION = 0x88;
const DMA_COUNT = 0x90;
const DMA_COMMAND = 0x98;

const STATUS_IRQ_AFTER_FACTORIAL = 0x80;
const IRQ_FACTORIAL = 0x001;
const IRQ_DMA = 0x100;
const DMA_START = 0x1;
const DMA_FROM_DEVICE = 0x2;
const DMA_IRQ_WHEN_DONE = 0x4;

/** The address at which the DMA engine sees the device's own memory. */
const DEVICE_MEMORY = 0x40000n;
/** The most bytes that one transfer may move. QEMU before 8.2 stops the machine at the full 4,096. */
export const MAX_TRANSFER = 4095;

export interface EduOptions {
  /** The number of address bits of the DMA engine: 28 unless the device was configured otherwise. */
  readonly dmaBits?: number;
  /** The time that the device may take for one request, in milliseconds. */
  readonly timeout?: number;
}

export class Edu {
  readonly fn: PciFunction;
  /** All transfers go through this page. */
  readonly page: CoherentBuffer;
  readonly interrupt: Interrupt;
  readonly #registers: Bar;
  readonly #timeout: number;

  /**
   * Takes over an opened function. If this throws, the caller keeps owning the function.
   * @throws DmaError ENODEV not an edu device · EIO the IOMMU has no address under the device's mask
   */
  constructor(fn: PciFunction, { dmaBits = 28, timeout = 5000 }: EduOptions = {}) {
    checkEdu(fn);
    this.fn = fn;
    this.#timeout = timeout;
    this.#registers = fn.bar(0);
    fn.dma.setMaskAndCoherent(dmaBitMask(dmaBits));
    this.page = fn.dma.allocCoherent(4096);
    this.interrupt = fn.interrupts.msi(0);
    fn.setMaster();
  }

  /** The version of the device, from its identification register 0xRRrr00ed. */
  identify(): { major: number; minor: number } {
    const id = this.#registers.read32(ID);
    if ((id & 0xff) !== 0xed) {
      throw new DmaError('EIO', `identification register reads 0x${id.toString(16)}`, {
        remedy: 'reset the device',
      });
    }
    return { major: id >>> 24, minor: (id >>> 16) & 0xff };
  }

  /** True if the device answers a word with its complement. */
  isAlive(word: number): boolean {
    this.#registers.write32(LIVENESS, word);
    return this.#registers.read32(LIVENESS) === ~word >>> 0;
  }

  /** n! modulo 2^32. The device computes it, and interrupts when it is done. */
  async factorial(n: number): Promise<number> {
    this.#registers.write32(STATUS, STATUS_IRQ_AFTER_FACTORIAL);
    this.#registers.write32(FACTORIAL, n);
    await this.#completion(IRQ_FACTORIAL);
    return this.#registers.read32(FACTORIAL);
  }

  /** Copies `data` into the device's memory at `deviceOffset`, through `page` at `pageOffset`. */
  async write(data: Uint8Array, deviceOffset = 0, pageOffset = 0): Promise<void> {
    this.page.bytes.set(data, pageOffset);
    const bus = this.page.dmaAddress + BigInt(pageOffset);
    await this.transfer(bus, DEVICE_MEMORY + BigInt(deviceOffset), data.length, 0);
  }

  /** A copy of `length` bytes of the device's memory. */
  async read(length: number, deviceOffset = 0, pageOffset = 0): Promise<Uint8Array> {
    const bus = this.page.dmaAddress + BigInt(pageOffset);
    await this.transfer(DEVICE_MEMORY + BigInt(deviceOffset), bus, length, DMA_FROM_DEVICE);
    return this.page.bytes.slice(pageOffset, pageOffset + length);
  }

  /** Copies any view into the device's memory. The view itself is mapped for the device, or bounced. */
  async send(view: ArrayBufferView, deviceOffset = 0): Promise<void> {
    using mapping = this.fn.dma.mapSingle(view, 'to-device');
    await this.transfer(mapping.dmaAddress, DEVICE_MEMORY + BigInt(deviceOffset), mapping.size, 0);
  }

  /** Fills any view from the device's memory. */
  async receive(view: ArrayBufferView, deviceOffset = 0): Promise<void> {
    using mapping = this.fn.dma.mapSingle(view, 'from-device');
    await this.transfer(
      DEVICE_MEMORY + BigInt(deviceOffset),
      mapping.dmaAddress,
      mapping.size,
      DMA_FROM_DEVICE,
    );
  }

  /** Makes the device write its memory to any bus address: the IOMMU sees the same as with a bug in a driver. */
  async writeAnywhere(address: bigint, length: number): Promise<void> {
    await this.transfer(DEVICE_MEMORY, address, length, DMA_FROM_DEVICE);
  }

  /** Starts a transfer to or from any bus address, and does not wait for it. */
  start(source: bigint, destination: bigint, length: number, direction: number): void {
    if (!Number.isInteger(length) || length < 1 || length > MAX_TRANSFER) {
      throw new DmaError('EINVAL', `a transfer of ${String(length)} bytes`, {
        remedy: `use 1 to ${MAX_TRANSFER}`,
      });
    }
    this.#registers.write64(DMA_SOURCE, source);
    this.#registers.write64(DMA_DESTINATION, destination);
    this.#registers.write64(DMA_COUNT, BigInt(length));
    this.#registers.write32(DMA_COMMAND, DMA_START | DMA_IRQ_WHEN_DONE | direction);
  }

  /**
   * If the transfer fails, bus mastering stays off, because the caller gets the memory back while the device may
   * still use it.
   */
  async transfer(source: bigint, destination: bigint, length: number, direction: number): Promise<void> {
    this.start(source, destination, length, direction);
    try {
      await this.#completion(IRQ_DMA);
    } catch (error) {
      if (!this.fn.closed) this.fn.clearMaster();
      throw error;
    }
  }

  /** Stops the device, frees its memory, and releases the function. Calling it twice is harmless. */
  close(): void {
    try {
      // Freed memory is used again, so DMA must be over.
      if (!this.fn.closed) this.fn.clearMaster();
      this.page[Symbol.dispose]();
    } finally {
      this.fn.close();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Waits for the interrupt with this cause, and acknowledges it. */
  async #completion(cause: number): Promise<void> {
    const deadline = new AbortController();
    const late = new DmaError('ETIMEDOUT', `no interrupt from ${this.fn.address} in ${this.#timeout} ms`, {
      remedy: 'check that bus mastering is on and the device is not hung',
    });
    const timer = setTimeout(() => deadline.abort(late), this.#timeout);
    try {
      do await this.interrupt.wait({ signal: deadline.signal });
      while ((this.#registers.read32(IRQ_STATUS) & cause) === 0);
      this.#registers.write32(IRQ_ACKNOWLEDGE, cause);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** @throws DmaError ENODEV not an edu device */
export function checkEdu({ address, config: { vendorId, deviceId } }: PciFunction): void {
  if (vendorId === EDU_VENDOR && deviceId === EDU_DEVICE) return;
  const id = `${vendorId.toString(16).padStart(4, '0')}:${deviceId.toString(16).padStart(4, '0')}`;
  throw new DmaError('ENODEV', `${address} is ${id}, not an edu device`, { remedy: 'open 1234:11e8' });
}
