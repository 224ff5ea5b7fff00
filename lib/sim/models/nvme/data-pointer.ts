/**
 * The memory for the data of a command: pieces of bus memory, in the order of the data. They come from PRPs (prp.ts)
 * or from an SGL (sgl.ts). The same arrays serve every command.
 */
import { wholeAddress } from '../../../iommu/bus-address.ts';
import type { DeviceBus } from '../../model.ts';
import type { Activity } from './activity.ts';
import type { Command } from './command.ts';
import { mapPrps } from './prp.ts';
import { mapSgl } from './sgl.ts';
import { STATUS } from './status.ts';

const WORD = 2 ** 32;
const LARGEST_PAGE = 65_536;

/** The memory that a command names, from its PRP entries or SGL descriptors. */
export class DataPointer {
  /** The number of pieces. */
  count = 0;
  /** The bytes that `fetch` has read. */
  readonly fetched = new DataView(new ArrayBuffer(LARGEST_PAGE));
  readonly #bus: DeviceBus;
  readonly #activity: Activity;
  #lows = new Uint32Array(256);
  #highs = new Uint32Array(256);
  #lengths = new Uint32Array(256);
  /** Views of the first bytes of `fetched`, keyed by their size. Each is made once. */
  readonly #firsts = new Map<number, Uint8Array>();

  constructor(bus: DeviceBus, activity: Activity) {
    this.#bus = bus;
    this.#activity = activity;
  }

  /** Takes the pieces for `size` bytes from a command. Returns a status. */
  map(command: Command, size: number, pageSize: number): number {
    this.count = 0;
    this.#activity.looking(command);
    if (command.psdt === 0) return mapPrps(this, command, size, pageSize);
    return command.psdt === 3 ? STATUS.invalidField : mapSgl(this, command, size);
  }

  /** The size of a piece in bytes. */
  length(piece: number): number {
    return this.#lengths[piece]!;
  }

  /** The address of a piece. */
  address(piece: number): number | bigint {
    return wholeAddress(this.#lows[piece]!, this.#highs[piece]!);
  }

  /** Reads the memory of a piece, from byte `offset` of it on, into `into`; as `DeviceBus.dmaRead`. */
  read(piece: number, offset: number, into: Uint8Array): boolean {
    const low = this.#lows[piece]! + offset;
    return this.#bus.dmaRead(low | 0, into, this.#highs[piece]! + (low >= WORD ? 1 : 0));
  }

  /** Writes to the memory of a piece, from byte `offset` of it on; as `DeviceBus.dmaWrite`. */
  write(piece: number, offset: number, from: Uint8Array): boolean {
    const low = this.#lows[piece]! + offset;
    return this.#bus.dmaWrite(low | 0, from, this.#highs[piece]! + (low >= WORD ? 1 : 0));
  }

  add(low: number, high: number, length: number): void {
    if (this.count === this.#lows.length) this.#grow();
    this.#lows[this.count] = low;
    this.#highs[this.count] = high;
    this.#lengths[this.count] = length;
    this.count++;
  }

  /** Reads `size` bytes of a list or segment into `fetched`. Returns false if a part of them cannot be read. */
  fetch(low: number, high: number, offset: number, size: number): boolean {
    let into = this.#firsts.get(size);
    if (into === undefined) {
      into = new Uint8Array(this.fetched.buffer, 0, size);
      this.#firsts.set(size, into);
    }
    this.#activity.list(true);
    const whole = this.#bus.dmaRead((low + offset) | 0, into, high + (low + offset >= WORD ? 1 : 0));
    this.#activity.list(false);
    return whole;
  }

  /** The driver made a mistake in a pointer. This method reports it, and returns `status`. */
  refuse(status: number, low: number, high: number, reason: string): number {
    this.#bus.report(wholeAddress(low, high), 0, 'read', reason);
    return status;
  }

  #grow(): void {
    const grown = (old: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> => {
      const wider = new Uint32Array(2 * old.length);
      wider.set(old);
      return wider;
    };
    this.#lows = grown(this.#lows);
    this.#highs = grown(this.#highs);
    this.#lengths = grown(this.#lengths);
  }
}
