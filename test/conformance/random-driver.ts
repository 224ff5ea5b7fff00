/**
 * A driver that does at random what drivers do, and knows at every moment what CPU and device must find. It keeps to
 * the rules of ownership: what is lent is the device's until it is taken back, and what shares a cache line with it is
 * nobody's. Where the world leaves a choice, the device is asked; every byte it then shows is compared.
 */
import { DMA_ATTR, type DmaDevice, type DmaDirection, dmaBitMask, type SgMapping } from '../../lib/index.ts';
import { assert } from '../harness.ts';
import { DIRECTIONS, foreignPages, PAGE, pattern, reads, refused, sameBytes, writes } from './bytes.ts';
import { hex, RandomMemory } from './random-memory.ts';
import { placesOf, placesOfPieces, rangeOf, sliceOf, spotOf } from './random-ranges.ts';
import { Ways } from './random-ways.ts';
import { type Handle, Lease, type Slice, type Unit } from './reference.ts';
import { COPYBREAK, type OpenDevice, type OpenWorld, type World } from './worlds.ts';

const MOST_LEASES = 16;
/** Mappings of the same bytes: dma-debug has something to say about more than seven. */
const MOST_SHARERS = 4;
/** Finished mappings that misuse is tried on: far fewer than handles are recycled after. */
const REMEMBERED = 8;

export class RandomDriver {
  /** What was done, for the message of a failure. */
  readonly trace: string[] = [];

  readonly memory: RandomMemory;

  readonly #world: World;
  readonly #open: OpenWorld;
  /** The device that has all the memory, and a second one where the world has two. */
  readonly #devices: readonly OpenDevice[];
  /** Per device. */
  readonly #ways: readonly Ways[];
  readonly #line: number;
  /** Bytes that the device touches at once. */
  readonly #longest: number;
  readonly #leases: Lease[] = [];
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
    // On hardware every 2 KiB take transfers of their own.
    this.#longest = world.simulated ? Number.POSITIVE_INFINITY : 2000;
    this.memory = new RandomMemory(world, open, this.trace, this.#leases, devices);
  }

  /** Give everything back, and find it as it must be and nothing left over. */
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

  /** Nothing was reported so far; what this is reported for is what it does. */
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
    if (!this.#mayLend(unit, offset, size, direction)) return;
    const skips = c % 7 === 0;
    const what = `map ${size} bytes at ${offset} of ${unit.name} ${direction}${skips ? ', skipping syncs' : ''}`;
    // Under a narrow mask there may be no room for so much, and then a limit says so.
    if (size > this.#open.dma.limits.maxMappingSize || !this.#fitsCopied(unit, size)) return;
    this.trace.push(what);
    const attributes = skips ? DMA_ATTR.SKIP_CPU_SYNC : 0;
    const bytes = unit.bytes.subarray(offset, offset + size);
    const mapping = this.#whereRoom(() => this.#open.dma.mapSingle(bytes, direction, attributes));
    if (mapping === undefined) return;
    this.trace[this.trace.length - 1] += ` -> ${mapping.way} at ${hex(mapping.dmaAddress)}`;
    const { dmaAddress: address } = mapping;
    assert.equal(mapping.size, size);
    if (mapping.way !== 'arithmetic')
      this.memory.checkAddress(address, size, this.#open.dma.mask, 'a mapping');
    this.#ways[0]!.check(mapping, unit, offset, direction, this.memory.isTight);
    const part = this.#ways[0]!.partOf(unit, offset, size, mapping.way, address);
    this.#lend(new Lease(0, mapping, [part], [{ address, length: size }], direction, skips));
  }

  /**
   * Maps bytes that are lent already, for the same device or another. The driver keeps to these rules:
   *
   * - The mappings of a group have exactly the same bytes. The later ones leave the syncs of map and unmap to the first.
   * - Several devices write only if all mappings are in place. Of copies, the one that is taken back last would undo
   *   the others.
   * - The CPU writes nothing while several mappings are live, and only one of them is taken back at a time.
   * - A sync for the device that the watch reports is a mistake. The driver makes none while the bytes are shared, and
   *   it does not share bytes after one: the device's writes may still come out of a copy later.
   * - If the device does not see the CPU's caches: where a device writes, the same bytes are copied, or in place, in all
   *   mappings. And only mappings that the device writes to are synced: a sync of another one for the device would
   *   write the CPU's old bytes back, over those that the device wrote.
   */
  mapAgain(a: number, b: number, c: number): void {
    const first = this.#lease(a);
    if (this.#leases.length === MOST_LEASES || first === undefined || first.isList) return;
    const { unit, offset, size } = first.parts[0]!;
    const others = this.#leasesOf(unit);
    const same = others.filter((lease) => isSlice(lease, offset, size));
    if (same.length === MOST_SHARERS || others.some((lease) => lease.cpuTo > 0)) return;
    if (others.some((lease) => !same.includes(lease) && (this.#line > 1 || lease.covers(unit, offset, size))))
      return;
    const device = b % this.#devices.length;
    const { dma } = this.#devices[device]!;
    const ways = this.#ways[device]!;
    const direction = DIRECTIONS[c % 3]!;
    const way = ways.wayOf(unit, offset, size, direction);
    const inPlace =
      way === 'arithmetic' && same.every(({ parts: [part] }) => part!.sharedTo - part!.sharedFrom === size);
    const written = same.some((lease) => writes(lease.direction));
    if (writes(direction) && !inPlace && written) return;
    if (same.some(({ mistaken }) => mistaken)) return;
    if (!this.#world.coherent && (writes(direction) || written) && same.some((lease) => !isLike(lease, way)))
      return;
    if (size > dma.limits.maxMappingSize || !this.#fitsCopied(unit, size, device)) return;
    this.trace.push(
      `map ${size} bytes at ${offset} of ${unit.name} again ${direction}, for device ${device}`,
    );
    const bytes = unit.bytes.subarray(offset, offset + size);
    const map = () => dma.mapSingle(bytes, direction, DMA_ATTR.SKIP_CPU_SYNC);
    const mapping = this.#whereRoom(map, device);
    if (mapping === undefined) return;
    const { dmaAddress: address } = mapping;
    this.trace[this.trace.length - 1] += ` -> ${mapping.way} at ${hex(address)}`;
    if (mapping.way !== 'arithmetic')
      this.memory.checkAddress(address, size, dma.mask, 'a second mapping', device);
    ways.check(mapping, unit, offset, direction, this.memory.isTight);
    const part = ways.partOf(unit, offset, size, mapping.way, address);
    const lease = new Lease(device, mapping, [part], [{ address, length: size }], direction, true);
    if (!this.#world.coherent) this.#syncCopies(lease, same);
    this.#leases.push(lease);
  }

  /**
   * The driver syncs what no other mapping has made the device's already: a copy, and all of it where the others have
   * copies.
   */
  #syncCopies(lease: Lease, others: readonly Lease[]): void {
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
      // Which way a list with foreign memory above the copybreak goes is the scatter-gather tests' to say.
      if (own ? unit.address === undefined : total + size >= COPYBREAK) continue;
      if (!this.#mayLend(unit, offset, size, direction)) continue;
      pieces.push({ unit, offset, size });
      total += size;
    }
    if (pieces.length < 2) return;
    this.trace.push(`map a list ${direction}: ${listed(pieces)}`);
    const views = pieces.map(({ unit, offset, size }) => unit.bytes.subarray(offset, offset + size));
    if (pieces.some(({ unit, size }) => !this.#fitsCopied(unit, size))) return;
    const mapping = this.#whereRoom(() => this.#open.dma.mapSg(views, direction));
    if (mapping === undefined) return;
    this.trace[this.trace.length - 1] += ` -> ${mapping.way}`;
    const runs = mapping.segments.map(({ dmaAddress, length }) => ({ address: dmaAddress, length }));
    assert.equal(mapping.size, total);
    assert.equal(
      runs.reduce((sum, { length }) => sum + length, 0),
      total,
      'bytes of all segments',
    );
    const addresses = placesOfPieces(pieces, runs);
    const parts = pieces.map((piece, i) => this.#ways[0]!.partOfList(mapping, piece, addresses[i]!));
    this.#lend(new Lease(0, wholeList(mapping), parts, runs, direction, false));
  }

  /** Pages in any order: where there is an IOMMU they are one segment, as `mergeBoundary` says, else one each. */
  mapPages(a: number, b: number, c: number): void {
    const { dma } = this.#open;
    const direction = DIRECTIONS[c % 3]!;
    const count = 2 + (a % 3);
    if (this.#leases.length === MOST_LEASES || dma.limits.maxBounceSize < count * PAGE) return;
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
    const runs = mapping.segments.map(({ dmaAddress, length }) => ({ address: dmaAddress, length }));
    assert.equal(dma.limits.mergeBoundary, translated ? PAGE - 1 : 0);
    assert.equal(runs.length, translated ? 1 : count, 'segments');
    const addresses = placesOfPieces(pieces, runs);
    const parts = pieces.map((piece, i) => this.#ways[0]!.partOfList(mapping, piece, addresses[i]!));
    this.#lend(new Lease(0, wholeList(mapping), parts, runs, direction, false));
  }

  /** Whether it need not be copied, or could be if nothing else were. */
  #fitsCopied(unit: Unit, size: number, device = 0): boolean {
    const { limits } = this.#devices[device]!.dma;
    return (unit.address === undefined && size >= COPYBREAK) || size <= limits.maxBounceSize;
  }

  /** What `map` returns; undefined, and nothing has changed, when a narrow mask leaves no room beside what is mapped. */
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
    // Who skips the syncs of an incoherent device does them himself.
    if (lease.skips && !this.#world.coherent) {
      lease.handle.syncForDevice();
      lease.syncedForDevice(0, lease.size);
    }
    this.#leases.push(lease);
  }

  /** Whether a range may be lent: what the device may write is lent once, and in lines of its own. */
  #mayLend(unit: Unit, offset: number, size: number, direction: DmaDirection): boolean {
    const others = this.#leasesOf(unit);
    if (this.#line > 1) return others.length === 0;
    return others.every(
      (other) =>
        (other.direction === 'to-device' && direction === 'to-device' && other.cpuTo === 0) ||
        other.parts.every(
          (part) => part.unit !== unit || part.offset >= offset + size || part.offset + part.size <= offset,
        ),
    );
  }

  syncForCpu(a: number, b: number, c: number): void {
    const lease = this.#lease(a);
    if (lease === undefined || lease.cpuTo > 0 || this.#isInUse(lease)) return;
    if (!this.#world.coherent && this.#isWrittenElsewhere(lease)) return;
    const [from, to] = rangeOf(lease, this.#line, b, c);
    this.trace.push(`sync ${from}-${to} of ${name(lease)} for CPU`);
    if (lease.isList) lease.handle.syncForCpu();
    else lease.handle.syncForCpu(from, to - from);
    lease.syncedForCpu(from, to);
    this.#shareSync(lease, from, to, true);
    lease.cpuFrom = from;
    lease.cpuTo = to;
    this.#checkParts(lease);
  }

  /** Nothing, wherever in a mapping. */
  syncNothing(a: number, b: number): void {
    const lease = this.#lease(a);
    if (lease === undefined || lease.isList) return;
    const at = b % (lease.size + 1);
    this.trace.push(`sync nothing at ${at} of ${name(lease)}`);
    lease.handle.syncForCpu(at, 0);
    lease.handle.syncForDevice(at, 0);
    this.#checkParts(lease);
  }

  /** Of lists, behind an IOMMU; no element here is so long that it must cross one. */
  changeBoundary(a: number): void {
    if (!this.#world.translated) return;
    const boundary = [0x7fff, 0xffff, 0xf_ffff, 0xffff_ffff][a % 4]!;
    this.trace.push(`segment boundary ${boundary}`);
    this.#open.dma.limits.segmentBoundary = boundary;
  }

  /** What was taken back; where bytes are copied, anything else too, which then overwrites what the device wrote. */
  async syncForDevice(a: number, b: number, c: number): Promise<void> {
    const lease = this.#lease(a);
    if (lease === undefined || this.#isInUse(lease)) return;
    if (!this.#world.coherent && lease.cpuTo === 0) return;
    const shared = this.#sharersOf(lease).length > 0;
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
    this.#shareSync(lease, from, to, false);
    lease.cpuFrom = 0;
    lease.cpuTo = 0;
    this.#checkParts(lease);
  }

  /** Memory that is not lent, or was taken back. */
  cpuWrites(a: number, b: number, c: number): void {
    const lease = this.#lease(a);
    if (b % 2 === 0 && lease !== undefined && lease.cpuTo > 0 && !lease.isList) {
      if (!reads(lease.direction)) return;
      const { unit, offset } = lease.parts[0]!;
      if (this.#leasesOf(unit).some((other) => other !== lease)) return;
      this.#cpuWrites(unit, offset + lease.cpuFrom, offset + lease.cpuTo, c);
      return;
    }
    const unit = this.memory.units[a % Math.max(this.memory.units.length, 1)];
    if (unit === undefined || this.#leasesOf(unit).length > 0) return;
    this.#cpuWrites(unit, 0, unit.bytes.length, c);
  }

  #cpuWrites(unit: Unit, low: number, high: number, c: number): void {
    const from = low + ((c * 13) % (high - low));
    const bytes = pattern(1 + ((c * 7) % (high - from)), this.memory.seed++);
    this.trace.push(`CPU writes ${from}-${from + bytes.length} of ${unit.name}`);
    unit.bytes.set(bytes, from);
    unit.cpu.set(bytes, from);
  }

  /** Before the device overwrites what the driver has never looked at, the driver looks. */
  #lookBefore(lease: Lease, from: number, to: number): void {
    const unseen = ({ looked, isList, wrote }: Lease) =>
      (!looked || isList) && wrote.subarray(from, to).includes(1);
    if ([lease, ...this.#sharersOf(lease)].some(unseen)) this.#look(lease);
  }

  /** The CPU has a look at all of it, and gives it back unless it is over. */
  #look(lease: Lease): void {
    const { handle, size } = lease;
    this.trace.push(`look at ${name(lease)}`);
    handle.syncForCpu();
    lease.syncedForCpu(0, size);
    this.#shareSync(lease, 0, size, true);
    handle.syncForDevice();
    lease.syncedForDevice(0, size);
  }

  /** A sync of one mapping is a sync of the others, too, for the bytes that are in place in both. */
  #shareSync(lease: Lease, from: number, to: number, forCpu: boolean): void {
    if (lease.isList) return;
    const [part] = lease.parts;
    for (const other of this.#sharersOf(lease)) {
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

  async deviceWrites(a: number, b: number, c: number): Promise<void> {
    const lease = this.#lease(a);
    if (lease === undefined || lease.cpuTo > 0 || !writes(lease.direction) || this.#isInUse(lease)) return;
    const [from, to] = spotOf(lease, this.#longest, b, c);
    this.#lookBefore(lease, from, to);
    this.trace.push(`device writes ${from}-${to} of ${name(lease)}`);
    const bytes = pattern(to - from, this.memory.seed++);
    for (const [address, start, end] of placesOf(lease.runs, from, to)) {
      await this.#devices[lease.device]!.write(address, bytes.subarray(start - from, end - from));
    }
    lease.written(from, bytes);
    // At one address of a device there may be several mappings of the same bytes.
    for (const other of this.#sharersOf(lease)) {
      const same = other.device === lease.device && other.runs[0]!.address === lease.runs[0]!.address;
      if (same && other.size === lease.size) other.wrote.fill(1, from, to);
    }
    this.#checkParts(lease);
  }

  async deviceReads(a: number, b: number, c: number): Promise<void> {
    const lease = this.#lease(a);
    if (lease === undefined || lease.cpuTo > 0 || !reads(lease.direction) || this.#isInUse(lease)) return;
    const [from, to] = spotOf(lease, this.#longest, b, c);
    this.trace.push(`device reads ${from}-${to} of ${name(lease)}`);
    const bytes = new Uint8Array(to - from);
    for (const [address, start, end] of placesOf(lease.runs, from, to)) {
      bytes.set(await this.#devices[lease.device]!.read(address, end - start), start - from);
    }
    sameBytes(bytes, lease.seen(from, to), 'what the device reads');
  }

  /** The device writes where it was once allowed to. Only an IOMMU stops it; nothing that is alive may change. */
  async deviceStrays(a: number): Promise<void> {
    const at = a % Math.max(this.memory.stale.length, 1);
    const stale = this.memory.stale[at];
    // Once room was short, bounce slots may be anywhere.
    if (
      stale === undefined ||
      !this.#world.translated ||
      this.memory.wasTight ||
      this.memory.isLive(stale.address, PAGE)
    )
      return;
    const { address, backedSlots } = stale;
    // A bounce buffer may have grown there.
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
    if (lease.cpuTo > 0) {
      // Given back first, as it must be before the device's bytes come out.
      lease.handle.syncForDevice(...(lease.isList ? [] : [lease.cpuFrom, lease.cpuTo - lease.cpuFrom]));
      lease.syncedForDevice(lease.cpuFrom, lease.cpuTo);
    }
    if (lease.skips && !this.#world.coherent && writes(lease.direction)) this.#look(lease);
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

  /** What drivers do wrong is refused, and changes nothing. */
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
      // Bounced elements before the bad one are taken back, which the counters of bytes show.
      // Under a narrow mask there may be no room for those.
      const code = this.memory.isTight ? /^(EINVAL|ENOMEM)$/ : 'EINVAL';
      assert.throws(() => dma.mapSg(views, 'from-device'), { code });
    }
    for (const unit of this.memory.units) this.memory.check(unit);
  }

  #lease(a: number): Lease | undefined {
    return this.#leases[a % Math.max(this.#leases.length, 1)];
  }

  /** Other leases that have bytes in common with this one. */
  #sharersOf(lease: Lease): Lease[] {
    return this.#leases.filter(
      (other) =>
        other !== lease && lease.parts.some(({ unit, offset, size }) => other.covers(unit, offset, size)),
    );
  }

  /** Whether the CPU has some of its bytes through another lease. */
  #isInUse(lease: Lease): boolean {
    return this.#sharersOf(lease).some((other) => other.cpuTo > 0);
  }

  /** Whether a device writes its bytes, but only through another lease. */
  #isWrittenElsewhere(lease: Lease): boolean {
    return !writes(lease.direction) && this.#sharersOf(lease).some(({ direction }) => writes(direction));
  }

  #leasesOf(unit: Unit): Lease[] {
    return this.#leases.filter(({ parts }) => parts.some((part) => part.unit === unit));
  }

  #checkParts({ parts }: Lease): void {
    for (const { unit } of parts) this.memory.check(unit);
  }
}

/** Whether it is a mapping of exactly these bytes. */
function isSlice({ isList, parts }: Lease, offset: number, size: number): boolean {
  return !isList && parts[0]!.offset === offset && parts[0]!.size === size;
}

/** Whether a mapping that goes this way has the same bytes in place; false also where only the addresses would say. */
function isLike({ parts: [part] }: Lease, way: string): boolean {
  const { sharedFrom, sharedTo, size } = part!;
  if (way === 'arithmetic') return sharedTo - sharedFrom === size;
  const copied = sharedFrom === sharedTo;
  return way === 'bounced' ? copied : !copied && sharedTo - sharedFrom < size;
}

/** Whether there are addresses for so many pages. */
function hasRoom(dma: DmaDevice, pages: number): boolean {
  const range = dma.reserveIova(pages * PAGE);
  range?.free();
  return range !== null;
}

/** A list is synced whole, whatever is asked. */
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
