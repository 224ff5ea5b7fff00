/**
 * The memory that a command's data goes to or comes from: pieces of the bus, in the order of the data, taken from PRPs
 * (prp.ts) or an SGL (sgl.ts). The same arrays serve every command.
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
  /** Pieces there are. */
  count = 0;
  /** What `fetch` has read. */
  readonly fetched = new DataView(new ArrayBuffer(LARGEST_PAGE));
  readonly #bus: DeviceBus;
  readonly #activity: Activity;
  #lows = new Uint32Array(256);
  #highs = new Uint32Array(256);
  #lengths = new Uint32Array(256);
  /** The first bytes of `fetched`, by how many: views that are made once. */
  readonly #firsts = new Map<number, Uint8Array>();

  constructor(bus: DeviceBus, activity: Activity) {
    this.#bus = bus;
    this.#activity = activity;
  }

  /** Takes the pieces of `size` bytes from a command. Returns a status. */
  map(command: Command, size: number, pageSize: number): number {
    this.count = 0;
    this.#activity.looking(command);
    if (command.psdt === 0) return mapPrps(this, command, size, pageSize);
    return command.psdt === 3 ? STATUS.invalidField : mapSgl(this, command, size);
  }

  /** Bytes of a piece. */
  length(piece: number): number {
    return this.#lengths[piece]!;
  }

  /** Where a piece begins. */
  address(piece: number): number | bigint {
    return wholeAddress(this.#lows[piece]!, this.#highs[piece]!);
  }

  /** Memory of a piece, from byte `offset` of it on, into `into`; as `DeviceBus.dmaRead`. */
  read(piece: number, offset: number, into: Uint8Array): boolean {
    const low = this.#lows[piece]! + offset;
    return this.#bus.dmaRead(low | 0, into, this.#highs[piece]! + (low >= WORD ? 1 : 0));
  }

  /** The other way round. */
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

  /** Reads `size` bytes of a list or segment into `fetched`; false when they are not all there. */
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

  /** The driver made a mistake in a pointer, which is reported. Returns `status`. */
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
