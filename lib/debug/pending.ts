/** The entries that are live when a device is closed (dma_debug_device_change): one mistake for each call site. */
import type { EntryType } from '../dma/debug-view.ts';
import { DmaPool } from '../dma/pool/pool.ts';
import { type Entry, HeldEntry } from './entry.ts';
import type { Mistake } from './report.ts';
import { describeSite } from './sites.ts';

const WHAT: Readonly<Record<EntryType, [one: string, many: string]>> = {
  coherent: ['coherent buffer', 'coherent buffers'],
  noncoherent: ['noncoherent buffer', 'noncoherent buffers'],
  noncontiguous: ['noncontiguous buffer', 'noncontiguous buffers'],
  single: ['mapping', 'mappings'],
  'scatter-gather': ['mapped list', 'mapped lists'],
  resource: ['mapping of registers', 'mappings of registers'],
  pool: ['pool', 'pools'],
  'pool-block': ['block of a pool', 'blocks of a pool'],
  iova: ['range of reserved addresses', 'ranges of reserved addresses'],
};

const REMEDY = 'free and unmap everything before the device is closed';

/** Entries of one type from one call site. */
interface Group {
  readonly first: Entry;
  count: number;
  bytes: number;
}

export function pendingMistakes(device: string, entries: Iterable<Entry>): Mistake[] {
  const groups = new Map<string, Group>();
  for (const entry of entries) {
    if (isManaged(entry)) continue;
    const key = keyOf(entry);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { first: entry, count: 1, bytes: entry.size });
    else {
      group.count++;
      group.bytes += entry.size;
    }
  }
  return [...groups.values()].map((group) => describe(device, group));
}

/** The key is the stack if it was kept; otherwise the type, size and direction. */
function keyOf({ type, birth, size, bits }: Entry): string {
  return `${type} ${describeSite(birth) ?? `${size} ${bits}`}`;
}

/** True if the device may keep it until it is closed (dmam_*). */
function isManaged(entry: Entry): boolean {
  return entry instanceof HeldEntry && (entry.handle as { readonly managed?: boolean }).managed === true;
}

function describe(device: string, { first, count, bytes }: Group): Mistake {
  const [one, many] = WHAT[first.type];
  const what = count === 1 ? `1 ${one} of ${bytes} bytes` : `${count} ${many}, ${bytes} bytes in all,`;
  const pending = `${(count === 1 && nameOf(first)) || what} still pending when the device is closed`;
  return { kind: 'pending-at-close', message: `${device}: ${pending}; ${REMEDY}`, entry: first };
}

/** A pool is described by its name, because its byte count means nothing. */
function nameOf(entry: Entry): string | undefined {
  if (!(entry instanceof HeldEntry) || !(entry.handle instanceof DmaPool)) return undefined;
  const { name, active, total } = entry.handle.stats();
  return `pool '${name}' with ${active} of ${total} blocks out`;
}
