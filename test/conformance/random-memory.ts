/** The memory of a random driver, which allocates and frees it at random: the library's memory and foreign memory. */
import type { DmaDirection, DmaPool } from '../../lib/index.ts';
import { assert } from '../harness.ts';
import { DIRECTIONS, pattern, sameBytes } from './bytes.ts';
import { sizeFrom } from './random-ranges.ts';
import type { Lease, Unit } from './reference.ts';
import { COPYBREAK, type OpenDevice, type OpenWorld, type World } from './worlds.ts';

const MOST_UNITS = 24;
/** The options of the pools. They do not grow, so that they do not grow to an address that the device strays to. */
const FIXED = { blocks: MOST_UNITS, grow: false };
const SLAB = 64 * 1024;
/** The number of freed units that the driver keeps to misuse them. */
const REMEMBERED = 8;

/** Masks of fewer than 24 bits. */
const TIGHT = 2n ** 23n;

export class RandomMemory {
  readonly units: Unit[] = [];
  /** The units that were freed last. */
  readonly gone: Unit[] = [];
  /** True if a mask ever was so narrow that memory may run out. */
  wasTight = false;
  /** Addresses that were freed, and the size of the bounce buffers at that time. */
  readonly stale: { readonly address: bigint; readonly backedSlots: number }[] = [];
  /** The seed of the next pattern. */
  seed = 0;

  readonly #world: World;
  readonly #open: OpenWorld;
  readonly #trace: string[];
  readonly #lent: readonly Lease[];
  readonly #devices: readonly OpenDevice[];
  readonly #pools: readonly DmaPool[];
  #slab = Buffer.alloc(SLAB);
  #slabUsed = 0;
  #made = 0;

  /** @param lent the live mappings; the driver changes the array @param devices all devices of the driver */
  constructor(
    world: World,
    open: OpenWorld,
    trace: string[],
    lent: readonly Lease[],
    devices: readonly OpenDevice[],
  ) {
    this.#devices = devices;
    this.#world = world;
    this.#open = open;
    this.#trace = trace;
    this.#lent = lent;
    this.#pools = [
      open.dma.createPool('small', { ...FIXED, size: 68, align: 4, boundary: 4096 }),
      open.dma.createPool('line', { ...FIXED, size: 256, align: 256 }),
      open.dma.createPool('large', { ...FIXED, size: 5000, align: 8, poison: true }),
    ];
  }

  /** Free everything. Nothing is mapped any more. */
  finish(): void {
    for (const unit of this.units) this.check(unit);
    while (this.units.length > 0) this.release(0);
    for (const pool of this.#pools) assert.equal(pool.stats().active, 0, 'pool blocks out at the end');
    for (const pool of this.#pools) pool.destroy();
  }

  /** Checks that the CPU finds the right bytes. */
  check({ bytes, cpu, name: what }: Unit): void {
    sameBytes(bytes, cpu, what);
  }

  /** True if a mask is so narrow that memory may run out. */
  get isTight(): boolean {
    const { dma } = this.#open;
    const tight = dma.mask < TIGHT || dma.coherentMask < TIGHT;
    this.wasTight ||= tight;
    return tight;
  }

  allocate(a: number, b: number): void {
    try {
      this.#allocate(a, b);
    } catch (error) {
      if (!this.isTight || (error as { code?: string }).code !== 'ENOMEM') throw error;
    }
  }

  #allocate(a: number, b: number): void {
    if (this.units.length === MOST_UNITS) return;
    const size = sizeFrom(b);
    const kind = a % 5;
    if (kind < 2) this.#add('coherent', size, this.#open.dma.allocCoherent(size), 'bidirectional', true);
    else if (kind === 2) this.#allocateNoncoherent(a >> 3, size);
    else this.#allocateBlock(this.#pools[(a >> 3) % this.#pools.length]!);
  }

  #allocateNoncoherent(a: number, size: number): void {
    const direction = DIRECTIONS[a % 3]!;
    const buffer = this.#open.dma.allocNoncoherent(size, direction);
    this.#add('noncoherent', size, buffer, direction, this.#world.coherent);
  }

  #allocateBlock(pool: DmaPool): void {
    const block = pool.alloc();
    if (block === null && this.isTight) return;
    assert.ok(block !== null);
    // Its content is undefined.
    block.bytes.set(pattern(pool.size, this.seed++));
    this.#add(`pool ${pool.name}`, pool.size, block, 'bidirectional', true);
  }

  #add(
    kind: string,
    size: number,
    memory: { bytes: Uint8Array; dmaAddress: bigint; free(): void },
    allows: DmaDirection,
    coherent: boolean,
  ): void {
    const { bytes, dmaAddress: address } = memory;
    assert.equal(bytes.length, size, `${kind}: size`);
    const fresh = !kind.startsWith('pool');
    if (fresh) sameBytes(bytes, new Uint8Array(size), `fresh ${kind} memory`);
    // A pool keeps the memory that it had before the mask was narrowed.
    this.checkAddress(address, size, fresh ? this.#open.dma.coherentMask : 2n ** 64n, kind);
    const free = () => memory.free();
    this.#enter({ kind, bytes, address, allows, coherent, free });
  }

  takeForeign(a: number, b: number): void {
    if (this.units.length === MOST_UNITS) return;
    const common = { address: undefined, allows: 'bidirectional', coherent: this.#world.coherent } as const;
    if (a % 4 === 0) {
      const bytes = new Uint8Array(COPYBREAK - 100 + ((b * 37) % 40_000));
      this.#enter({ ...common, kind: 'large', bytes });
    } else if (a % 4 === 1) {
      this.#enter({ ...common, kind: 'own buffer', bytes: new Uint8Array(sizeFrom(b)) });
    } else {
      this.#enter({ ...common, kind: 'slice', bytes: this.#slice(sizeFrom(b), (a >> 4) % 70) });
    }
  }

  /** Foreign memory that is mapped once, and then dropped. */
  lendPages(bytes: Uint8Array): Unit {
    bytes.set(pattern(bytes.length, this.seed++));
    const name = `#${this.#made++} (pages, ${bytes.length} bytes)`;
    const { coherent } = this.#world;
    return {
      name,
      bytes,
      cpu: Uint8Array.from(bytes),
      memory: Uint8Array.from(bytes),
      address: undefined,
      allows: 'bidirectional',
      coherent,
    };
  }

  /** Foreign memory that lies beside other slices of the same buffer. */
  #slice(size: number, gap: number): Uint8Array {
    if (this.#slabUsed + gap + size > SLAB) {
      this.#slab = Buffer.alloc(SLAB);
      this.#slabUsed = 0;
    }
    const start = this.#slabUsed + gap;
    this.#slabUsed = start + size;
    return this.#slab.subarray(start, start + size);
  }

  #enter(unit: Omit<Unit, 'name' | 'cpu' | 'memory'> & { readonly kind: string }): void {
    const name = `#${this.#made++} (${unit.kind}, ${unit.bytes.length} bytes)`;
    const [cpu, memory] = [Uint8Array.from(unit.bytes), Uint8Array.from(unit.bytes)];
    this.units.push({ ...unit, name, cpu, memory });
    this.#trace.push(`${name} at ${hex(unit.address)}`);
  }

  release(a: number): void {
    const at = a % Math.max(this.units.length, 1);
    const unit = this.units[at];
    if (unit === undefined || this.#lent.some(({ parts }) => parts.some((part) => part.unit === unit)))
      return;
    this.#trace.push(`free ${unit.name}`);
    this.check(unit);
    unit.free?.();
    this.units.splice(at, 1);
    if (unit.free === undefined) return;
    if (!unit.name.includes('pool')) {
      assert.equal(unit.bytes.length, 0, `${unit.name}: views of what was freed`);
      this.#remember(unit.address!);
    }
    this.gone.push(unit);
    if (this.gone.length > REMEMBERED) this.gone.shift();
  }

  /**
   * Checks that an address is under the mask and in a range of the device, and that no other memory is there.
   * @param device the index of the device that has the address
   */
  checkAddress(address: bigint, size: number, mask: bigint, what: string, device = 0): void {
    const last = address + BigInt(size) - 1n;
    assert.ok(last <= mask, `${what} at ${hex(address)} is beyond the mask ${hex(mask)}`);
    const ranges = this.#devices[device]!.dma.addressRanges;
    const inside = ranges.some(({ start, end }) => address >= start && last <= end);
    assert.ok(inside, `${what} at ${hex(address)} is in no range`);
    assert.ok(!this.isLive(address, size, device), `${what} at ${hex(address)} is where something else is`);
  }

  /** True if there is live memory at these addresses. Without an IOMMU the second device has a machine of its own. */
  isLive(address: bigint, size: number, device = 0): boolean {
    const overlaps = (start: bigint, length: number) =>
      start < address + BigInt(size) && address < start + BigInt(length);
    const { translated } = this.#world;
    const units = translated || device === 0 ? this.units : [];
    return (
      units.some((unit) => unit.address !== undefined && overlaps(unit.address, unit.bytes.length)) ||
      this.#lent.some(
        (lease) =>
          (translated || lease.device === device) &&
          lease.runs.some((run) => overlaps(run.address, run.length)),
      )
    );
  }

  /** The number of slots of all bounce buffers. */
  get backedSlots(): number {
    return this.#devices.reduce((sum, { dma }) => sum + dma.bounceStats.backedSlots, 0);
  }

  #remember(address: bigint): void {
    const { backedSlots } = this;
    this.stale.push({ address, backedSlots });
    if (this.stale.length > REMEMBERED) this.stale.shift();
  }
}

export function hex(address: bigint | undefined): string {
  return address === undefined ? 'no address' : `0x${address.toString(16)}`;
}
