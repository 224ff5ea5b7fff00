/**
 * The memory that a command's data goes to or comes from: pieces of the bus, in the order of the data, taken from PRPs
 * (prp.ts) or an SGL (sgl.ts). The same arrays serve every command.
 */
import type { DeviceBus } from '../model.ts';
import type { Activity } from './activity.ts';
import type { Command } from './command.ts';
import { mapPrps } from './prp.ts';
import { mapSgl } from './sgl.ts';
import { STATUS } from './status.ts';

/** Above this word of its high half an address is no exact number. */
const EXACT = 2 ** 21;
const LARGEST_PAGE = 65_536;

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

  /** Where byte `offset` of a piece is. */
  address(piece: number, offset: number): number | bigint {
    return address(this.#lows[piece]!, this.#highs[piece]!, offset);
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
    const whole = this.#bus.dmaRead(address(low, high, offset), into);
    this.#activity.list(false);
    return whole;
  }

  /** The driver made a mistake in a pointer, which is reported. Returns `status`. */
  refuse(status: number, low: number, high: number, reason: string): number {
    this.#bus.report(address(low, high, 0), 0, 'read', reason);
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

function address(low: number, high: number, offset: number): number | bigint {
  if (high < EXACT) return high * 2 ** 32 + low + offset;
  return (BigInt(high) << 32n) + BigInt(low) + BigInt(offset);
}
