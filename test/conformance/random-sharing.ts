/**
 * The rules for bytes that several live mappings have in common: when the driver may map them, and what a sync of one
 * mapping does for the others.
 *
 * Mappings that only let the device read share bytes freely. Otherwise the driver keeps to these rules:
 *
 * - The mappings of a group have exactly the same bytes. The later ones leave the syncs of map and unmap to the first.
 * - Several devices write only if all mappings are in place. With copies, the copy that is unmapped last would undo the
 *   others.
 * - The CPU writes nothing while several mappings are live, and only one of them is synced for the CPU at a time.
 * - A sync for the device that the watch reports is a mistake. The driver makes none while the bytes are shared, and it
 *   does not share bytes after one, because the device's writes may still come out of a copy later.
 * - If the device does not see the CPU's caches: where a device writes, the same bytes are copied, or in place, in all
 *   mappings. Only mappings that the device writes to are synced: a sync of another one for the device would write the
 *   CPU's old bytes back, over those that the device wrote.
 */
import type { DmaDirection } from '../../lib/index.ts';
import { writes } from './bytes.ts';
import type { Lease, Slice, Unit } from './reference.ts';
import type { World } from './worlds.ts';

/** The most mappings of the same bytes. dma-debug reports more than seven. */
const MOST_SHARERS = 4;

/** The live mappings of a random driver, looked at for the bytes that they share. */
export class Sharing {
  readonly #leases: readonly Lease[];
  readonly #coherent: boolean;
  readonly #line: number;

  /**
   * @param leases the live mappings; the driver changes the array
   * @param line the size of a cache line that software keeps coherent; 1 on a coherent device
   */
  constructor(leases: readonly Lease[], { coherent }: World, line: number) {
    this.#leases = leases;
    this.#coherent = coherent;
    this.#line = line;
  }

  /** True if bytes may be mapped that the driver does not share on purpose. */
  mayMap({ unit, offset, size }: Slice, direction: DmaDirection): boolean {
    const others = this.leasesOf(unit);
    if (this.#line > 1) return others.length === 0;
    return others.every(
      (other) =>
        (other.direction === 'to-device' && direction === 'to-device' && other.cpuTo === 0) ||
        !other.covers(unit, offset, size),
    );
  }

  /**
   * The live mappings of exactly the bytes of `first`. The result is undefined if the driver may not map the bytes once
   * more.
   * @param way how the new mapping will be made
   */
  groupFor(first: Lease, direction: DmaDirection, way: string): readonly Lease[] | undefined {
    const { unit, offset, size } = first.parts[0]!;
    const others = this.leasesOf(unit);
    const same = others.filter((lease) => isSlice(lease, offset, size));
    if (same.length === MOST_SHARERS || others.some((lease) => lease.cpuTo > 0)) return undefined;
    const besides = others.filter((lease) => !same.includes(lease));
    if (besides.some((lease) => this.#line > 1 || lease.covers(unit, offset, size))) return undefined;
    const inPlace = way === 'arithmetic' && same.every((lease) => isLike(lease, way));
    const written = same.some((lease) => writes(lease.direction));
    if (writes(direction) && !inPlace && written) return undefined;
    if (same.some(({ mistaken }) => mistaken)) return undefined;
    const alike = this.#coherent || same.every((lease) => isLike(lease, way));
    return (writes(direction) || written) && !alike ? undefined : same;
  }

  /** Other live mappings that have bytes in common with this one. */
  sharersOf(lease: Lease): readonly Lease[] {
    return this.#leases.filter(
      (other) =>
        other !== lease && lease.parts.some(({ unit, offset, size }) => other.covers(unit, offset, size)),
    );
  }

  /** True if the CPU has some of the bytes through another mapping. */
  isInUse(lease: Lease): boolean {
    return this.sharersOf(lease).some((other) => other.cpuTo > 0);
  }

  /** True if a device writes the bytes, but only through another mapping. */
  isWrittenElsewhere(lease: Lease): boolean {
    return !writes(lease.direction) && this.sharersOf(lease).some(({ direction }) => writes(direction));
  }

  /** The live mappings that have bytes of this unit. */
  leasesOf(unit: Unit): readonly Lease[] {
    return this.#leases.filter(({ parts }) => parts.some((part) => part.unit === unit));
  }

  /** A mapping was synced. This is a sync of the others, too, for the bytes that are in place in both. */
  synced(lease: Lease, from: number, to: number, forCpu: boolean): void {
    if (lease.isList) return;
    const [part] = lease.parts;
    for (const other of this.sharersOf(lease)) {
      // Mappings that have other bytes are all to-device.
      if (!isSlice(other, part!.offset, part!.size)) continue;
      const [shared] = other.parts;
      const low = Math.max(from, part!.sharedFrom, shared!.sharedFrom);
      const high = Math.min(to, part!.sharedTo, shared!.sharedTo);
      if (low >= high) continue;
      if (forCpu) other.looked ||= other.wrote.includes(1);
      other.wrote.fill(0, low, high);
    }
  }

  /** The device wrote bytes. Other mappings of the same bytes may have the same device address. */
  written(lease: Lease, from: number, to: number): void {
    for (const other of this.sharersOf(lease)) {
      const same = other.device === lease.device && other.runs[0]!.address === lease.runs[0]!.address;
      if (same && other.size === lease.size) other.wrote.fill(1, from, to);
    }
  }
}

/**
 * Sync a mapping for an incoherent device that was made without a sync, as far as no other mapping of its group has
 * done so: its copy, and all of it if the others have copies.
 */
export function syncCopies(lease: Lease, others: readonly Lease[]): void {
  const { handle, size } = lease;
  const { sharedFrom, sharedTo } = lease.parts[0]!;
  const served = others.some(
    ({ parts: [part] }) =>
      part!.sharedFrom <= sharedFrom && part!.sharedTo >= sharedTo && sharedFrom < sharedTo,
  );
  const synced: readonly [number, number][] = served
    ? [
        [0, sharedFrom],
        [sharedTo, size],
      ]
    : [[0, size]];
  for (const [from, to] of synced) {
    handle.syncForDevice(from, to - from);
    lease.syncedForDevice(from, to);
  }
}

/** True for a mapping of exactly these bytes of its unit. */
function isSlice({ isList, parts }: Lease, offset: number, size: number): boolean {
  return !isList && parts[0]!.offset === offset && parts[0]!.size === size;
}

/**
 * True if a mapping that goes this way has the same bytes in place. The result is false also if only the addresses
 * could tell.
 */
function isLike({ parts: [part] }: Lease, way: string): boolean {
  const { sharedFrom, sharedTo, size } = part!;
  if (way === 'arithmetic') return sharedTo - sharedFrom === size;
  const copied = sharedFrom === sharedTo;
  return way === 'bounced' ? copied : !copied && sharedTo - sharedFrom < size;
}
