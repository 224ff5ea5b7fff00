/** Descriptor layouts against DataView, and places in a ring against counting. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { DmaError, RingIndex, struct, u8, u16, u16be, u32, u32be, u64, u64be } from '../../lib/index.ts';

const refused = (action: () => unknown, ...words: string[]) =>
  assert.throws(action, (error: unknown) => {
    assert.ok(error instanceof DmaError);
    assert.equal(error.code, 'EINVAL');
    for (const word of words) assert.ok(error.message.includes(word), error.message);
    return true;
  });

/** Everything a field can be: how it is made, and how DataView has it. */
const KINDS = {
  u8: [u8, 1, (view: DataView, at: number) => view.getUint8(at)],
  u16: [u16, 2, (view: DataView, at: number) => view.getUint16(at, true)],
  u32: [u32, 4, (view: DataView, at: number) => view.getUint32(at, true)],
  u16be: [u16be, 2, (view: DataView, at: number) => view.getUint16(at, false)],
  u32be: [u32be, 4, (view: DataView, at: number) => view.getUint32(at, false)],
} as const;
const WIDE_KINDS = {
  u64: [u64, (view: DataView, at: number) => view.getBigUint64(at, true)],
  u64be: [u64be, (view: DataView, at: number) => view.getBigUint64(at, false)],
} as const;

describe('a struct over memory', () => {
  it('has each field where, as wide and in the byte order that it says, and touches nothing else', () => {
    const kind = fc.constantFrom(...(Object.keys(KINDS) as (keyof typeof KINDS)[]));
    const property = fc.property(
      kind,
      fc.nat(15),
      fc.nat(7),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(0xffff_ffff),
      fc.infiniteStream(fc.nat(255)),
      (name, slot, lead, count, value, noise) => {
        const [make, width, read] = KINDS[name];
        const size = 16 * width;
        const buffer = Uint8Array.from(
          { length: lead * width + count * size },
          () => noise.next().value as number,
        );
        const before = buffer.slice();
        const array = struct(size, { field: make(slot * width) }).over(buffer.subarray(lead * width));
        assert.equal(array.count, count);
        const element = value % count;
        const at = lead * width + element * size + slot * width;
        assert.equal(array.field.get(element), read(new DataView(buffer.buffer), at));
        assert.equal(array.field.load(element), read(new DataView(buffer.buffer), at));
        array.field.set(element, value);
        assert.equal(read(new DataView(buffer.buffer), at), value % 2 ** (8 * width));
        array.field.store(element, ~value);
        assert.equal(read(new DataView(buffer.buffer), at), (~value >>> 0) % 2 ** (8 * width));
        buffer.set(before.subarray(at, at + width), at);
        assert.deepEqual(buffer, before);
      },
    );
    fc.assert(property, { numRuns: 2000 });
  });

  it('has fields of 64 bits, whole and in halves', () => {
    const kind = fc.constantFrom(...(Object.keys(WIDE_KINDS) as (keyof typeof WIDE_KINDS)[]));
    const property = fc.property(kind, fc.nat(3), fc.bigInt(0n, 2n ** 64n - 1n), (name, slot, value) => {
      const [make, read] = WIDE_KINDS[name];
      const bytes = new Uint8Array(60);
      const array = struct(20, { field: make(slot * 4) }).over(bytes);
      const here = () => read(new DataView(bytes.buffer), 20 + slot * 4);
      array.field.set(1, value);
      assert.equal(here(), value);
      assert.equal(array.field.get(1), value);
      const [low, high] = [array.field.low(1), array.field.high(1)];
      assert.equal((BigInt(high) << 32n) | BigInt(low), value);
      array.field.setParts(1, high, low);
      assert.equal(here(), (BigInt(low) << 32n) | BigInt(high));
      array.clear(1);
      assert.ok(bytes.every((byte) => byte === 0));
    });
    fc.assert(property, { numRuns: 1000 });
  });

  it('takes negative results of bit operators by their pattern', () => {
    const array = struct(4, { word: u32(0), swapped: u32be(0), half: u16(0), byte: u8(0) }).over(
      new Uint8Array(4),
    );
    array.word.set(0, 1 << 31);
    assert.equal(array.word.get(0), 0x8000_0000);
    array.swapped.set(0, ~0);
    assert.equal(array.swapped.get(0), 0xffff_ffff);
    array.half.set(0, 0x1_2345);
    assert.equal(array.half.get(0), 0x2345);
    array.byte.set(0, -1);
    assert.equal(array.byte.get(0), 0xff);
  });

  it('zeroes one element', () => {
    const bytes = new Uint8Array(12).fill(7);
    struct(4, { word: u32(0) })
      .over(bytes)
      .clear(1);
    assert.deepEqual([...bytes], [7, 7, 7, 7, 0, 0, 0, 0, 7, 7, 7, 7]);
  });

  it('refuses elements that are not there, and memory that was freed', () => {
    const bytes = new Uint8Array(8);
    const two = struct(4, { word: u32(0), half: u16be(2) }).over(bytes);
    for (const element of [2, -1, 0.5, Number.NaN, 2 ** 32, Number.POSITIVE_INFINITY]) {
      refused(() => two.word.get(element), 'no element');
      refused(() => two.word.set(element, 1), 'no element');
      refused(() => two.word.load(element), 'no element');
      refused(() => two.word.store(element, 1), 'no element');
      refused(() => two.half.set(element, 1), 'no element');
      refused(() => two.clear(element), 'no element');
    }
    assert.ok(bytes.every((byte) => byte === 0));
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    refused(() => two.word.get(0));
    refused(() => two.word.set(0, 1));
    refused(() => two.word.load(0));
    refused(() => two.word.store(0, 1));
    refused(() => two.clear(0));
  });

  it('refuses layouts and memory that do not fit', () => {
    for (const size of [0, -4, 1.5, Number.NaN]) refused(() => struct(size, {}), 'a struct of');
    refused(() => struct(8, { last: u32(8) }), 'outside');
    refused(() => struct(8, { last: u64(4) }), 'outside');
    refused(() => struct(8, { last: u8(-1) }), 'outside');
    refused(() => struct(8, { odd: u32(2) }), 'misaligned', 'multiple of 4');
    refused(() => struct(6, { first: u32(0) }), 'misaligned');
    refused(() => struct(8, { count: u32(0) }), 'name');
    const words = struct(8, { word: u32(4) });
    refused(() => words.over(new Uint8Array(12)), 'whole structs of 8');
    refused(() => words.over(new Uint8Array(0)), 'whole structs');
    refused(() => words.over(new Uint32Array(4) as never), 'whole structs');
    refused(() => words.over(new Uint8Array(20).subarray(2, 18)), 'misaligned');
  });
});

describe('a place in a ring', () => {
  it('counts, wraps, and flips its phase each time round', () => {
    const property = fc.property(fc.integer({ min: 1, max: 40 }), fc.array(fc.nat(40)), (entries, steps) => {
      const place = new RingIndex(entries);
      let total = 0;
      for (const step of steps.map((wanted) => wanted % (entries + 1))) {
        const before = place.index;
        total += step;
        assert.equal(place.advance(step), total % entries);
        assert.equal(place.index, total % entries);
        assert.equal(place.phase, Math.floor(total / entries) % 2 === 0 ? 1 : 0);
        assert.equal(place.since(before), step % entries);
      }
      place.reset();
      assert.deepEqual([place.index, place.phase], [0, 1]);
    });
    fc.assert(property);
  });

  it('counts freely in as many bits as it is told, and tells a full ring from an empty one', () => {
    const property = fc.property(
      fc.constantFrom(8, 16, 32),
      fc.integer({ min: 0, max: 8 }),
      fc.array(fc.nat(300), { maxLength: 300 }),
      (bits, order, steps) => {
        const entries = 2 ** order;
        const place = new RingIndex(entries, { bits: bits as 8 | 16 | 32 });
        let total = 0;
        for (const step of steps.map((wanted) => wanted % (entries + 1))) {
          const before = place.count;
          total += step;
          assert.equal(place.advance(step), total % entries);
          assert.equal(place.count, total % 2 ** bits);
          assert.equal(place.phase, Math.floor(total / entries) % 2 === 0 ? 1 : 0);
          // A whole round is only told from none where the index counts further than the ring goes.
          assert.equal(place.since(before), entries === 2 ** bits ? step % entries : step);
        }
        place.reset();
        assert.deepEqual([place.index, place.count, place.phase], [0, 0, 1]);
      },
    );
    fc.assert(property);
    refused(() => new RingIndex(3, { bits: 16 }), 'power of two');
    refused(() => new RingIndex(512, { bits: 8 }), 'up to 256');
    refused(() => new RingIndex(8, { bits: 12 as never }), 'bits');
    refused(() => new RingIndex(8, { bit: 16 } as never), 'bits');
  });

  it('refuses rings of no size', () => {
    for (const entries of [0, -1, 2.5, Number.NaN, 2 ** 31]) refused(() => new RingIndex(entries), 'ring of');
  });
});
