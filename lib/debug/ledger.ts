/**
 * The live mappings and allocations of a device (the hash of kernel/dma/debug.c), and those that ended lately. The
 * entry of a mapping is its record, which is reused later. So the ledger allocates nothing for a mapping.
 *
 *      live     mappings in the tables of lib/dma, allocations here
 *      graves   the newest ones that ended, until their records are reused
 *      makers   sites by type, direction and size, for entries whose own site was not kept
 */
import type { Held } from '../dma/buffers/allocations.ts';
import type { PoolBlock } from '../dma/pool/block.ts';
import { distanceTo } from './address-index.ts';
import { type Entry, HeldEntry, type Place } from './entry.ts';
import { Makers } from './makers.ts';
import type { DebugRecord, DebugSgRecord } from './records.ts';
import { captureSite, Sampler, type Site, type Stacks } from './sites.ts';

/**
 * The number of entries at first, and the number that is added each time they are used up
 * (PREALLOC_DMA_DEBUG_ENTRIES).
 */
const ENTRIES = 65_536;
/** The number of entries whose sites are kept; after them, the site of every n-th entry is kept. */
const FIRST_SITES = 4096;
const SITE_INTERVAL = 1024;
/**
 * The number of ended entries to remember. It must not exceed the number of records that wait for reuse. A power of
 * two.
 */
const GRAVES = 1024;

export interface LedgerOptions {
  /** The most entries at one time. Default: no limit but memory. */
  readonly entries?: number | undefined;
  /** Default 'sampled'. */
  readonly stacks?: Stacks | undefined;
  /** Called once, when no entry is left. */
  readonly onExhausted: () => void;
}

/** All entries of one device: the driver's live mappings and allocations, and those that it released lately. */
export class Ledger {
  used = 0;
  peak = 0;
  limit: number;
  /** No entry is left: nothing is tracked any more. */
  disabled = false;
  readonly makers = new Makers();

  private readonly fixed: boolean;
  private readonly onExhausted: () => void;
  private readonly sampler: Sampler;
  private readonly tables: Iterable<DebugRecord | DebugSgRecord>[] = [];
  private readonly held = new Map<unknown, HeldEntry>();
  private readonly graves: (Entry | undefined)[] = new Array(GRAVES).fill(undefined);
  private buried = 0;
  private serial = 0;

  constructor({ entries, stacks, onExhausted }: LedgerOptions) {
    this.fixed = entries !== undefined;
    this.limit = entries ?? ENTRIES;
    this.onExhausted = onExhausted;
    this.sampler = Sampler.for(stacks, FIRST_SITES, SITE_INTERVAL);
  }

  /** Adds a table of live mappings, which the ledger searches. */
  addTable(table: Iterable<DebugRecord | DebugSgRecord>): void {
    this.tables.push(table);
  }

  /** A mapping was made. */
  enter(record: DebugRecord | DebugSgRecord): void {
    if (this.disabled) return;
    record.entered = true;
    record.serial = ++this.serial;
    if (this.sampler.next()) this.markBirth(record);
    else record.birth = undefined;
    record.death = undefined;
    if (++this.used > this.peak) this.raisePeak();
  }

  /** A mapping is about to end. */
  leave(record: DebugRecord | DebugSgRecord): void {
    record.entered = false;
    record.serial = ++this.serial;
    this.used--;
    if (record.birth !== undefined) record.death = captureSite();
    this.graves[this.buried++ & (GRAVES - 1)] = record;
  }

  /** Something was allocated. */
  hold(handle: Held | PoolBlock, place: Place): HeldEntry | undefined {
    if (this.disabled) return undefined;
    const birth = this.sampler.next() ? captureSite() : undefined;
    const entry = new HeldEntry(handle, place, birth, ++this.serial);
    if (birth !== undefined) this.makers.note(entry, birth);
    this.held.set(handle, entry);
    if (++this.used > this.peak) this.raisePeak();
    return entry;
  }

  /** The allocation is about to be freed. */
  drop(handle: Held | PoolBlock): HeldEntry | undefined {
    const entry = this.held.get(handle);
    if (entry === undefined) return undefined;
    this.held.delete(handle);
    this.used--;
    entry.live = false;
    entry.serial = ++this.serial;
    if (entry.birth !== undefined) entry.death = captureSite();
    this.graves[this.buried++ & (GRAVES - 1)] = entry;
    return entry;
  }

  /** The entry of a live allocation, or of one that was freed lately. */
  heldBy(handle: unknown): HeldEntry | undefined {
    const entry = this.held.get(handle);
    if (entry !== undefined) return entry;
    return this.graves.find(
      (grave): grave is HeldEntry => grave instanceof HeldEntry && grave.handle === handle,
    );
  }

  /**
   * The live entry that holds this device address. A mapping comes before an allocation, and the newest comes first.
   */
  find(address: number): Entry | undefined {
    let found: Entry | undefined;
    for (const entry of this) {
      if (!holds(entry, address)) continue;
      if (found === undefined || entry.way !== undefined || found.way === undefined) found = entry;
    }
    return found;
  }

  /** As `find`, among the ended entries, for a byte in [address, address + size). The newest comes first. */
  findReleased(address: number, size = 1): Entry | undefined {
    let found: Entry | undefined;
    for (const entry of this.graves) {
      if (entry === undefined || entry.live || !holds(entry, address, size)) continue;
      if (found === undefined || entry.serial > found.serial) found = entry;
    }
    return found;
  }

  /** The live entry that is closest to this device address. */
  nearest(address: number): Entry | undefined {
    let found: Entry | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const entry of this) {
      // A pool has no address of its own, but its blocks have.
      if (entry.size === 0) continue;
      const distance = distanceTo(entry, address);
      if (distance >= least) continue;
      found = entry;
      least = distance;
    }
    return found;
  }

  /** The live entries, oldest first. */
  [Symbol.iterator](): Iterator<Entry> {
    if (this.disabled) return [][Symbol.iterator]();
    const live: Entry[] = [...this.held.values()];
    for (const table of this.tables) for (const record of table) if (record.entered) live.push(record);
    return live.sort((a, b) => a.serial - b.serial)[Symbol.iterator]();
  }

  private markBirth(record: DebugRecord | DebugSgRecord): void {
    const site: Site = captureSite();
    record.birth = site;
    this.makers.note(record, site);
  }

  /** The number of entries has reached a new maximum. */
  private raisePeak(): void {
    this.peak = this.used;
    if (this.used <= this.limit) return;
    if (!this.fixed) {
      this.limit += ENTRIES;
      return;
    }
    this.disabled = true;
    this.used = this.peak = this.limit;
    this.held.clear();
    this.graves.fill(undefined);
    this.onExhausted();
  }
}

/** True if the entry has a byte in [address, address + length). */
export function holds(entry: Entry, address: number, length = 1): boolean {
  const { segments } = entry as Partial<DebugSgRecord>;
  const end = address + length;
  if (segments === undefined) return end > entry.address && address < entry.address + entry.size;
  for (let i = 0; i < segments.count; i++) {
    const start = segments.addresses[i]!;
    if (end > start && address < start + segments.lengths[i]!) return true;
  }
  return false;
}
