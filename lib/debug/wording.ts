/** The words of messages about bytes, mappings and allocations. */

import { directionOf } from '../direction.ts';
import type { EntryType } from '../dma/debug-view.ts';
import type { DeviceAccess } from '../iommu/device-access.ts';
import type { Fault } from '../iommu/fault.ts';
import type { Entry } from './entry.ts';
import { LentBytes } from './lent-bytes.ts';

const NAMES: Readonly<Record<EntryType, string>> = {
  coherent: 'a coherent buffer',
  noncoherent: 'a noncoherent buffer',
  noncontiguous: 'a noncontiguous buffer',
  single: 'a mapping',
  'scatter-gather': 'a mapped list',
  resource: 'mapped registers',
  pool: 'a pool',
  'pool-block': 'a pool block',
  iova: 'reserved addresses',
};

/** The verb for the end of each type. */
const ENDS: Readonly<Record<EntryType, string>> = {
  coherent: 'freed',
  noncoherent: 'freed',
  noncontiguous: 'freed',
  single: 'unmapped',
  'scatter-gather': 'unmapped',
  resource: 'unmapped',
  pool: 'destroyed',
  'pool-block': 'freed',
  iova: 'freed',
};

const DID = {
  read: 'the device read',
  write: 'the device wrote',
  unknown: 'the device read or wrote',
} as const;

/** `0x1000` */
export function hex(address: number): string {
  return `0x${address.toString(16)}`;
}

/** `1 byte`, `64 bytes` */
export function bytes(count: number): string {
  return count === 1 ? '1 byte' : `${count} bytes`;
}

/** `the device wrote` */
export function did({ access }: Pick<DeviceAccess | Fault, 'access'>): string {
  return DID[access];
}

/** `a mapping of 64 bytes at 0x1000 (to-device)` */
export function thing(one: Entry | LentBytes): string {
  const { type, way } = one instanceof LentBytes ? one.entry : one;
  const direction = way === undefined ? '' : ` (${directionOf(one.bits)})`;
  const element = one instanceof LentBytes && type === 'scatter-gather' ? 'an element of ' : '';
  return `${element}${NAMES[type]} of ${bytes(one.size)} at ${hex(one.address)}${direction}`;
}

/** `bytes 16 to 31 of a mapping of ...`: [start, end) on the bus */
export function place(one: Entry | LentBytes, start: number, end: number): string {
  const offset = start - one.address;
  const last = offset + end - start - 1;
  const what = offset === last ? `byte ${offset}` : `bytes ${offset} to ${last}`;
  return `${what} of ${thing(one)}`;
}

/** `unmapped` */
export function lost({ type }: Entry): string {
  return ENDS[type];
}
