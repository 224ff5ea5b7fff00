/** The way in which memory must be mapped, and the bytes that are then in place. */
import type { DmaDirection, SgMapping, StreamingMapping } from '../../lib/index.ts';
import { assert } from '../harness.ts';
import { PAGE } from './bytes.ts';
import { newPart, type Part, type Slice, type Unit } from './reference.ts';
import { type World, wayOf } from './worlds.ts';

export class Ways {
  /** The number of bits of the present streaming mask. */
  streamingBits: number;
  readonly #world: World;
  /** True if the device reaches the memory that the first one allocated. */
  readonly #owns: boolean;

  constructor(world: World, owns: boolean) {
    this.#world = world;
    this.#owns = owns;
    this.streamingBits = world.streamingBits;
  }

  /** Checks the way and the address of a mapping. @param tight true if the library may find no room for addresses */
  check(
    mapping: StreamingMapping,
    unit: Unit,
    offset: number,
    direction: DmaDirection,
    tight: boolean,
  ): void {
    const expected = this.wayOf(unit, offset, mapping.size, direction);
    // Hardware may refuse to pin the memory. It is bounced then.
    if ((!this.#world.simulated || tight) && expected === 'pinned' && mapping.way === 'bounced') return;
    assert.equal(mapping.way, expected, 'way');
    if (expected === 'arithmetic')
      assert.equal(mapping.dmaAddress, unit.address! + BigInt(offset), 'address');
  }

  wayOf(unit: Unit, offset: number, size: number, direction: DmaDirection): string {
    if (unit.address === undefined || !this.#owns) return wayOf(this.#world, 'foreign', size);
    const allowed = unit.allows === 'bidirectional' || unit.allows === direction;
    const within = unit.address + BigInt(offset + size) <= 2n ** BigInt(this.streamingBits);
    return allowed && within && !this.#world.forced ? 'arithmetic' : 'bounced';
  }

  /** The part of a mapping, with the bytes that are in place. */
  partOf(unit: Unit, offset: number, size: number, way: string, address: bigint): Part {
    if (way === 'bounced') return newPart(unit, offset, size, 0, 0);
    if (way === 'arithmetic') return newPart(unit, offset, size, 0, size);
    const start = Number(address % BigInt(PAGE));
    const head = start === 0 ? 0 : Math.min(PAGE - start, size);
    return newPart(unit, offset, size, head, size - ((size - head) % PAGE));
  }

  partOfList(mapping: SgMapping, { unit, offset, size }: Slice, address: bigint): Part {
    // The library gives own memory that the device does not reach other addresses, and all of it is in place. It copies
    // the edges of other memory.
    if (mapping.way === 'pinned' && unit.address !== undefined) {
      return newPart(unit, offset, size, 0, size);
    }
    if (mapping.way === 'pinned') return this.partOf(unit, offset, size, 'pinned', address);
    const way = this.wayOf(unit, offset, size, mapping.direction);
    return this.partOf(unit, offset, size, mapping.way === 'arithmetic' ? 'arithmetic' : way, address);
  }
}
