/**
 * A split virtqueue (2.7), the device's side. It reads descriptors and both rings by DMA, and checks every value in
 * them.
 */
import type { DeviceBus } from '../../lib/sim/index.ts';
import { COMMON, DESCRIPTOR_FLAG, NO_NOTIFICATION } from './registers.ts';

/** A piece of the driver's memory. */
export interface ModelPiece {
  readonly address: bigint;
  readonly length: number;
}

/** The memory that a chain of descriptors gives to the device. */
export class ModelChain {
  readonly reads: ModelPiece[] = [];
  readonly writes: ModelPiece[] = [];
  readonly #bus: DeviceBus;

  constructor(bus: DeviceBus) {
    this.#bus = bus;
  }

  get readBytes(): number {
    return total(this.reads);
  }

  get writeBytes(): number {
    return total(this.writes);
  }

  /**
   * Reads bytes [offset, offset + size) of the part for reading. Returns false if some of the memory does not exist.
   */
  read(offset: number, into: Uint8Array): boolean {
    return each(this.reads, offset, into, (address, bytes) => this.#bus.dmaRead(address, bytes));
  }

  write(offset: number, from: Uint8Array): boolean {
    return each(this.writes, offset, from, (address, bytes) => this.#bus.dmaWrite(address, bytes));
  }
}

export class ModelQueue {
  enabled = false;
  readonly #bus: DeviceBus;
  readonly #most: number;
  /** The low and high words of the three addresses, by register. */
  readonly #addresses = new Map<number, number>();
  #size: number;
  /** The position of the device in the available ring and in the used ring. Both count freely. */
  #taken = 0;
  #chain: number | undefined;

  /** @param size the most descriptors that a driver may have */
  constructor(bus: DeviceBus, size: number) {
    this.#bus = bus;
    this.#most = size;
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  /** The text for the `about` of a fault. */
  get activity(): string | undefined {
    return this.#chain === undefined ? undefined : `chain ${this.#chain}, entry ${this.#taken % this.#size}`;
  }

  reset(): void {
    this.enabled = false;
    this.#addresses.clear();
    this.#size = this.#most;
    this.#taken = 0;
    this.#chain = undefined;
  }

  setSize(size: number): void {
    if (!this.enabled && size > 0 && size <= this.#most) this.#size = size;
  }

  readAddress(register: number): number {
    return this.#addresses.get(register) ?? 0;
  }

  writeAddress(register: number, value: number): void {
    const isAddress = register >= COMMON.queueDescriptors && register < COMMON.queueDevice + 8;
    if (isAddress && !this.enabled) this.#addresses.set(register, value);
  }

  /**
   * Processes all available chains. `handle` returns how many bytes it wrote.
   * @returns `intact`: no chain was invalid; `interrupts`: the driver wants an interrupt
   */
  run(handle: (chain: ModelChain) => number | undefined): { intact: boolean; interrupts: boolean } {
    const available = this.#addressOf(COMMON.queueDriver);
    const used = this.#addressOf(COMMON.queueDevice);
    const before = this.#taken;
    for (;;) {
      const index = this.#read16(available + 2n);
      const waiting = (index - this.#taken) & 0xffff;
      if (waiting > this.#size) return this.#trouble(available + 2n, `an available index ${waiting} ahead`);
      if (waiting === 0) break;
      const slot = BigInt(this.#taken % this.#size);
      this.#chain = this.#read16(available + 4n + 2n * slot);
      const chain = this.#walk(this.#chain);
      const written = chain && handle(chain);
      if (written === undefined)
        return this.#trouble(available + 4n + 2n * slot, `chain ${this.#chain} cannot be`);
      const entry = new DataView(new ArrayBuffer(8));
      entry.setUint32(0, this.#chain, true);
      entry.setUint32(4, written, true);
      this.#bus.dmaWrite(used + 4n + 8n * slot, new Uint8Array(entry.buffer));
      this.#taken = (this.#taken + 1) & 0xffff;
      this.#write16(used + 2n, this.#taken);
      this.#chain = undefined;
    }
    const silent = (this.#read16(available) & NO_NOTIFICATION) !== 0;
    return { intact: true, interrupts: this.#taken !== before && !silent };
  }

  /** Undefined if the chain leaves the table, loops, or has a part for writing before a part for reading. */
  #walk(head: number): ModelChain | undefined {
    const table = this.#addressOf(COMMON.queueDescriptors);
    const chain = new ModelChain(this.#bus);
    const view = new DataView(new ArrayBuffer(16));
    for (let at = head, count = 0; count < this.#size; count++) {
      if (at >= this.#size) return undefined;
      if (!this.#bus.dmaRead(table + BigInt(16 * at), new Uint8Array(view.buffer))) return undefined;
      const piece = { address: view.getBigUint64(0, true), length: view.getUint32(8, true) };
      const flags = view.getUint16(12, true);
      const writes = (flags & DESCRIPTOR_FLAG.deviceWrites) !== 0;
      if (!writes && chain.writes.length > 0) return undefined;
      (writes ? chain.writes : chain.reads).push(piece);
      if ((flags & DESCRIPTOR_FLAG.next) === 0) return chain;
      at = view.getUint16(14, true);
    }
    return undefined;
  }

  #trouble(address: bigint, reason: string): { intact: boolean; interrupts: boolean } {
    this.#bus.report(address, 2, 'read', reason);
    this.enabled = false;
    return { intact: false, interrupts: false };
  }

  #addressOf(register: number): bigint {
    return (BigInt(this.readAddress(register + 4)) << 32n) | BigInt(this.readAddress(register));
  }

  #read16(address: bigint): number {
    const bytes = new Uint8Array(2);
    this.#bus.dmaRead(address, bytes);
    return bytes[0]! | (bytes[1]! << 8);
  }

  #write16(address: bigint, value: number): void {
    this.#bus.dmaWrite(address, Uint8Array.of(value & 0xff, value >>> 8));
  }
}

function total(pieces: readonly ModelPiece[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

/** Visits the pieces of the part that begins at `offset` and is as long as `bytes`. */
function each(
  pieces: readonly ModelPiece[],
  offset: number,
  bytes: Uint8Array,
  move: (address: bigint, part: Uint8Array) => boolean,
): boolean {
  let at = 0;
  let done = 0;
  let intact = true;
  for (const { address, length } of pieces) {
    const from = Math.max(offset + done - at, 0);
    const count = Math.min(length - from, bytes.length - done);
    if (count > 0) {
      intact = move(address + BigInt(from), bytes.subarray(done, done + count)) && intact;
      done += count;
    }
    at += length;
  }
  return intact && done === bytes.length;
}
