import { describe, expect, it } from 'vitest';
import type { CacheMaintenance } from '../../lib/cache.ts';
import type { DmaDirection } from '../../lib/direction.ts';
import type { StreamingMapping } from '../../lib/dma/streaming/mapping.ts';
import { DMA_ATTR } from '../../lib/dma/words/attributes.ts';
import { dmaBitMask } from '../../lib/dma/words/mask.ts';
import { expectCode } from './sim-fixture.ts';
import { detach, expectBytes, PAGE, pattern, world } from './streaming-fixture.ts';

const DIRECTIONS: readonly DmaDirection[] = ['to-device', 'from-device', 'bidirectional'];
/** Any memory is pinned where it can be. */
const pinning = { copybreak: 0 };

describe('mapping memory of the device', () => {
  it('is arithmetic: no mapping in the address space, no bounce slot, its own address', () => {
    const { dma, space } = world();
    const ring = dma.allocCoherent(2 * PAGE);
    const before = space.stats;
    for (const view of [ring.bytes, ring.bytes.subarray(100, 300), new DataView(ring.buffer, 8, 16)]) {
      for (const direction of DIRECTIONS) {
        const mapping = dma.mapSingle(view, direction);
        expect(mapping).toMatchObject({
          way: 'arithmetic',
          bounced: false,
          direction,
          size: view.byteLength,
        });
        expect(mapping.dmaAddress).toBe(ring.dmaAddress + BigInt(view.byteOffset));
        expect(mapping.needSync).toBe(false);
        expect(dma.needSync(mapping)).toBe(false);
        mapping.syncForCpu();
        mapping.syncForDevice(1, 3);
        mapping.unmap();
      }
    }
    expect(space.stats).toEqual(before);
    expect(dma.bounceStats.maps).toBe(0);
  });

  it('bounces what lies above the streaming mask', () => {
    const { dma, deviceReads } = world();
    dma.setCoherentMask(dmaBitMask(32));
    dma.setMask(dmaBitMask(24));
    const ring = dma.allocCoherent(PAGE);
    expect(ring.dmaAddress).toBeGreaterThan(2n ** 24n);
    ring.bytes.set(pattern(PAGE));
    const mapping = dma.mapSingle(ring.bytes, 'to-device');
    expect(mapping.bounced).toBe(true);
    expect(mapping.dmaAddress).toBeLessThan(2n ** 24n);
    expectBytes(deviceReads(mapping.dmaAddress, PAGE), ring.bytes);
    const inPlace = dma.mapSingle(ring.bytes, 'to-device', DMA_ATTR.REQUIRE_COHERENT);
    expect(inPlace.way).toBe('pinned');
    expect(inPlace.dmaAddress).toBeLessThan(2n ** 24n);
  });

  it('gives memory that is too long to copy another address, where its own will not do', () => {
    const { dma, space } = world();
    const size = 2 ** 20;
    const out = dma.allocNoncoherent(size, 'to-device');
    dma.setMask(dmaBitMask(24));
    const ring = dma.allocCoherent(size);
    for (const [bytes, at, length] of [
      [out.bytes, 0, size],
      [ring.bytes, 0, size],
      [ring.bytes, 100, size - 200],
    ] as const) {
      bytes.fill(1);
      const mapping = dma.mapSingle(bytes.subarray(at, at + length), 'from-device');
      expect(mapping).toMatchObject({ way: 'pinned', needSync: false });
      expect(mapping.dmaAddress).toBeLessThan(2n ** 24n);
      space.write(mapping.dmaAddress, pattern(length));
      // In place, edges too.
      expectBytes(bytes.subarray(at, at + length), pattern(length));
      mapping.unmap();
      expect(bytes.subarray(0, at).every((byte) => byte === 1)).toBe(true);
    }
    expect(dma.bounceStats.maps).toBe(0);
  });

  it('refuses immutable memory that the device may write', () => {
    const { dma } = world();
    for (const size of [100, 2 ** 20]) {
      const buffer = new ArrayBuffer(size);
      // What a runtime that knows immutable buffers says of one.
      Object.defineProperty(buffer, 'immutable', { value: true });
      const view = new Uint8Array(buffer);
      for (const direction of ['from-device', 'bidirectional'] as const) {
        expectCode('EINVAL', () => dma.mapSingle(view, direction));
        expectCode('EINVAL', () => dma.mapSg([view], direction));
        expectCode('EINVAL', () => dma.reserveIova(size, view)!.link(0, view, direction));
      }
      dma.mapSingle(view, 'to-device').unmap();
      dma.mapSg([view], 'to-device').unmap();
    }
  });

  it('bounces memory of another device', () => {
    const { dma } = world();
    const foreign = world().dma.allocCoherent(64);
    expect(dma.mapSingle(foreign.bytes, 'to-device').way).toBe('bounced');
  });

  it('bounces noncoherent memory that the device may not use that way', () => {
    const { dma, deviceReads } = world();
    const buffer = dma.allocNoncoherent(64, 'from-device');
    expect(dma.mapSingle(buffer.bytes, 'from-device').way).toBe('arithmetic');
    buffer.bytes.fill(5);
    const mapping = dma.mapSingle(buffer.bytes, 'to-device');
    expect(mapping.way).toBe('bounced');
    expectBytes(deviceReads(mapping.dmaAddress, 64), buffer.bytes);
  });
});

describe('mapping foreign memory in place', () => {
  // What V8 gives a buffer is aligned to anything but a page.
  const offsets = [0, 1, 64, 2048, 4095];
  const sizes = [1, 100, 4095, 4096, 4097, 8192, 12_288, 20_000];

  it.each(offsets)(
    'shows the device these bytes and none beside them, %i bytes into a page',
    (pageOffset) => {
      const { dma, space, deviceReads } = world(pinning, {}, {}, pageOffset);
      for (const at of offsets) {
        for (const size of sizes) {
          const memory = new Uint8Array(at + size + PAGE).fill(0x55);
          const view = memory.subarray(at, at + size);
          view.set(pattern(size));
          const mapping = dma.mapSingle(view, 'bidirectional');
          const inPage = (pageOffset + at) % PAGE;
          expect(mapping.way).toBe('pinned');
          expect(mapping.low % PAGE).toBe(inPage);
          const whole = Math.ceil((inPage + size) / PAGE) * PAGE;
          const expected = new Uint8Array(whole);
          expected.set(view, inPage);
          const start = mapping.dmaAddress - BigInt(inPage);
          expectBytes(deviceReads(start, whole), expected);
          space.write(start, new Uint8Array(whole).fill(0xee));
          mapping.unmap();
          expect(view.every((byte) => byte === 0xee)).toBe(true);
          expect(memory.subarray(0, at).every((byte) => byte === 0x55)).toBe(true);
          expect(memory.subarray(at + size).every((byte) => byte === 0x55)).toBe(true);
        }
      }
      expect(dma.bounceStats.usedSlots).toBe(0);
      expect(space.stats.mappings).toBe(dma.bounceStats.backedSlots === 0 ? 0 : 1);
    },
  );

  it('syncs the edges, slice by slice', () => {
    const { dma, space, deviceReads } = world(pinning);
    const memory = pattern(3 * PAGE);
    const view = memory.subarray(100, 2 * PAGE + 300);
    const mapping = dma.mapSingle(view, 'bidirectional');
    expect(mapping.needSync).toBe(true);
    const before = view.slice();
    space.write(mapping.dmaAddress, new Uint8Array(view.length).fill(0xee));
    // The pages in between are the same memory; the edges are copies.
    before.fill(0xee, PAGE - 100, 2 * PAGE - 100);
    expectBytes(view, before);
    mapping.syncForCpu(10, 20);
    before.fill(0xee, 10, 30);
    expectBytes(view, before);
    mapping.syncForCpu(2 * PAGE, 7);
    before.fill(0xee, 2 * PAGE, 2 * PAGE + 7);
    expectBytes(view, before);
    view.fill(1);
    mapping.syncForDevice(0, 5);
    expectBytes(deviceReads(mapping.dmaAddress, 7), Uint8Array.of(1, 1, 1, 1, 1, 0xee, 0xee));
  });

  it('copies the edge in the very first bounce slot like any other', () => {
    // Slots are handed out from the top: of one page, there is none but the first.
    const { dma, space, deviceReads } = world({ ...pinning, bounce: { total: PAGE } });
    const view = pattern(PAGE).subarray(100, 300);
    for (const value of [0xee, 0xdd]) {
      const mapping = dma.mapSingle(view, 'bidirectional');
      expect([mapping.way, mapping.needSync, dma.bounceStats.usedSlots]).toEqual(['pinned', true, 2]);
      const expected = view.slice();
      space.write(mapping.dmaAddress, new Uint8Array(200).fill(value));
      mapping.syncForCpu(10, 20);
      expectBytes(view, expected.fill(value, 10, 30));
      view.fill(7);
      mapping.syncForDevice(0, 5);
      expectBytes(deviceReads(mapping.dmaAddress, 6), Uint8Array.of(7, 7, 7, 7, 7, value));
      space.write(mapping.dmaAddress, new Uint8Array(200).fill(value - 1));
      mapping.unmap();
      expectBytes(view, expected.fill(value - 1));
      expect(dma.bounceStats.usedSlots).toBe(0);
    }
  });

  it('copies nothing of an edge that a sync does not touch', () => {
    const { dma, space } = world(pinning);
    const view = pattern(3 * PAGE).subarray(100, 2 * PAGE + 300);
    const mapping = dma.mapSingle(view, 'bidirectional');
    space.write(mapping.dmaAddress, new Uint8Array(view.length).fill(0xee));
    const before = dma.bounceStats;
    const seen = view.slice();
    const [head, tail] = [PAGE - 100, 2 * PAGE - 100];
    for (const [offset, size] of [
      [head, 1],
      [head + 200, 16],
      [tail - 1, 1],
      [head, tail - head],
    ] as const) {
      mapping.syncForDevice(offset, size);
      mapping.syncForCpu(offset, size);
      expect(dma.bounceStats).toEqual(before);
      expectBytes(view, seen);
    }
    mapping.syncForDevice(tail - 1, 2);
    mapping.syncForCpu(head - 1, 2);
    expect(dma.bounceStats).toEqual({
      ...before,
      bytesIn: before.bytesIn + 1,
      bytesOut: before.bytesOut + 1,
    });
  });

  it('gives one buffer that is mapped twice two addresses, which end separately', () => {
    const { dma, deviceReads } = world(pinning);
    const memory = pattern(PAGE);
    const first = dma.mapSingle(memory, 'to-device');
    const second = dma.mapSingle(memory, 'to-device');
    const gone = first.dmaAddress;
    expect(second.dmaAddress).not.toBe(gone);
    first.unmap();
    expectBytes(deviceReads(second.dmaAddress, PAGE), memory);
    expectBytes(deviceReads(gone, PAGE), new Uint8Array(PAGE));
  });

  it('lets the device do only what the direction says', () => {
    const { dma, space, deviceReads } = world(pinning);
    const memory = pattern(PAGE);
    const reads = dma.mapSingle(memory, 'to-device');
    space.write(reads.dmaAddress, new Uint8Array(PAGE));
    expectBytes(memory, pattern(PAGE));
    const writes = dma.mapSingle(memory, 'from-device');
    expectBytes(deviceReads(writes.dmaAddress, PAGE), new Uint8Array(PAGE));
  });

  it('starts at the copybreak', () => {
    const { dma } = world();
    expect(dma.mapSingle(new Uint8Array(32 * 1024 - 1), 'to-device').way).toBe('bounced');
    expect(dma.mapSingle(new Uint8Array(32 * 1024), 'to-device').way).toBe('pinned');
    const measured = world({ copybreak: 'measure' }).dma;
    expect(measured.mapSingle(new Uint8Array(1), 'to-device').way).toBe('bounced');
    expect(measured.mapSingle(new Uint8Array(2 ** 20), 'to-device').way).toBe('pinned');
    // Where nothing can be mapped there is nothing to measure, and all is copied.
    const full = world({ copybreak: 'measure' }, { mappingLimit: 1 }).dma;
    expect(full.mapSingle(new Uint8Array(1), 'to-device').way).toBe('bounced');
    expect(full.mapSingle(new Uint8Array(200_000), 'to-device').way).toBe('bounced');
    expectCode('EINVAL', () => world({ copybreak: -1 }));
    expectCode('EINVAL', () => world({ copybreak: Number.NaN }));
  });

  it('bounces instead when there are no mappings left, and leaves nothing behind', () => {
    const { dma, space } = world(pinning, { mappingLimit: 2 });
    dma.allocCoherent(1);
    const memory = pattern(3 * PAGE);
    // Edge pages map a chunk and more: the limit is met halfway.
    const mapping = dma.mapSingle(memory.subarray(100, 3 * PAGE - 100), 'to-device');
    expect(mapping.way).toBe('bounced');
    expect(space.stats.mappings).toBe(2);
    mapping.unmap();
    expect(dma.bounceStats.usedSlots).toBe(0);
    expectCode('ENOSPC', () => dma.mapSingle(new Uint8Array(2 ** 20), 'to-device'));
  });

  it('returns its addresses when it fails', () => {
    const { dma } = world({}, { mappingLimit: 1, ranges: [{ start: 0, end: 64 * PAGE - 1 }] });
    dma.allocCoherent(1);
    for (let i = 0; i < 20; i++) {
      expectCode('ENOSPC', () =>
        dma.mapSingle(new Uint8Array(8 * PAGE), 'to-device', DMA_ATTR.REQUIRE_COHERENT),
      );
    }
  });

  it('copies nothing when REQUIRE_COHERENT is given', () => {
    const { dma } = world();
    const memory = new Uint8Array(2 * PAGE);
    expect(dma.mapSingle(memory, 'to-device', DMA_ATTR.REQUIRE_COHERENT).way).toBe('pinned');
    for (const view of [memory.subarray(1), memory.subarray(0, 100), memory.subarray(0, PAGE + 1)]) {
      expectCode('EPERM', () => dma.mapSingle(view, 'to-device', DMA_ATTR.REQUIRE_COHERENT));
    }
    const bouncing = world({}, { pinsForeignMemory: false }).dma;
    expectCode('EPERM', () => bouncing.mapSingle(memory, 'to-device', DMA_ATTR.REQUIRE_COHERENT));
  });

  it('survives the loss of its buffer', () => {
    const { dma, space } = world(pinning);
    const memory = pattern(3 * PAGE);
    const mapping = dma.mapSingle(memory.subarray(1), 'bidirectional');
    const { mappings } = space.stats;
    detach(memory.buffer);
    expectCode('EINVAL', () => mapping.syncForCpu());
    expectCode('EINVAL', () => mapping.syncForDevice());
    expectCode('EINVAL', () => mapping.unmap());
    expect(mapping.mapped).toBe(false);
    expect(dma.bounceStats.usedSlots).toBe(0);
    expect(space.stats.mappings).toBeLessThan(mappings);
  });
});

describe('what cannot be mapped', () => {
  const resizable = new (ArrayBuffer as new (size: number, options: object) => ArrayBuffer)(8, {
    maxByteLength: 16,
  });
  const gone = new Uint8Array(8);
  const goneView = new DataView(gone.buffer);
  detach(gone.buffer);

  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['a number', 4096],
    ['a buffer', new ArrayBuffer(8)],
    ['an object', { buffer: new ArrayBuffer(8), byteOffset: 0, byteLength: 8 }],
    ['an empty view', new Uint8Array(0)],
    ['an empty DataView', new DataView(new ArrayBuffer(8), 8)],
    ['a view of resizable memory', new Uint8Array(resizable)],
    ['a view of shared memory', new Uint8Array(new SharedArrayBuffer(8))],
    ['a view of a detached buffer', gone],
    ['a DataView of a detached buffer', goneView],
  ])('is refused, and nothing has changed: %s', (_, view) => {
    for (const options of [{}, pinning, { bounce: { force: true } }]) {
      const { dma, space } = world(options);
      expectCode('EINVAL', () => dma.mapSingle(view as Uint8Array, 'to-device'));
      expect(dma.bounceStats.maps).toBe(0);
      expect(space.stats.mappings).toBe(0);
    }
  });

  it.each([undefined, null, 'none', 'TO-DEVICE', 1, ''])('is anything in direction %j', (direction) => {
    const { dma } = world();
    const ring = dma.allocCoherent(8);
    expectCode('EINVAL', () => dma.mapSingle(ring.bytes, direction as DmaDirection));
    expectCode('EINVAL', () => dma.mapSingle(new Uint8Array(8), direction as DmaDirection));
    expectCode('EINVAL', () => dma.allocNoncoherent(8, direction as DmaDirection));
  });

  it.each([1, 8, 1 << 13, 1 << 20, -1, 2 ** 31, 2 ** 40, 0.5, Number.NaN, DMA_ATTR.MMIO])(
    'is anything with attributes %d',
    (attributes) => {
      expectCode('EINVAL', () => world().dma.mapSingle(new Uint8Array(8), 'to-device', attributes));
    },
  );

  it('is told of bits that the kernel removed, and only of those', () => {
    const removed = /bits 0 and 3 were removed from the kernel; combine members of DMA_ATTR/;
    const map = (attributes: number) => () =>
      world().dma.mapSingle(new Uint8Array(8), 'to-device', attributes);
    for (const attributes of [1, 8, 9, 8 | DMA_ATTR.NO_WARN]) expect(map(attributes)).toThrow(removed);
    for (const attributes of [1 << 13, 2 ** 40, 0.5, Number.NaN]) {
      expect(map(attributes)).toThrow(/; combine members of DMA_ATTR/);
      expect(map(attributes)).not.toThrow(removed);
    }
  });

  it('is nothing with attributes that do not concern memory that exists', () => {
    const { WEAK_ORDERING, WRITE_COMBINE, NO_KERNEL_MAPPING, FORCE_CONTIGUOUS } = DMA_ATTR;
    const { ALLOC_SINGLE_PAGES, NO_WARN, PRIVILEGED, DEBUGGING_IGNORE_CACHELINES } = DMA_ATTR;
    const harmless = WEAK_ORDERING | WRITE_COMBINE | NO_KERNEL_MAPPING | FORCE_CONTIGUOUS;
    const more = ALLOC_SINGLE_PAGES | NO_WARN | PRIVILEGED | DEBUGGING_IGNORE_CACHELINES;
    const { dma } = world();
    dma.mapSingle(new Uint8Array(8), 'to-device', harmless | more).unmap();
  });
});

describe('a mapping', () => {
  const views: [string, ArrayBufferView][] = [
    ['Uint8Array', pattern(256)],
    ['Uint8ClampedArray', new Uint8ClampedArray(pattern(256).buffer)],
    ['Float64Array', new Float64Array(pattern(256).buffer)],
    ['BigInt64Array', new BigInt64Array(pattern(256).buffer, 8, 3)],
    ['DataView', new DataView(pattern(256).buffer, 5, 77)],
    ['Buffer', Buffer.from(pattern(256))],
    ['Buffer of the slab', Buffer.from('payload')],
  ];

  it.each(views)('moves the bytes of a %s both ways', (_, view) => {
    const { dma, space, deviceReads } = world();
    const bytes = new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength);
    const mapping = dma.mapSingle(view, 'bidirectional');
    expectBytes(deviceReads(mapping.dmaAddress, bytes.length), bytes);
    const answer = pattern(bytes.length, 9);
    space.write(mapping.dmaAddress, answer);
    mapping.unmap();
    expectBytes(bytes, answer);
  });

  it('splits its address', () => {
    const { dma } = world({}, { ranges: [{ start: 2 ** 40 - 2 ** 24, end: 2 ** 40 - 1 }] });
    dma.setMask(dmaBitMask(64));
    for (const mapping of [
      dma.mapSingle(new Uint8Array(8), 'to-device'),
      dma.mapSingle(new Uint8Array(65_536), 'to-device'),
    ]) {
      expect(BigInt(mapping.high) * 2n ** 32n + BigInt(mapping.low)).toBe(mapping.dmaAddress);
      expect(mapping.high).toBe(0xff);
    }
  });

  const uses: [string, (mapping: StreamingMapping) => unknown][] = [
    ['unmap', (mapping) => mapping.unmap()],
    ['syncForCpu', (mapping) => mapping.syncForCpu()],
    ['syncForDevice', (mapping) => mapping.syncForDevice(0, 1)],
    ['dmaAddress', (mapping) => mapping.dmaAddress],
    ['low', (mapping) => mapping.low],
    ['high', (mapping) => mapping.high],
    ['needSync', (mapping) => mapping.needSync],
  ];

  it.each(uses)('refuses %s once unmapped, on every way', (_, use) => {
    const { dma } = world();
    for (const view of [dma.allocCoherent(64).bytes, new Uint8Array(64), new Uint8Array(65_536)]) {
      const mapping = dma.mapSingle(view, 'to-device');
      void mapping.dmaAddress;
      mapping.unmap();
      expectCode('EINVAL', () => use(mapping));
      mapping[Symbol.dispose]();
    }
  });

  it('catches a second unmap while a thousand others come and go', () => {
    const { dma } = world();
    const view = new Uint8Array(8);
    for (let i = 0; i < 5000; i++) dma.mapSingle(view, 'to-device').unmap();
    const stale = dma.mapSingle(view, 'to-device');
    stale.unmap();
    for (let i = 0; i < 1000; i++) {
      const mapping = dma.mapSingle(view, 'to-device');
      expect(mapping).not.toBe(stale);
      mapping.unmap();
    }
    expectCode('EINVAL', () => stale.unmap());
  });

  it('is a new one when its handle comes back', () => {
    const { dma, deviceReads } = world();
    const ring = dma.allocCoherent(PAGE);
    for (let i = 0; i < 3000; i++) {
      const own = dma.mapSingle(ring.bytes.subarray(i), 'to-device');
      expect(own.dmaAddress).toBe(ring.dmaAddress + BigInt(i));
      own.unmap();
      const source = new Uint8Array(16).fill(i);
      const mapping = dma.mapSingle(source, 'to-device');
      source.fill(i + 1);
      mapping.syncForDevice(4, 8);
      expect(deviceReads(mapping.dmaAddress, 16)[5]).toBe((i + 1) & 0xff);
      mapping.unmap();
    }
  });

  it('has a handle of its own while it lives, however many there are', () => {
    const { dma } = world();
    const { bytes } = dma.allocCoherent(64);
    const handles = new Set<StreamingMapping>();
    for (let round = 0; round < 3; round++) {
      const live = Array.from({ length: 5000 }, () => dma.mapSingle(bytes, 'to-device'));
      expect(new Set(live).size).toBe(5000);
      for (const mapping of live) handles.add(mapping);
      for (const mapping of live.reverse()) mapping.unmap();
    }
  });

  it.each([
    [-1, 1],
    [65, 0],
    [-1, 0],
    [0, -1],
    [0, 65],
    [64, 1],
    [65, undefined],
    [1, 64],
    [0.5, 1],
    [0, Number.NaN],
    [2 ** 32, 1],
    [0, 2 ** 32],
    [Number.NaN, undefined],
    ['0' as unknown as number, 1],
  ])('refuses to sync %s + %s of 64 bytes', (offset, size) => {
    const { dma } = world();
    for (const view of [dma.allocCoherent(64).bytes, new Uint8Array(64)]) {
      const mapping = dma.mapSingle(view, 'bidirectional');
      expectCode('EINVAL', () => mapping.syncForCpu(offset, size));
      expectCode('EINVAL', () => mapping.syncForDevice(offset, size));
      mapping.unmap();
    }
  });

  it('is released by using', () => {
    const { dma } = world({ bounce: { force: true } });
    {
      using mapping = dma.mapSingle(new Uint8Array(8), 'to-device');
      expect(mapping.mapped).toBe(true);
    }
    expect(dma.bounceStats.usedSlots).toBe(0);
  });

  it('is found by close, whatever was unmapped in between', () => {
    const { dma } = world();
    const { bytes } = dma.allocCoherent(64);
    const all = Array.from({ length: 100 }, () => dma.mapSingle(bytes, 'to-device'));
    const live = all.filter((mapping, i) => {
      if (i % 3 === 1 || i === 0 || i === 99) mapping.unmap();
      return mapping.mapped;
    });
    for (const mapping of live.splice(10, 20)) mapping.unmap();
    expect(live).toHaveLength(45);
    live.push(dma.mapSingle(bytes, 'to-device'));
    dma.close();
    expect(live.filter((mapping) => mapping.mapped)).toEqual([]);
  });

  it('ends with the device, without a copy', () => {
    const { dma, space } = world();
    const memory = pattern(64);
    const mappings = [
      dma.mapSingle(memory, 'from-device'),
      dma.mapSingle(new Uint8Array(65_536), 'from-device'),
      dma.mapSingle(dma.allocCoherent(8).bytes, 'from-device'),
    ];
    space.write(mappings[0]!.dmaAddress, new Uint8Array(64));
    dma.close();
    for (const mapping of mappings) {
      expect(mapping.mapped).toBe(false);
      expectCode('EINVAL', () => mapping.unmap());
      expectCode('EINVAL', () => mapping.dmaAddress);
      mapping[Symbol.dispose]();
    }
    expectBytes(memory, pattern(64));
    expectCode('ENODEV', () => dma.mapSingle(memory, 'to-device'));
    expectCode('ENODEV', () => dma.allocNoncoherent(8, 'to-device'));
    dma.close();
  });
});

describe('noncoherent memory', () => {
  it('is zeroed, addressed, and the device’s for one direction', () => {
    const { dma, space, deviceReads } = world();
    const buffer = dma.allocNoncoherent(5000, 'from-device');
    expect(buffer).toMatchObject({ size: 5000, direction: 'from-device', freed: false });
    expectBytes(buffer.bytes, new Uint8Array(5000));
    expect(dma.addressOf(buffer.bytes)).toBe(buffer.dmaAddress);
    expect(BigInt(buffer.high) * 2n ** 32n + BigInt(buffer.low)).toBe(buffer.dmaAddress);
    space.write(buffer.dmaAddress, Uint8Array.of(1, 2, 3));
    buffer.syncForCpu();
    expect([...buffer.bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
    expectBytes(deviceReads(buffer.dmaAddress, 3), new Uint8Array(3));
    expectCode('EINVAL', () => buffer.syncForDevice(4999, 2));
    buffer.free();
    expect(buffer.bytes.length).toBe(0);
    expectCode('EINVAL', () => buffer.free());
    expectCode('EINVAL', () => buffer.dmaAddress);
    expectCode('EINVAL', () => buffer.syncForCpu());
    buffer[Symbol.dispose]();
  });
});

describe('a device that is not coherent', () => {
  function recording(): { cache: CacheMaintenance; calls: string[] } {
    const calls: string[] = [];
    const record =
      (name: string): CacheMaintenance['syncForCpu'] =>
      (_, offset, size, direction) =>
        void calls.push(`${name} ${offset}+${size} ${direction}`);
    return { cache: { lineSize: 64, syncForCpu: record('cpu'), syncForDevice: record('device') }, calls };
  }

  it('has its own memory maintained, but never coherent memory', () => {
    const { cache, calls } = recording();
    const { dma } = world({ cache });
    expect(dma.limits.cacheAlignment).toBe(64);
    const coherent = dma.mapSingle(dma.allocCoherent(64).bytes, 'bidirectional');
    expect(coherent.needSync).toBe(false);
    coherent.syncForCpu();
    coherent.syncForDevice();
    coherent.unmap();
    expect(calls).toEqual([]);
    const { bytes } = dma.allocNoncoherent(256, 'bidirectional');
    const mapping = dma.mapSingle(bytes.subarray(128), 'from-device');
    expect(mapping).toMatchObject({ way: 'arithmetic', needSync: true });
    mapping.syncForCpu(1, 2);
    mapping.syncForDevice(3, 4);
    mapping.unmap();
    expect(calls.splice(0)).toEqual([
      'device 128+128 from-device',
      'cpu 129+2 from-device',
      'device 131+4 from-device',
      'cpu 128+128 from-device',
    ]);
    dma.mapSingle(bytes, 'to-device', DMA_ATTR.SKIP_CPU_SYNC).unmap();
    expect(calls).toEqual([]);
    expectCode('EPERM', () => dma.mapSingle(bytes, 'to-device', DMA_ATTR.REQUIRE_COHERENT));
  });

  it('has bounce slots maintained after the copy in and before the copy out', () => {
    const { cache, calls } = recording();
    const { dma } = world({ cache });
    const source = new Uint8Array(2048);
    const mapping = dma.mapSingle(source, 'bidirectional');
    const at = mapping.low % 2 ** 21;
    mapping.syncForCpu(8, 16);
    mapping.syncForDevice(32, 8);
    mapping.unmap();
    expect(calls.splice(0)).toEqual([
      `device ${at}+2048 bidirectional`,
      `cpu ${at + 8}+16 bidirectional`,
      `device ${at + 32}+8 bidirectional`,
      `cpu ${at}+2048 bidirectional`,
    ]);
    dma.mapSingle(source, 'to-device', DMA_ATTR.SKIP_CPU_SYNC).unmap();
    expect(calls).toEqual([]);
  });
});
