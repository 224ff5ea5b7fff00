import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { DmaDevice } from '../../lib/dma/device.ts';
import type { IovaState } from '../../lib/dma/iova/state.ts';
import { type CacheMaintenance, DMA_ATTR, type DmaDirection, dmaBitMask } from '../../lib/index.ts';
import { SimulatedAddressSpace, type SimulatedAddressSpaceOptions } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { SimulatedCache } from '../../lib/sim/cache.ts';
import { SimulatedPhysicalMemory } from '../../lib/sim/physical-memory.ts';

const PAGE = 4096;

function world(options: SimulatedAddressSpaceOptions = {}, cache?: CacheMaintenance) {
  const space = new SimulatedAddressSpace(options);
  return {
    space,
    dma: new DmaDevice({ name: 'test', memory: new HeapMemory(), addressSpace: space, cache }),
  };
}

function reserve(dma: DmaDevice, size: number, first?: ArrayBufferView): IovaState {
  const state = dma.reserveIova(size, first);
  assert.ok(state !== null);
  return state;
}

function code(name: string, body: () => unknown): void {
  assert.throws(body, (error: { code?: string }) => error.code === name, `expected ${name}`);
}

function pattern(size: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 13 + seed * 29 + (i >> 8)) & 0xff);
}

function read(space: SimulatedAddressSpace, address: bigint | number, size: number): Uint8Array {
  const into = new Uint8Array(size);
  space.read(address, into);
  return into;
}

/** Bytes of a page-aligned buffer, from `start` on. */
function bytesAt(start: number, size: number, seed = 0): Uint8Array {
  const view = new Uint8Array(Math.ceil((start + size) / PAGE) * PAGE)
    .fill(0xee)
    .subarray(start, start + size);
  view.set(pattern(size, seed));
  return view;
}

describe('reserveIova', () => {
  it('gives addresses under the streaming mask, once each, where the first piece has its first byte', () => {
    const { dma } = world();
    dma.setMask(dmaBitMask(24));
    const a = reserve(dma, 5 * PAGE, bytesAt(100, 8));
    const b = reserve(dma, PAGE);
    assert.equal(a.low % PAGE, 100);
    assert.equal(b.low % PAGE, 0);
    assert.equal(a.dmaAddress, BigInt(a.low));
    assert.ok(a.dmaAddress + BigInt(5 * PAGE) <= dmaBitMask(24));
    assert.ok(b.low + PAGE <= a.low - 100 || b.low >= a.low - 100 + 6 * PAGE);
  });

  it('is null without an IOMMU and without room, and the addresses come back', () => {
    const addressSpace = new SimulatedAddressSpace({ ranges: [{ start: 0x100000, end: 0xfffffff }] });
    const memory = new SimulatedPhysicalMemory({ heap: new HeapMemory(), addressSpace });
    assert.equal(new DmaDevice({ name: 'direct', memory }).reserveIova(PAGE), null);
    const { dma } = world({ ranges: [{ start: 0, end: 0x7fff }] });
    assert.equal(dma.reserveIova(8 * PAGE), null);
    for (let i = 0; i < 100; i++) reserve(dma, 4 * PAGE).free();
  });

  it('above 4 GiB has a high word', () => {
    const { dma } = world({ ranges: [{ start: 2 ** 33, end: 2 ** 34 - 1 }] });
    dma.setMask(dmaBitMask(40));
    const state = reserve(dma, PAGE);
    assert.equal(state.dmaAddress, (BigInt(state.high) << 32n) + BigInt(state.low));
    assert.ok(state.high >= 2);
  });

  it('refuses what is no size, no view, or a closed device', () => {
    const { dma } = world();
    assert.equal(dma.reserveIova(0), null);
    for (const size of [-1, 1.5, Number.NaN, 2 ** 53]) code('EINVAL', () => dma.reserveIova(size));
    code('EINVAL', () => dma.reserveIova(1, 'bytes' as never));
    code('EINVAL', () => dma.reserveIova(1, new Uint8Array(0)));
    dma.close();
    code('ENODEV', () => dma.reserveIova(PAGE));
  });
});

describe('link', () => {
  it('makes one range of pieces, in place', () => {
    const { dma, space } = world();
    const pieces = [bytesAt(0, PAGE, 1), bytesAt(0, 3 * PAGE, 2), bytesAt(0, 2 * PAGE, 3)];
    const state = reserve(dma, 6 * PAGE);
    let offset = 0;
    for (const piece of pieces) {
      state.link(offset, piece, 'bidirectional');
      offset += piece.length;
    }
    assert.deepEqual([state.linked, state.unsynced], [6 * PAGE, 6 * PAGE]);
    state.sync();
    assert.equal(state.unsynced, 0);
    assert.deepEqual(read(space, state.dmaAddress, 6 * PAGE), new Uint8Array(Buffer.concat(pieces)));
    assert.equal(space.stats.mappings, 3, 'nothing is copied');
    space.write(state.low + PAGE, new Uint8Array(10).fill(9));
    assert.equal(pieces[1]![9], 9, 'in place');
    state.unlink(0, 6 * PAGE);
    assert.equal(space.stats.mappings, 0);
    state.free();
  });

  for (const [start, size] of [
    [0, 10],
    [100, 10],
    [100, PAGE - 100],
    [100, PAGE],
    [0, PAGE + 1],
    [PAGE - 1, 2],
    [PAGE - 1, 2 * PAGE + 2],
    [16, 5 * PAGE],
  ] as const) {
    it(`shows the device ${size} bytes at ${start} of a page, and zeros around them`, () => {
      const { dma, space } = world();
      const bytes = bytesAt(start, size);
      const state = reserve(dma, size, bytes);
      state.link(0, bytes, 'bidirectional');
      state.sync();
      const span = Math.ceil((start + size) / PAGE) * PAGE;
      const seen = read(space, state.low - start, span);
      assert.deepEqual(seen.subarray(start, start + size), bytes);
      assert.ok(seen.subarray(0, start).every((byte) => byte === 0));
      assert.ok(seen.subarray(start + size).every((byte) => byte === 0));
      const written = pattern(size, 7);
      space.write(state.low, written);
      space.write(state.low - start, new Uint8Array(start).fill(0xbb));
      state.unlink(0, size);
      assert.deepEqual(bytes, written);
      const around = new Uint8Array(bytes.buffer);
      assert.ok(
        around.subarray(0, start).every((byte) => byte === 0xee),
        'what is around the bytes is untouched',
      );
      assert.ok(around.subarray(start + size).every((byte) => byte === 0xee));
      assert.equal(dma.bounceStats.usedSlots, 0);
      state.free();
    });
  }

  it('takes the first piece from inside a page and the last into one', () => {
    const { dma, space } = world();
    const pieces = [bytesAt(1000, PAGE - 1000, 1), bytesAt(0, PAGE, 2), bytesAt(0, 77, 3)];
    const all = new Uint8Array(Buffer.concat(pieces));
    const state = reserve(dma, all.length, pieces[0]);
    state.link(0, pieces[0]!, 'to-device');
    state.link(PAGE - 1000, pieces[1]!, 'to-device');
    state.link(2 * PAGE - 1000, pieces[2]!, 'to-device');
    assert.deepEqual(read(space, state.dmaAddress, all.length), all);
    state.destroy();
    assert.equal(space.stats.mappings, 1, 'the bounce buffer');
  });

  it('knows where the pages of a buffer that starts inside one are', () => {
    const { dma, space } = world({ pageOffset: (buffer) => (buffer.byteLength === 3 * PAGE ? 16 : 0) });
    const bytes = new Uint8Array(3 * PAGE).fill(0xee);
    const inside = bytes.subarray(PAGE - 16, 2 * PAGE - 16);
    inside.set(pattern(PAGE));
    const state = reserve(dma, PAGE, inside);
    state.link(0, inside, 'to-device', DMA_ATTR.REQUIRE_COHERENT);
    assert.deepEqual(read(space, state.dmaAddress, PAGE), pattern(PAGE));
    state.destroy();
  });

  it('takes memory of the device where it is, with no copy', () => {
    const { dma, space } = world();
    const { bytes } = dma.allocCoherent(2 * PAGE);
    bytes.set(pattern(2 * PAGE));
    const part = bytes.subarray(8, 5000);
    const state = reserve(dma, part.length, part);
    state.link(0, part, 'bidirectional', DMA_ATTR.REQUIRE_COHERENT);
    assert.deepEqual(read(space, state.dmaAddress, part.length), new Uint8Array(part));
    space.write(state.dmaAddress, new Uint8Array([1, 2, 3]));
    assert.deepEqual([...part.subarray(0, 3)], [1, 2, 3]);
    assert.equal(dma.bounceStats.maps, 0);
    state.destroy();
  });

  it('gives the device what the direction says', () => {
    const { dma, space } = world();
    const bytes = bytesAt(0, PAGE);
    const state = reserve(dma, PAGE);
    state.link(0, bytes, 'to-device');
    space.write(state.dmaAddress, new Uint8Array(PAGE).fill(1));
    state.unlink(0, PAGE);
    assert.deepEqual(bytes, pattern(PAGE));
    state.link(0, bytes, 'from-device');
    assert.ok(read(space, state.dmaAddress, PAGE).every((byte) => byte === 0));
    state.destroy();
  });

  it('keeps bytes at the edges as they were with SKIP_CPU_SYNC', () => {
    const { dma, space } = world();
    const bytes = bytesAt(0, 100);
    const state = reserve(dma, 100);
    state.link(0, bytes, 'from-device', DMA_ATTR.SKIP_CPU_SYNC);
    space.write(state.dmaAddress, new Uint8Array(100).fill(1));
    state.destroy();
    assert.deepEqual(bytes, pattern(100));
  });

  it('maintains caches of an incoherent device', () => {
    const memory = new HeapMemory();
    const cache = new SimulatedCache({
      coherenceOf: (buffer) => memory.coherenceOf(buffer),
      pageOffset: () => 0,
    });
    const addressSpace = new SimulatedAddressSpace({
      deviceView: (buffer, offset, size) => cache.deviceView(buffer, offset, size),
    });
    const dma = new DmaDevice({ name: 'test', memory, addressSpace, cache });
    const bytes = bytesAt(64, 2 * PAGE);
    const state = reserve(dma, bytes.length, bytes);
    state.link(0, bytes, 'bidirectional');
    assert.deepEqual(read(addressSpace, state.dmaAddress, bytes.length), pattern(2 * PAGE));
    addressSpace.write(state.dmaAddress, pattern(2 * PAGE, 5));
    state.unlink(0, bytes.length);
    assert.deepEqual(bytes, pattern(2 * PAGE, 5));
    code('EOPNOTSUPP', () => state.link(0, bytes, 'to-device', DMA_ATTR.REQUIRE_COHERENT));
  });
});

describe('what link refuses, with nothing changed', () => {
  const page = () => bytesAt(0, PAGE);
  const ROWS: readonly [
    name: string,
    code: string,
    offset: number,
    view: () => unknown,
    attributes?: number,
    direction?: string,
  ][] = [
    ['a start inside a page at another offset than 0', 'EIO', PAGE, () => bytesAt(8, 100)],
    ['a first piece that starts elsewhere in its page', 'EINVAL', 0, () => bytesAt(8, 100)],
    ['an offset inside a page', 'EINVAL', 100, page],
    ['a range that runs past the end', 'EINVAL', 3 * PAGE, () => bytesAt(0, 2 * PAGE)],
    ['a negative offset', 'EINVAL', -PAGE, page],
    ['no offset', 'EINVAL', Number.NaN, page],
    ['what overlaps a link', 'EEXIST', 2 * PAGE, page],
    ['what reaches into a link', 'EEXIST', PAGE, () => bytesAt(0, PAGE + 1)],
    ['a copy that is forbidden', 'EPERM', 0, () => bytesAt(0, 100), DMA_ATTR.REQUIRE_COHERENT],
    ['an empty view', 'EINVAL', 0, () => new Uint8Array(0)],
    ['no view', 'EINVAL', 0, () => undefined],
    ['shared memory', 'EINVAL', 0, () => new Uint8Array(new SharedArrayBuffer(PAGE))],
    ['no direction', 'EINVAL', 0, page, 0, 'none'],
    ['unknown attributes', 'EINVAL', 0, page, 1 << 20],
  ];

  for (const [name, expected, offset, view, attributes, direction = 'to-device'] of ROWS) {
    it(`${name}: ${expected}`, () => {
      const { dma, space } = world();
      const state = reserve(dma, 4 * PAGE);
      state.link(2 * PAGE, page(), 'to-device');
      code(expected, () => state.link(offset, view() as Uint8Array, direction as DmaDirection, attributes));
      assert.deepEqual([state.linked, space.stats.mappings], [PAGE, 1]);
      assert.equal(dma.bounceStats.usedSlots, 0);
      state.unlink(2 * PAGE, PAGE);
      state.free();
    });
  }

  it('REQUIRE_COHERENT after a piece that was copied: EOPNOTSUPP', () => {
    const { dma } = world();
    const state = reserve(dma, 4 * PAGE);
    state.link(0, bytesAt(0, 100), 'to-device');
    code('EOPNOTSUPP', () => state.link(PAGE, page(), 'to-device', DMA_ATTR.REQUIRE_COHERENT));
    state.destroy();
  });

  it('foreign memory where none can be pinned: EOPNOTSUPP; memory of the device goes', () => {
    const { dma } = world({ pinsForeignMemory: false });
    const state = reserve(dma, PAGE);
    code('EOPNOTSUPP', () => state.link(0, page(), 'to-device'));
    state.link(0, dma.allocCoherent(PAGE).bytes, 'to-device');
    state.destroy();
  });

  it('the address space refusing, at each of the three parts of a piece: everything undone', () => {
    for (const mappingLimit of [1, 2, 3]) {
      const { dma, space } = world({ mappingLimit });
      const bytes = bytesAt(8, 3 * PAGE);
      const state = reserve(dma, bytes.length, bytes);
      code('ENOSPC', () => state.link(0, bytes, 'to-device'));
      assert.equal(space.stats.mappings, 1, 'the bounce buffer');
      assert.deepEqual([state.linked, dma.bounceStats.usedSlots], [0, 0]);
      state.free();
    }
  });
});

describe('sync, unlink and free', () => {
  it('sync takes what is linked, also in parts and across gaps, inside the range', () => {
    const { dma } = world();
    const state = reserve(dma, 4 * PAGE);
    state.sync();
    state.link(0, bytesAt(0, PAGE), 'to-device');
    state.link(2 * PAGE, bytesAt(0, PAGE), 'to-device');
    state.sync(10, 20);
    assert.equal(state.unsynced, PAGE);
    // Where nothing is linked there is nothing to do.
    state.sync(PAGE, PAGE);
    state.sync(2 * PAGE, 0);
    assert.equal(state.unsynced, PAGE);
    code('EINVAL', () => state.sync(0, 5 * PAGE));
    code('EINVAL', () => state.sync(-1, 1));
    state.sync(PAGE, 3 * PAGE);
    assert.equal(state.unsynced, 0);
  });

  it('unlink takes whole links, in any order, and cuts none', () => {
    const { dma, space } = world();
    const state = reserve(dma, 6 * PAGE);
    for (let i = 2; i >= 0; i--) state.link(i * 2 * PAGE, bytesAt(0, 2 * PAGE), 'to-device');
    const REFUSED = [
      [0, PAGE],
      [PAGE, PAGE],
      [0, 3 * PAGE],
      [PAGE, 3 * PAGE],
      [0, 0],
      [0, 7 * PAGE],
      [-1, 5],
      [0.5, 5],
    ] as const;
    for (const [offset, size] of REFUSED) code('EINVAL', () => state.unlink(offset, size));
    assert.equal(space.stats.mappings, 3);
    state.unlink(2 * PAGE, 2 * PAGE);
    code('EINVAL', () => state.unlink(0, 6 * PAGE));
    code('EBUSY', () => state.free());
    state.unlink(4 * PAGE, 2 * PAGE);
    state.unlink(0, 2 * PAGE);
    code('EINVAL', () => state.unlink(0, 2 * PAGE));
    for (const slot of [1, 2, 0]) state.link(slot * 2 * PAGE, bytesAt(0, 2 * PAGE), 'to-device');
    state.sync(PAGE, 4 * PAGE);
    state.unlink(0, 6 * PAGE);
    state.free();
  });

  it('a detached buffer is told of after everything was released', () => {
    for (const end of ['unlink', 'destroy'] as const) {
      const { dma, space } = world();
      const lost = bytesAt(0, 100);
      const kept = bytesAt(0, 100);
      const state = reserve(dma, 2 * PAGE);
      state.link(0, lost, 'from-device');
      state.link(PAGE, kept, 'from-device');
      space.write(state.low + PAGE, new Uint8Array(100).fill(5));
      structuredClone(lost.buffer, { transfer: [lost.buffer as ArrayBuffer] });
      if (end === 'destroy') {
        code('EINVAL', () => state.destroy());
        assert.equal(kept[99], 5);
        assert.equal(state.reserved, false);
      } else {
        code('EINVAL', () => state.unlink(0, 100));
        state.unlink(PAGE, 100);
        state.free();
      }
      assert.equal(dma.bounceStats.usedSlots, 0);
    }
  });

  it('everything is refused after free; dispose frees what is linked and is harmless later', () => {
    const { dma, space } = world();
    const state = reserve(dma, PAGE);
    {
      using held = state;
      held.link(0, bytesAt(0, PAGE), 'to-device');
    }
    assert.equal(space.stats.mappings, 0);
    for (const use of [
      () => state.link(0, bytesAt(0, PAGE), 'to-device'),
      () => state.sync(),
      () => state.unlink(0, PAGE),
      () => state.free(),
      () => state.destroy(),
      () => state.dmaAddress,
      () => state.low,
      () => state.high,
    ]) {
      code('EINVAL', use);
    }
    state[Symbol.dispose]();
  });

  it('a closed device takes everything back', () => {
    const { dma } = world();
    const state = reserve(dma, PAGE);
    state.link(0, bytesAt(0, 100), 'from-device');
    dma.close();
    code('ENODEV', () => state.unlink(0, 100));
    state[Symbol.dispose]();
  });

  it('whatever is linked and unlinked, the device sees what is linked', () => {
    const step = fc.record({ slot: fc.nat(7), pages: fc.integer({ min: 1, max: 3 }), seed: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { dma, space } = world();
        const state = reserve(dma, 10 * PAGE);
        const linked = new Map<number, Uint8Array>();
        for (const { slot, pages, seed } of steps) {
          const known = linked.get(slot);
          const free = [...linked].every(
            ([at, view]) => slot + pages <= at || slot >= at + view.length / PAGE,
          );
          if (known !== undefined) {
            state.unlink(slot * PAGE, known.length);
            linked.delete(slot);
          } else if (free) {
            const bytes = bytesAt(0, pages * PAGE, seed);
            state.link(slot * PAGE, bytes, 'to-device');
            linked.set(slot, bytes);
          } else {
            code('EEXIST', () => state.link(slot * PAGE, bytesAt(0, pages * PAGE), 'to-device'));
          }
          const expected = new Uint8Array(10 * PAGE);
          for (const [at, view] of linked) expected.set(view, at * PAGE);
          assert.ok(Buffer.from(read(space, state.dmaAddress, 10 * PAGE)).equals(expected));
        }
        state.destroy();
        assert.equal(space.stats.mappings, 0);
      }),
      { numRuns: 100 },
    );
  });
});
