/**
 * A driver that calls the DMA API at random, and knows at every moment which bytes the CPU and the device must find. It
 * keeps to the rules of ownership: mapped bytes are the device's until they are unmapped or synced for the CPU, and
 * neither side touches bytes that share a cache line with them. Where the library may choose how it maps, the driver
 * looks at the mapping. It compares every byte that the device then sees.
 */
import { DMA_ATTR, type DmaDevice, type DmaDirection, dmaBitMask, type SgMapping } from '../../lib/index.ts';
import { assert } from '../harness.ts';
import { DIRECTIONS, foreignPages, PAGE, pattern, reads, refused, sameBytes, writes } from './bytes.ts';
import { hex, RandomMemory } from './random-memory.ts';
import { placesOf, placesOfPieces, rangeOf, sliceOf, spotOf } from './random-ranges.ts';
import { Sharing, syncCopies } from './random-sharing.ts';
import { Ways } from './random-ways.ts';
import { type Handle, Lease, type Slice, type Unit } from './reference.ts';
import { COPYBREAK, type OpenDevice, type OpenWorld, type World } from './worlds.ts';

const MOST_LEASES = 16;
/** The number of ended mappings that `misuse` uses: far fewer than the library keeps before it recycles a handle. */
const REMEMBERED = 8;

export class RandomDriver {
  /** The operations that were done, for the message of a failure. */
  readonly trace: string[] = [];

  readonly memory: RandomMemory;

  readonly #world: World;
  readonly #open: OpenWorld;
  /** The device that allocates all the memory, and a second one if the world has two. */
  readonly #devices: readonly OpenDevice[];
  /** One for each device. */
  readonly #ways: readonly Ways[];
  readonly #line: number;
  /** The most bytes that the device reads or writes in one operation. */
  readonly #longest: number;
  readonly #leases: Lease[] = [];
  readonly #sharing: Sharing;
  readonly #ended: Lease[] = [];

  /** A driver in a world that was just opened. */
  static async start(world: World, open: OpenWorld): Promise<RandomDriver> {
    const second = await open.openSecond();
    return new RandomDriver(world, open, second.dma === open.dma ? [open] : [open, second]);
  }

  private constructor(world: World, open: OpenWorld, devices: readonly OpenDevice[]) {
    this.#world = world;
    this.#open = open;
    this.#devices = devices;
    this.#ways = devices.map((_, i) => new Ways(world, i === 0 || world.translated));
    this.#line = open.dma.limits.cacheAlignment;
    this.#sharing = new Sharing(this.#leases, world, this.#line);
    // On hardware every 2 KiB take transfers of their own.
    this.#longest = world.simulated ? Number.POSITIVE_INFINITY : 2000;
    this.memory = new RandomMemory(world, open, this.trace, this.#leases, devices);
  }

  /** Unmap and free everything, and check that nothing is left over. */
  finish(): void {
    while (this.#leases.length > 0) this.unmap(0);
    this.memory.finish();
    this.trace.push('finish');
    for (const { dma, faults } of this.#devices) {
      assert.equal(dma.bounceStats.usedSlots, 0, 'bounce slots in use at the end');
      // On hardware the device's driver has one.
      assert.ok(dma.live.length <= (this.#world.simulated ? 0 : 1), 'coherent buffers at the end');
      assert.deepEqual(faults, [], 'faults of the device');
    }
    this.#checkReports();
  }

  /** A driver that keeps to the rules is never reported. */
  #checkReports(): void {
    for (const { dma } of this.#devices) {
      const reports = dma.debug?.reports.map(({ message, mappedAt, mistakeAt }) => [
        message,
        mappedAt,
        mistakeAt,
      ]);
      assert.deepEqual(reports ?? [], [], 'reports');
    }
  }

  /** Make a mistake on purpose. Nothing may have been reported before it, and its own reports are dropped. */
  async #wrongly(action: () => void | Promise<void>): Promise<void> {
    this.#checkReports();
    await action();
    for (const { dma } of this.#devices) dma.debug?.clear();
  }

  map(a: number, b: number, c: number): void {
    if (this.#leases.length === MOST_LEASES) return;
    const unit = this.memory.units[a % Math.max(this.memory.units.length, 1)];
    const direction = DIRECTIONS[c % 3]!;
    if (unit === undefined) return;
    const [offset, size] = sliceOf(unit, this.#line, b, c >> 4);
    if (!this.#sharing.mayMap({ unit, offset, size }, direction)) return;
    const skips = c % 7 === 0;
    const what = `map ${size} bytes at ${offset} of ${unit.name} ${direction}${skips ? ', skipping syncs' : ''}`;
    // Under a narrow mask there may be no room for so much, and then a limit says so.
    if (size > this.#open.dma.limits.maxMappingSize || !this.#fitsCopied(unit, size)) return;
    this.trace.push(what);
    const lease = this.#mapSlice(0, { unit, offset, size }, direction, skips);
    if (lease !== undefined) this.#lend(lease);
  }

  /** Map bytes once more that are mapped already, for the same device or another (random-sharing.ts). */
  mapAgain(a: number, b: number, c: number): void {
    const first = this.#lease(a);
    if (this.#leases.length === MOST_LEASES || first === undefined || first.isList) return;
    const slice = first.parts[0]!;
    const { unit, offset, size } = slice;
    const device = b % this.#devices.length;
    const direction = DIRECTIONS[c % 3]!;
    const way = this.#ways[device]!.wayOf(unit, offset, size, direction);
    const others = this.#sharing.groupFor(first, direction, way);
    if (others === undefined) return;
    const { limits } = this.#devices[device]!.dma;
    if (size > limits.maxMappingSize || !this.#fitsCopied(unit, size, device)) return;
    this.trace.push(
      `map ${size} bytes at ${offset} of ${unit.name} again ${direction}, for device ${device}`,
    );
    const lease = this.#mapSlice(device, slice, direction, true);
    if (lease === undefined) return;
    if (!this.#world.coherent) syncCopies(lease, others);
    this.#leases.push(lease);
  }

  /** Map bytes for a device, and check how they are mapped. The result is undefined if there is no room. */
  #mapSlice(
    device: number,
    { unit, offset, size }: Slice,
    direction: DmaDirection,
    skips: boolean,
  ): Lease | undefined {
    const { dma } = this.#devices[device]!;
    const ways = this.#ways[device]!;
    const bytes = unit.bytes.subarray(offset, offset + size);
    const attributes = skips ? DMA_ATTR.SKIP_CPU_SYNC : 0;
    const mapping = this.#whereRoom(() => dma.mapSingle(bytes, direction, attributes), device);
    if (mapping === undefined) return undefined;
    const { dmaAddress: address, way } = mapping;
    this.trace[this.trace.length - 1] += ` -> ${way} at ${hex(address)}`;
    assert.equal(mapping.size, size);
    if (way !== 'arithmetic') this.memory.checkAddress(address, size, dma.mask, 'a mapping', device);
    ways.check(mapping, unit, offset, direction, this.memory.isTight);
    const part = ways.partOf(unit, offset, size, way, address);
    return new Lease(device, mapping, [part], [{ address, length: size }], direction, skips);
  }

  mapList(a: number, b: number, c: number): void {
    if (this.#leases.length === MOST_LEASES) return;
    const direction = DIRECTIONS[c % 3]!;
    const own = c % 2 === 0;
    const pieces: Slice[] = [];
    let total = 0;
    for (let i = 0; i < this.memory.units.length && pieces.length < 2 + (b % 5); i++) {
      const unit = this.memory.units[(a + i) % this.memory.units.length]!;
      const [offset, size] =
        this.#line > 1 ? [0, unit.bytes.length] : sliceOf(unit, this.#line, b + i, c >> 4);
      // The tests of scatter-gather check how a list with more foreign memory than the copybreak is mapped.
      if (own ? unit.address === undefined : total + size >= COPYBREAK) continue;
      const piece = { unit, offset, size };
      if (!this.#sharing.mayMap(piece, direction)) continue;
      pieces.push(piece);
      total += size;
    }
    if (pieces.length < 2) return;
    this.trace.push(`map a list ${direction}: ${listed(pieces)}`);
    const views = pieces.map(({ unit, offset, size }) => unit.bytes.subarray(offset, offset + size));
    if (pieces.some(({ unit, size }) => !this.#fitsCopied(unit, size))) return;
    const mapping = this.#whereRoom(() => this.#open.dma.mapSg(views, direction));
    if (mapping === undefined) return;
    this.trace[this.trace.length - 1] += ` -> ${mapping.way}`;
    assert.equal(mapping.size, total);
    assert.equal(
      mapping.segments.reduce((sum, { length }) => sum + length, 0),
      total,
      'bytes of all segments',
    );
    this.#lendList(mapping, pieces);
  }

  /** Map pages in any order. Behind an IOMMU they are one segment, as `mergeBoundary` says. Otherwise each is one. */
  mapPages(a: number, b: number, c: number): void {
    const { dma } = this.#open;
    const direction = DIRECTIONS[c % 3]!;
    const count = 2 + (a % 3);
    const { maxBounceSize, segmentBoundary, maxSegmentSize } = dma.limits;
    const most = Math.min(maxBounceSize, segmentBoundary + 1, maxSegmentSize);
    if (this.#leases.length === MOST_LEASES || most < 4 * PAGE) return;
    const { translated } = this.#world;
    if (translated && this.memory.isTight && !hasRoom(dma, count + 2)) return;
    const bytes = translated ? foreignPages(dma, count) : new Uint8Array(count * PAGE);
    const unit = this.memory.lendPages(bytes);
    const order = Array.from({ length: count }, (_, i) => (i + b) % count);
    const pieces = order.map((page) => ({ unit, offset: page * PAGE, size: PAGE }));
    this.trace.push(`map pages ${order} ${direction}`);
    const views = order.map((page) => bytes.subarray(page * PAGE, (page + 1) * PAGE));
    const mapping = this.#whereRoom(() => dma.mapSg(views, direction));
    if (mapping === undefined) return;
    assert.equal(dma.limits.mergeBoundary, translated ? PAGE - 1 : 0);
    assert.equal(mapping.segments.length, translated ? 1 : count, 'segments');
    this.#lendList(mapping, pieces);
  }

  /** True if memory is not copied, or if the bounce buffer could hold it while it is empty. */
  #fitsCopied(unit: Unit, size: number, device = 0): boolean {
    const { limits } = this.#devices[device]!.dma;
    return (unit.address === undefined && size >= COPYBREAK) || size <= limits.maxBounceSize;
  }

  /**
   * The result of `map`. It is undefined if a narrow mask leaves no room beside the live mappings. Nothing has changed
   * then.
   */
  #whereRoom<T>(map: () => T, device = 0): T | undefined {
    const { dma } = this.#devices[device]!;
    const { usedSlots } = dma.bounceStats;
    try {
      return map();
    } catch (error) {
      if (!this.memory.isTight || (error as { code?: string }).code !== 'ENOMEM') throw error;
      this.trace[this.trace.length - 1] += ' -> no room';
      assert.equal(dma.bounceStats.usedSlots, usedSlots, 'slots of what found no room');
      return undefined;
    }
  }

  #lend(lease: Lease): void {
    // The driver skipped the sync of the map, so it must do that sync itself.
    if (lease.skips && !this.#world.coherent) {
      lease.handle.syncForDevice();
      lease.syncedForDevice(0, lease.size);
    }
    this.#leases.push(lease);
  }

  #lendList(mapping: SgMapping, pieces: readonly Slice[]): void {
    const runs = mapping.segments.map(({ dmaAddress, length }) => ({ address: dmaAddress, length }));
    const addresses = placesOfPieces(pieces, runs);
    const parts = pieces.map((piece, i) => this.#ways[0]!.partOfList(mapping, piece, addresses[i]!));
    this.#lend(new Lease(0, wholeList(mapping), parts, runs, mapping.direction, false));
  }

  syncForCpu(a: number, b: number, c: number): void {
    const lease = this.#lease(a);
    if (lease === undefined || lease.cpuTo > 0 || this.#sharing.isInUse(lease)) return;
    if (!this.#world.coherent && this.#sharing.isWrittenElsewhere(lease)) return;
    const [from, to] = rangeOf(lease, this.#line, b, c);
    this.trace.push(`sync ${from}-${to} of ${name(lease)} for CPU`);
    if (lease.isList) lease.handle.syncForCpu();
    else lease.handle.syncForCpu(from, to - from);
    lease.syncedForCpu(from, to);
    this.#sharing.synced(lease, from, to, true);
    lease.cpuFrom = from;
    lease.cpuTo = to;
    this.#checkParts(lease);
  }

  /** Sync 0 bytes at any offset of a mapping. */
  syncNothing(a: number, b: number): void {
    const lease = this.#lease(a);
    if (lease === undefined || lease.isList) return;
    const at = b % (lease.size + 1);
    this.trace.push(`sync nothing at ${at} of ${name(lease)}`);
    lease.handle.syncForCpu(at, 0);
    lease.handle.syncForDevice(at, 0);
    this.#checkParts(lease);
  }

  /** Change the boundary that no segment of a list crosses. No element here is longer than the least boundary. */
  changeBoundary(a: number): void {
    if (!this.#world.translated) return;
    const boundary = [0x7fff, 0xffff, 0xf_ffff, 0xffff_ffff][a % 4]!;
    this.trace.push(`segment boundary ${boundary}`);
    this.#open.dma.limits.segmentBoundary = boundary;
  }

  /**
   * Sync the bytes for the device that were synced for the CPU. On a coherent device the driver also makes the mistake
   * of syncing other bytes, which overwrites what the device wrote to a copy.
   */
  async syncForDevice(a: number, b: number, c: number): Promise<void> {
    const lease = this.#lease(a);
    if (lease === undefined || this.#sharing.isInUse(lease)) return;
    if (!this.#world.coherent && lease.cpuTo === 0) return;
    const shared = this.#sharing.sharersOf(lease).length > 0;
    if (lease.cpuTo === 0 && writes(lease.direction) && shared) return;
    let [from, to] = rangeOf(lease, this.#line, b, c);
    if (lease.cpuTo > 0) {
      const exactly = !this.#world.coherent || shared || b % 2 === 0;
      [from, to] = exactly ? [lease.cpuFrom, lease.cpuTo] : [0, lease.size];
    }
    this.trace.push(`sync ${from}-${to} of ${name(lease)} for device`);
    const sync = () =>
      lease.isList ? lease.handle.syncForDevice() : lease.handle.syncForDevice(from, to - from);
    if (lease.cpuTo > 0 && to === lease.cpuTo && from === lease.cpuFrom) sync();
    else {
      await this.#wrongly(sync);
      lease.mistaken ||= writes(lease.direction);
    }
    lease.syncedForDevice(from, to);
    this.#sharing.synced(lease, from, to, false);
    lease.cpuFrom = 0;
    lease.cpuTo = 0;
    this.#checkParts(lease);
  }

  /** Sync the bytes for the device that the CPU has through this mapping. */
  #giveBack(lease: Lease): void {
    const { handle, isList, cpuFrom, cpuTo } = lease;
    if (cpuTo === 0) return;
    handle.syncForDevice(...(isList ? [] : [cpuFrom, cpuTo - cpuFrom]));
    lease.syncedForDevice(cpuFrom, cpuTo);
    this.#sharing.synced(lease, cpuFrom, cpuTo, false);
    lease.cpuFrom = 0;
    lease.cpuTo = 0;
  }

  /** The CPU writes to memory that is not mapped, or that was synced for the CPU. */
  cpuWrites(a: number, b: number, c: number): void {
    const lease = this.#lease(a);
    if (b % 2 === 0 && lease !== undefined && lease.cpuTo > 0 && !lease.isList) {
      if (!reads(lease.direction)) return;
      const { unit, offset } = lease.parts[0]!;
      if (this.#sharing.leasesOf(unit).some((other) => other !== lease)) return;
      this.#cpuWrites(unit, offset + lease.cpuFrom, offset + lease.cpuTo, c);
      return;
    }
    const unit = this.memory.units[a % Math.max(this.memory.units.length, 1)];
    if (unit === undefined || this.#sharing.leasesOf(unit).length > 0) return;
    this.#cpuWrites(unit, 0, unit.bytes.length, c);
  }

  #cpuWrites(unit: Unit, low: number, high: number, c: number): void {
    const from = low + ((c * 13) % (high - low));
    const bytes = pattern(1 + ((c * 7) % (high - from)), this.memory.seed++);
    this.trace.push(`CPU writes ${from}-${from + bytes.length} of ${unit.name}`);
    unit.bytes.set(bytes, from);
    unit.cpu.set(bytes, from);
  }

  /** The driver syncs bytes that it has never synced, before the device overwrites them. */
  #lookBefore(lease: Lease, from: number, to: number): void {
    const unseen = ({ looked, isList, wrote }: Lease) =>
      (!looked || isList) && wrote.subarray(from, to).includes(1);
    if ([lease, ...this.#sharing.sharersOf(lease)].some(unseen)) this.#look(lease);
  }

  /** The driver syncs a whole mapping for the CPU, and for the device again. */
  #look(lease: Lease): void {
    const { handle, size } = lease;
    this.trace.push(`look at ${name(lease)}`);
    handle.syncForCpu();
    lease.syncedForCpu(0, size);
    this.#sharing.synced(lease, 0, size, true);
    handle.syncForDevice();
    lease.syncedForDevice(0, size);
  }

  async deviceWrites(a: number, b: number, c: number): Promise<void> {
    const lease = this.#lease(a);
    if (lease === undefined || lease.cpuTo > 0 || !writes(lease.direction) || this.#sharing.isInUse(lease))
      return;
    const [from, to] = spotOf(lease, this.#longest, b, c);
    this.#lookBefore(lease, from, to);
    this.trace.push(`device writes ${from}-${to} of ${name(lease)}`);
    const bytes = pattern(to - from, this.memory.seed++);
    for (const [address, start, end] of placesOf(lease.runs, from, to)) {
      await this.#devices[lease.device]!.write(address, bytes.subarray(start - from, end - from));
    }
    lease.written(from, bytes);
    this.#sharing.written(lease, from, to);
    this.#checkParts(lease);
  }

  async deviceReads(a: number, b: number, c: number): Promise<void> {
    const lease = this.#lease(a);
    if (lease === undefined || lease.cpuTo > 0 || !reads(lease.direction) || this.#sharing.isInUse(lease))
      return;
    const [from, to] = spotOf(lease, this.#longest, b, c);
    this.trace.push(`device reads ${from}-${to} of ${name(lease)}`);
    const bytes = new Uint8Array(to - from);
    for (const [address, start, end] of placesOf(lease.runs, from, to)) {
      bytes.set(await this.#devices[lease.device]!.read(address, end - start), start - from);
    }
    sameBytes(bytes, lease.seen(from, to), 'what the device reads');
  }

  /** The device writes to an address that was freed. Only an IOMMU stops it. No live memory may change. */
  async deviceStrays(a: number): Promise<void> {
    const at = a % Math.max(this.memory.stale.length, 1);
    const stale = this.memory.stale[at];
    // After a narrow mask, bounce slots may be at any address.
    if (
      stale === undefined ||
      !this.#world.translated ||
      this.memory.wasTight ||
      this.memory.isLive(stale.address, PAGE)
    )
      return;
    const { address, backedSlots } = stale;
    // The bounce buffer may have grown to this address.
    if (this.memory.backedSlots !== backedSlots) return;
    this.trace.push(`device writes where it may not, at ${hex(address)}`);
    const faults = this.#open.faults.length;
    await this.#wrongly(() => this.#open.write(address, pattern(64, this.memory.seed++)));
    assert.equal(this.#open.faults.length, faults + 1, 'faults');
    (this.#open.faults as unknown[]).pop();
    for (const unit of this.memory.units) this.memory.check(unit);
  }

  unmap(a: number): void {
    const at = a % Math.max(this.#leases.length, 1);
    const lease = this.#leases[at];
    if (lease === undefined) return;
    this.trace.push(`unmap ${name(lease)}`);
    // The bytes must be synced for the device before unmap copies the device's bytes out.
    this.#giveBack(lease);
    if (lease.skips && !this.#world.coherent && writes(lease.direction)) {
      // A look gives all of the bytes to the device, also those that the CPU has through another mapping.
      for (const sharer of this.#sharing.sharersOf(lease)) this.#giveBack(sharer);
      this.#look(lease);
    }
    lease.handle.unmap();
    lease.unmapped();
    this.#leases.splice(at, 1);
    this.#checkParts(lease);
    this.#ended.push(lease);
    if (this.#ended.length > REMEMBERED) this.#ended.shift();
  }

  changeMasks(a: number, b: number): void {
    if (b % 4 === 0) {
      this.#changeToAnyMask(a);
      return;
    }
    const { streamingBits, coherentBits } = this.#world;
    const streaming = [streamingBits, 27, Math.max(streamingBits, coherentBits)][a % 3]!;
    const coherent = [coherentBits, 27, streamingBits][b % 3]!;
    this.trace.push(`masks of ${streaming} and ${coherent} bits`);
    this.#open.dma.setMask(dmaBitMask(streaming));
    this.#open.dma.setCoherentMask(dmaBitMask(coherent));
    this.#ways[0]!.streamingBits = streaming;
  }

  #changeToAnyMask(a: number): void {
    const { dma } = this.#open;
    const widest = this.#world.simulated ? 64 : this.#world.streamingBits;
    const bits = 13 + (a % (widest - 12));
    const mask = dmaBitMask(bits);
    this.trace.push(`masks of ${bits} bits`);
    if (!dma.supported(mask)) {
      refused(dma, 'EIO', `${bits} bits`, () => dma.setMaskAndCoherent(mask));
      return;
    }
    dma.setMaskAndCoherent(mask);
    this.#ways[0]!.streamingBits = bits;
  }

  /** The library refuses a mistake of the driver, and changes nothing. */
  misuse(a: number, b: number): Promise<void> {
    return this.#wrongly(() => this.#misuse(a, b));
  }

  #misuse(a: number, b: number): void {
    const { dma } = this.#open;
    const ended = this.#ended[b % REMEMBERED];
    const gone = this.memory.gone[b % REMEMBERED];
    const lease = this.#lease(b);
    this.trace.push(`misuse ${a % 6}`);
    if (a % 6 === 0 && ended !== undefined)
      refused(dma, 'EINVAL', 'second unmap', () => ended.handle.unmap());
    if (a % 6 === 1 && ended !== undefined) refused(dma, 'EINVAL', 'sync', () => ended.handle.syncForCpu());
    if (a % 6 === 2 && gone !== undefined && !gone.name.includes('pool')) {
      refused(dma, 'EINVAL', 'second free', () => gone.free!());
    }
    if (a % 6 === 3 && lease !== undefined && !lease.isList) {
      refused(dma, 'EINVAL', 'sync outside', () => lease.handle.syncForCpu(1, lease.size));
    }
    if (a % 6 === 4) refused(dma, 'EINVAL', 'empty', () => dma.mapSingle(new Uint8Array(0), 'to-device'));
    if (a % 6 === 5 && this.memory.units.length > 0) {
      const { bytes } = this.memory.units[b % this.memory.units.length]!;
      const views = [bytes, bytes, new Uint8Array(0)];
      // The library unmaps the bounced elements before the bad one. Under a narrow mask there may be no room for them.
      const code = this.memory.isTight ? /^(EINVAL|ENOMEM)$/ : 'EINVAL';
      assert.throws(() => dma.mapSg(views, 'from-device'), { code });
    }
    for (const unit of this.memory.units) this.memory.check(unit);
  }

  #lease(a: number): Lease | undefined {
    return this.#leases[a % Math.max(this.#leases.length, 1)];
  }

  #checkParts({ parts }: Lease): void {
    for (const { unit } of parts) this.memory.check(unit);
  }
}

/** True if there are addresses for so many pages. */
function hasRoom(dma: DmaDevice, pages: number): boolean {
  const range = dma.reserveIova(pages * PAGE);
  range?.free();
  return range !== null;
}

/** The handle of a list, whose syncs always cover the whole list. */
function wholeList(list: SgMapping): Handle {
  return {
    unmap: (attributes) => list.unmap(attributes),
    syncForCpu: (_offset, _size, direction) => list.syncForCpu(direction),
    syncForDevice: (_offset, _size, direction) => list.syncForDevice(direction),
  };
}

function name({ parts, direction }: Lease): string {
  return `the ${direction} mapping of ${listed(parts)}`;
}

function listed(slices: readonly Slice[]): string {
  return slices.map(({ unit, offset, size }) => `${size} at ${offset} of ${unit.name}`).join('; ');
}
