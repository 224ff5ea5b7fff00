/**
 * A driver for the edu device that knows neither PCI nor UIO: it is given its parts. Whoever made them has set masks and
 * bus mastering.
 */
import type { DmaDevice, Interrupt, Registers } from '../../lib/index.ts';

const ID = 0x00;
const IRQ_STATUS = 0x24;
const IRQ_RAISE = 0x60;
const IRQ_ACKNOWLEDGE = 0x64;
const DMA_SOURCE = 0x80;
const DMA_DESTINATION = 0x88;
const DMA_COUNT = 0x90;
const DMA_COMMAND = 0x98;
const DEVICE_MEMORY = 0x40000n;
const IRQ_DMA = 0x100;
const START = 1;
const FROM_DEVICE = 2;
const IRQ_WHEN_DONE = 4;

export interface Parts {
  readonly registers: Registers;
  readonly interrupt: Interrupt;
  readonly dma: DmaDevice;
}

export class EduParts {
  readonly parts: Parts;

  constructor(parts: Parts) {
    this.parts = parts;
  }

  get id(): number {
    return this.parts.registers.read32(ID);
  }

  /** Pull the line, for cause `bits`. */
  raise(bits: number): void {
    this.parts.registers.write32(IRQ_RAISE, bits);
  }

  /** The causes there are, acknowledged: the line is down. */
  acknowledge(): number {
    const causes = this.parts.registers.read32(IRQ_STATUS);
    this.parts.registers.write32(IRQ_ACKNOWLEDGE, causes);
    return causes;
  }

  /** Bytes from a bus address into the device's memory. */
  async fetch(address: bigint, length: number, deviceOffset = 0): Promise<void> {
    await this.#transfer(address, DEVICE_MEMORY + BigInt(deviceOffset), length, 0);
  }

  /** Bytes of the device's memory to a bus address. */
  async store(address: bigint, length: number, deviceOffset = 0): Promise<void> {
    await this.#transfer(DEVICE_MEMORY + BigInt(deviceOffset), address, length, FROM_DEVICE);
  }

  /** The bytes of any view, mapped for as long as it takes, there and back. */
  async echo(sent: Uint8Array): Promise<Uint8Array> {
    {
      using there = this.parts.dma.mapSingle(sent, 'to-device');
      await this.fetch(there.dmaAddress, there.size);
    }
    const received = new Uint8Array(sent.length);
    using back = this.parts.dma.mapSingle(received, 'from-device');
    await this.store(back.dmaAddress, back.size);
    back.unmap();
    return received;
  }

  async #transfer(source: bigint, destination: bigint, length: number, direction: number): Promise<void> {
    const { registers, interrupt } = this.parts;
    registers.write64(DMA_SOURCE, source);
    registers.write64(DMA_DESTINATION, destination);
    registers.write64(DMA_COUNT, BigInt(length));
    registers.write32(DMA_COMMAND, START | IRQ_WHEN_DONE | direction);
    let causes = 0;
    while ((causes & IRQ_DMA) === 0) {
      await interrupt.wait({ signal: AbortSignal.timeout(60_000) });
      causes = this.acknowledge();
      interrupt.unmask();
    }
  }
}
