/**
 * Judges each access of a simulated device before any byte moves: may the device do this?
 *
 *      every byte    inside a mapping or allocation that allows it       fine
 *                    inside one that does not allow it                   owner, direction, not synced
 *                    beside one, or where one has been                   outside, after its release
 *                    nowhere                                             unowned; the report names the nearest
 *
 * A byte may be in several of them, for example in noncoherent memory and in a mapping of it. It is enough if one of
 * them allows the access.
 */

import type { DeviceAccess } from '../iommu/device-access.ts';
import { FAULT } from '../iommu/fault.ts';
import { AddressIndex, distanceTo } from './address-index.ts';
import { ByteRanges } from './byte-ranges.ts';
import {
  afterRelease,
  type Complaint,
  outside,
  type Reachable,
  refusal,
  refused,
  unownedKind,
  unused,
  withoutMaster,
} from './complaints.ts';
import type { DmaDebug } from './debug.ts';
import { neededFor } from './entry.ts';
import { LentBytes } from './lent-bytes.ts';
import { isNew, Once } from './once.ts';
import type { WatchedMemory } from './watch.ts';
import { bytes, did, hex, thing } from './wording.ts';

/** The other devices in the domain. One without dma-debug is undefined: only the IOMMU knows its mappings. */
export type Neighbours = () => Iterable<Pick<AccessJudge, 'allows'> | undefined>;

/** Beside a mapping means: in the same piece of this many bytes, the smallest page of an IOMMU. */
const NEIGHBOURHOOD = 4096;

/** Judges each access of a simulated device by the memory that the driver has mapped or allocated for it. */
export class AccessJudge {
  /** The memory that the device can reach. */
  readonly reachable = new AddressIndex<Reachable>();

  readonly #debug: DmaDebug;
  readonly #memory: WatchedMemory;
  readonly #neighbours: Neighbours;
  readonly #once = new Once();
  /** True if an access with bus mastering off was reported. */
  #masterless = false;

  constructor(debug: DmaDebug, memory: WatchedMemory, neighbours: Neighbours) {
    this.#debug = debug;
    this.#memory = memory;
    this.#neighbours = neighbours;
  }

  /** @param touched the entries of `reachable` in the range of the access */
  judge(access: DeviceAccess, touched: readonly Reachable[]): void {
    if (access.fault?.reason === FAULT.noMaster) {
      this.#complainOfMaster(access);
      return;
    }
    const start = Number(access.address);
    const end = start + access.size;
    if (end > Number.MAX_SAFE_INTEGER) {
      this.#complain(access, this.#unowned(access, start, end));
      return;
    }
    // The usual case: one mapping or allocation holds all bytes, and allows the access.
    if (access.fault === undefined && touched.some((one) => allowsAll(one, start, end, access))) return;
    const allowed = new ByteRanges();
    const known = new ByteRanges();
    const complaints: Complaint[] = [];
    for (const one of this.#touched(start, end)) {
      const from = Math.max(start, one.address);
      const to = Math.min(end, one.address + one.size);
      known.add(from, to);
      const complaint = refusal(one, from, to, access);
      if (complaint === undefined) addAllowed(allowed, access, from, to);
      else complaints.push(complaint);
    }
    known.eachGap(start, end, (from, to) => {
      if (!this.#isNeighbours(access, from, to)) complaints.push(this.#unknown(access, from, to));
    });
    let quiet = true;
    for (const complaint of complaints) {
      if (coveredBy(allowed, complaint)) continue;
      quiet = false;
      this.#complain(access, complaint);
    }
    // The IOMMU refused an access that the driver allows.
    if (quiet && access.fault !== undefined) this.#complain(access, refused(access, this.#at(start)));
  }

  /** True if the driver gave all of [from, to) to this device, and the device may do this access there. */
  allows(access: DeviceAccess, from: number, to: number): boolean {
    const allowed = new ByteRanges();
    for (const one of this.#touched(from, to)) {
      const start = Math.max(from, one.address);
      const end = Math.min(to, one.address + one.size);
      if (refusal(one, start, end, access) === undefined) allowed.add(start, end);
    }
    return coveredBy(allowed, { start: from, end: to });
  }

  /** An address that another device of the domain got is valid for this one, too. */
  #isNeighbours(access: DeviceAccess, from: number, to: number): boolean {
    for (const neighbour of this.#neighbours()) {
      const allowed =
        neighbour === undefined ? access.fault === undefined : neighbour.allows(access, from, to);
      if (allowed) return true;
    }
    return false;
  }

  /** Mappings and allocations in [start, end), with the allocated blocks of pools. */
  #touched(start: number, end: number): Reachable[] {
    const found = this.reachable.touching(start, end - start);
    for (let at = start; at < end; ) {
      const block = this.#debug.blockAt(this.#memory.own, at);
      if (block?.live) found.push(block);
      at = block === undefined ? nextNeighbourhood(at) : block.address + block.size;
    }
    return found;
  }

  #at(address: number): Reachable | undefined {
    return this.reachable.touching(address, 1)[0];
  }

  /** The complaint about bytes [from, to), which no device of the domain may reach. */
  #unknown(access: DeviceAccess, from: number, to: number): Complaint {
    const start = Number(access.address);
    const [before] = from > start ? this.#touched(from - 1, from) : [];
    if (before !== undefined) return outside(access, before, from, to);
    const block = this.#debug.blockAt(this.#memory.own, from);
    if (block !== undefined && block.death === undefined) return unused(access, block, from, to);
    const released = block ?? this.#debug.ledger.findReleased(from);
    if (released !== undefined) return afterRelease(access, released, from, to);
    const neighbour = this.#neighbour(from, to);
    if (neighbour !== undefined) return outside(access, neighbour, from, to);
    return this.#unowned(access, from, to);
  }

  #neighbour(from: number, to: number): Reachable | undefined {
    const first = Math.floor(from / NEIGHBOURHOOD) * NEIGHBOURHOOD;
    const last = nextNeighbourhood(to - 1);
    return this.reachable
      .touching(first, last - first)
      .sort((a, b) => distanceTo(a, from) - distanceTo(b, from))[0];
  }

  #unowned(access: DeviceAccess, start: number, end: number): Complaint {
    const slot = this.#memory.bounce.holds(start);
    const where = slot ? 'in a bounce slot without a mapping' : 'that it was never given';
    const entry = this.reachable.nearest(start);
    return {
      kind: unownedKind(access),
      start,
      end,
      one: undefined,
      message: `${did(access)} ${bytes(end - start)} at ${hex(start)} ${where}; ${this.#hint(start, entry)}`,
    };
  }

  #hint(address: number, nearest: Reachable | undefined): string {
    const cut = this.#sameLowBits(address);
    if (cut !== undefined) {
      return `${thing(cut)} has these low 32 bits: tell the device all of an address (dmaAddress, or low and high)`;
    }
    if (nearest === undefined)
      return 'it has been given nothing: map or allocate first, and tell it dmaAddress';
    return `tell it the address of a mapping; the nearest is ${thing(nearest)}, ${bytes(distanceTo(nearest, address))} away`;
  }

  /** The memory whose address has these low 32 bits: the driver may have dropped the high ones. */
  #sameLowBits(address: number): Reachable | undefined {
    for (const one of this.reachable.all) {
      if (one.address >= 2 ** 32 && address >>> 0 >= one.address >>> 0) {
        if ((address >>> 0) - (one.address >>> 0) < one.size) return one;
      }
    }
    return undefined;
  }

  /**
   * With bus mastering off every access fails, and interrupts, too. An access outside all mappings is reported only
   * once.
   */
  #complainOfMaster(access: DeviceAccess): void {
    const one = this.#at(Number(access.address));
    if (one === undefined && this.#masterless) return;
    this.#masterless = true;
    this.#complain(access, withoutMaster(access, one));
  }

  #complain({ fault, about }: DeviceAccess, { kind, start, end, one, message }: Complaint): void {
    const lent = one instanceof LentBytes;
    const first = lent
      ? isNew(one.told, kind)
      : this.#once.first(kind, one, Math.floor(start / NEIGHBOURHOOD));
    if (!first) return;
    const doing = about();
    this.#debug.report({
      kind,
      message: `${this.#debug.name}: ${message}${doing === undefined ? '' : ` (${doing})`}`,
      entry: lent ? one.entry : one,
      address: start,
      size: end - start,
      fault,
    });
  }
}

/** Adds the bytes that the device may use. If the device reads whole beats, it adds the rest of their beats, too. */
function addAllowed(
  allowed: ByteRanges,
  { access, readGranule }: DeviceAccess,
  from: number,
  to: number,
): void {
  const granule = access === 'read' ? readGranule : 1;
  allowed.add(from - (from % granule), to + ((granule - (to % granule)) % granule));
}

/** True if `one` holds all of [from, to) on the bus, and allows the access there. */
function allowsAll(one: Reachable, from: number, to: number, access: DeviceAccess): boolean {
  const { address } = one;
  if (from < address || to > address + one.size) return false;
  if (!(one instanceof LentBytes)) return refusal(one, from, to, access) === undefined;
  return (one.bits & neededFor(access)) !== 0 && !one.cpu.meets(from - address, to - address);
}

function coveredBy(ranges: ByteRanges, { start, end }: Pick<Complaint, 'start' | 'end'>): boolean {
  let covered = true;
  ranges.eachGap(start, end, () => {
    covered = false;
  });
  return covered;
}

function nextNeighbourhood(address: number): number {
  return (Math.floor(address / NEIGHBOURHOOD) + 1) * NEIGHBOURHOOD;
}
