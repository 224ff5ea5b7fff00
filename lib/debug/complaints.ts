/**
 * Complaints about the accesses of a simulated device, in the words of a report. `refusal` decides if a mapping or an
 * allocation forbids an access to its bytes. access.ts decides the rest, and chooses the complaint.
 */

import type { ReportKind } from '../dma/debug-view.ts';
import { IovaState } from '../dma/iova/state.ts';
import type { DeviceAccess } from '../iommu/device-access.ts';
import { type Entry, HeldEntry, neededFor } from './entry.ts';
import { LentBytes } from './lent-bytes.ts';
import { bytes, did, hex, lost, place, thing } from './wording.ts';

/**
 * Memory that a device can reach: bytes whose owner changes by syncs, or memory that CPU and device may use at any
 * time.
 */
export type Reachable = LentBytes | HeldEntry;

/** Bytes [start, end) of the bus that the device should have left alone. */
export interface Complaint {
  readonly kind: ReportKind;
  readonly start: number;
  readonly end: number;
  /** The mapping or allocation concerned. */
  readonly one: Reachable | Entry | undefined;
  readonly message: string;
}

/** The kind of report about bytes that the driver did not give to the device. */
export function unownedKind({ access }: DeviceAccess): ReportKind {
  return access === 'read' ? 'device-read-unowned' : 'device-wrote-unowned';
}

/** Why `one` forbids the access to its part [from, to) on the bus; undefined if it allows the access. */
export function refusal(
  one: Reachable,
  from: number,
  to: number,
  access: DeviceAccess,
): Complaint | undefined {
  if (one instanceof LentBytes) return lentRefusal(one, from, to, access);
  const state = one instanceof HeldEntry ? one.handle : undefined;
  return state instanceof IovaState ? linkRefusal(one, state, from, to, access) : undefined;
}

function lentRefusal(lent: LentBytes, from: number, to: number, access: DeviceAccess): Complaint | undefined {
  const { address, bits } = lent;
  const reads = access.access === 'read';
  if ((bits & neededFor(access)) === 0) return wrongDirection(access, lent, from, to);
  const mine = lent.cpu.firstIn(from - address, to - address);
  if (mine === undefined) return undefined;
  const start = address + mine.start;
  const end = address + mine.end;
  const changed = reads ? lent.changed(mine.start, mine.end) : undefined;
  if (changed !== undefined) {
    const what = `${bytes(changed.count)} that the CPU wrote from offset ${changed.start} on`;
    const message = `${did(access)} ${place(lent, start, end)} without ${what}: it may meet what was there before; syncForDevice after writing`;
    return { kind: 'not-synced-for-device', start, end, one: lent, message };
  }
  const kind = unownedKind(access);
  const message = `${did(access)} ${place(lent, start, end)}, which ${end - start > 1 ? 'are' : 'is'} the CPU's; syncForDevice before the device starts`;
  return { kind, start, end, one: lent, message };
}

function linkRefusal(
  entry: HeldEntry,
  state: IovaState,
  from: number,
  to: number,
  access: DeviceAccess,
): Complaint | undefined {
  const needed = neededFor(access);
  for (let at = from; at < to; ) {
    const link = state.linkAt(at - entry.address);
    const complaint = { start: at, end: to, one: entry };
    if (link === undefined) {
      const kind = unownedKind(access);
      const message = `${did(access)} ${place(entry, at, to)} where nothing is linked; link memory before the device starts`;
      return { ...complaint, kind, message };
    }
    if (!link.synced) {
      const message = `${did(access)} ${place(entry, at, to)} that ${link.size > 1 ? 'were' : 'was'} linked and not synced; call sync() after link()`;
      return { ...complaint, kind: 'iova-not-synced', message };
    }
    if ((link.bits & needed) === 0) return wrongDirection(access, entry, at, to);
    at = entry.address + link.offset + link.size;
  }
  return undefined;
}

function wrongDirection(access: DeviceAccess, one: Reachable | Entry, start: number, end: number): Complaint {
  const reads = access.access === 'read';
  const remedy = `map it '${reads ? 'to-device' : 'from-device'}' or 'bidirectional'`;
  const message = `${did(access)} ${place(one, start, end)}, which it may only ${reads ? 'write' : 'read'}; ${remedy}`;
  return { kind: 'device-wrong-direction', start, end, one, message };
}

export function outside(access: DeviceAccess, one: Reachable, start: number, end: number): Complaint {
  const before = start < one.address;
  const gap = before ? one.address - start : start - (one.address + one.size);
  const where = before
    ? `${bytes(gap)} before`
    : gap === 0
      ? 'past the end of'
      : `${bytes(gap)} past the end of`;
  const message = `${did(access)} ${bytes(end - start)} at ${hex(start)}, ${where} ${thing(one)}; tell it the length that was mapped, or map all of it`;
  return { kind: 'device-outside-mapping', start, end, one, message };
}

/** The complaint about a free block that the pool never allocated. */
export function unused(access: DeviceAccess, one: Entry, start: number, end: number): Complaint {
  const kind = unownedKind(access);
  const message = `${did(access)} ${place(one, start, end)} that is free; alloc() it before the device starts`;
  return { kind, start, end, one, message };
}

export function afterRelease(access: DeviceAccess, one: Entry, start: number, end: number): Complaint {
  const mapping = one.way !== undefined || one.type === 'iova';
  const kind = mapping ? 'device-after-release' : 'freed-while-device-uses';
  const message = `${did(access)} ${place(one, start, end)} after it was ${lost(one)}; keep it until the device is done with it`;
  return { kind, start, end, one, message };
}

export function withoutMaster(access: DeviceAccess, one: Reachable | undefined): Complaint {
  const start = Number(access.address);
  const end = start + access.size;
  const what = one === undefined ? `${bytes(access.size)} at ${hex(start)}` : place(one, start, end);
  const message = `${did(access)} ${what} with bus mastering off, and nothing arrived; call setMaster() before the device starts`;
  return { kind: 'no-bus-master', start, end, one, message };
}

export function refused(access: DeviceAccess, one: Reachable | undefined): Complaint {
  const start = Number(access.fault!.address);
  const end = start + access.fault!.size;
  const what = one === undefined ? `${bytes(end - start)} at ${hex(start)}` : place(one, start, end);
  const message = `${did(access)} ${what}, and the IOMMU refused: ${access.fault!.reason}`;
  return { kind: 'iommu-fault', start, end, one, message };
}
