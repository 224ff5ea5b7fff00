/** Bad input, one by one: a coded error with a remedy, and the device as it was. */
import { DMA_ATTR, type DmaDirection, type StreamingMapping } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { detach, PAGE, pattern, refused, sameBytes } from './bytes.ts';
import { COPYBREAK, isNarrow, worlds } from './worlds.ts';

type Resizable = ArrayBuffer & { resize(size: number): void };

function resizable(size: number): Resizable {
  const Constructor = ArrayBuffer as unknown as new (size: number, options: object) => Resizable;
  return new Constructor(size, { maxByteLength: 4 * size });
}

function detachedView(size: number): Uint8Array {
  const view = new Uint8Array(size);
  detach(view);
  return view;
}

const noDirections = ['none', '', 'TO_DEVICE', 0, 1, undefined, null, {}];
/** Removed from the kernel, beyond what it has, for registers only, or no numbers. */
const noAttributes = [1, 8, 1 << 13, 1 << 31, -1, 1.5, Number.NaN, 2 ** 40, DMA_ATTR.MMIO, '32', null];
const noViews = (): [string, unknown][] => [
  ['empty', new Uint8Array(0)],
  ['an empty end', new Uint8Array(8).subarray(8)],
  ['detached', detachedView(16)],
  ['detached, a DataView', detachedDataView()],
  ['resizable', new Uint8Array(resizable(64))],
  ['length-tracking', new Uint32Array(resizable(64))],
  ['shared', new Uint8Array(new SharedArrayBuffer(64))],
  ['a buffer', new ArrayBuffer(64)],
  ['an array', [1, 2, 3]],
  ['a string', 'bytes'],
  ['nothing', undefined],
  ['null', null],
  ['what looks like a view', { buffer: new ArrayBuffer(8), byteOffset: 0, byteLength: 8, length: 8 }],
];

function detachedDataView(): DataView {
  const view = new DataView(new ArrayBuffer(16));
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
  return view;
}

/** [offset, size] outside of a mapping of 1,000 bytes. */
const OUTSIDE: readonly (readonly [unknown, unknown])[] = [
  [0, 1001],
  [1, 1000],
  [1000, 1],
  [999, 2],
  [-1, 2],
  [1001, 0],
  [0, -1],
  [0.5, 1],
  [0, 1.5],
  [Number.NaN, 1],
  [0, Number.NaN],
  [2 ** 31, 1],
  [2 ** 53, 1],
  [0, Number.POSITIVE_INFINITY],
  ['0', 1],
  [0, '1'],
];

for (const world of worlds) {
  describe(`refusals: ${world.name}`, () => {
    it('mapSingle: views, directions, attributes', async () => {
      using open = await world.open();
      const { dma } = open;
      const own = dma.allocCoherent(1000).bytes;
      for (const [what, view] of noViews()) {
        refused(dma, 'EINVAL', what, () => dma.mapSingle(view as Uint8Array, 'to-device'));
      }
      for (const bytes of [own, new Uint8Array(1000), new Uint8Array(2 * COPYBREAK)]) {
        for (const direction of noDirections) {
          refused(dma, 'EINVAL', String(direction), () => dma.mapSingle(bytes, direction as DmaDirection));
        }
        for (const attributes of noAttributes) {
          const map = () => dma.mapSingle(bytes, 'to-device', attributes as number);
          refused(dma, 'EINVAL', `attributes ${String(attributes)}`, map);
        }
      }
      const freed = dma.allocCoherent(100);
      const { bytes } = freed;
      freed.free();
      refused(dma, 'EINVAL', 'freed', () => dma.mapSingle(bytes, 'to-device'));
      refused(dma, 'EINVAL', 'freed', () => dma.addressOf(bytes));
      refused(dma, 'EINVAL', 'foreign', () => dma.addressOf(new Uint8Array(8)));
      refused(dma, 'EINVAL', 'second free', () => freed.free());
    });

    it('allocations: sizes and directions', async () => {
      using open = await world.open();
      const { dma } = open;
      for (const size of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '1', undefined, null]) {
        refused(dma, 'EINVAL', String(size), () => dma.allocCoherent(size as number));
        refused(dma, 'EINVAL', String(size), () => dma.allocNoncoherent(size as number, 'to-device'));
      }
      refused(dma, 'ENOMEM', 'too much', () => dma.allocCoherent(2 ** 45));
      refused(dma, 'ENOMEM', 'too much', () => dma.allocNoncoherent(2 ** 45, 'to-device'));
      for (const direction of noDirections) {
        refused(dma, 'EINVAL', String(direction), () =>
          dma.allocNoncoherent(PAGE, direction as DmaDirection),
        );
      }
      const buffer = dma.allocNoncoherent(1000, 'bidirectional');
      for (const [offset, size] of OUTSIDE) {
        refused(dma, 'EINVAL', `${offset}+${size}`, () =>
          buffer.syncForCpu(offset as number, size as number),
        );
        refused(dma, 'EINVAL', `${offset}+${size}`, () =>
          buffer.syncForDevice(offset as number, size as number),
        );
      }
    });

    it('syncs outside a mapping, and everything after unmap', async () => {
      using open = await world.open();
      const { dma } = open;
      const buffer = pattern(3000, 1);
      const before = Uint8Array.from(buffer);
      for (const bytes of [dma.allocCoherent(1000).bytes, buffer.subarray(1000, 2000)]) {
        const mapping = dma.mapSingle(bytes, 'bidirectional');
        for (const [offset, size] of OUTSIDE) {
          const what = `${offset}+${size}`;
          refused(dma, 'EINVAL', what, () => mapping.syncForCpu(offset as number, size as number));
          refused(dma, 'EINVAL', what, () => mapping.syncForDevice(offset as number, size as number));
        }
        mapping.unmap();
        const uses: (() => unknown)[] = [
          () => mapping.unmap(),
          () => mapping.syncForCpu(),
          () => mapping.syncForDevice(),
          () => mapping.dmaAddress,
          () => mapping.low,
          () => mapping.high,
          () => mapping.needSync,
          () => dma.needSync(mapping),
        ];
        for (const use of uses) refused(dma, 'EINVAL', String(use), use);
        mapping[Symbol.dispose]();
        assert.equal(mapping.mapped, false);
      }
      sameBytes(buffer, before, 'the buffer');
      const list = dma.mapSg([buffer.subarray(0, 10), buffer.subarray(20, 30)], 'bidirectional');
      const [segment] = list.segments;
      list.unmap();
      for (const use of [
        () => list.unmap(),
        () => list.syncForCpu(),
        () => list.syncForDevice(),
        () => list.segments,
        () => list.needSync,
        () => segment!.dmaAddress,
        () => segment!.length,
      ]) {
        refused(dma, 'EINVAL', String(use), use);
      }
    });

    it('a handle that is used again is not the one that was unmapped before', async () => {
      using open = await world.open();
      const bytes = new Uint8Array(100);
      const first = open.dma.mapSingle(bytes, 'to-device');
      first.unmap();
      for (let i = 0; i < 1000; i++) {
        const next = open.dma.mapSingle(bytes, 'to-device');
        assert.notEqual(next, first);
        next.unmap();
        assert.throws(() => first.unmap(), { code: 'EINVAL' });
      }
    });

    it('REQUIRE_COHERENT: EPERM where a copy or a sync would be needed', async () => {
      using open = await world.open();
      const { dma } = open;
      const { REQUIRE_COHERENT } = DMA_ATTR;
      const own = dma.allocCoherent(PAGE).bytes;
      const map = (bytes: Uint8Array) => () => dma.mapSingle(bytes, 'to-device', REQUIRE_COHERENT);
      refused(dma, 'EPERM', 'foreign', map(new Uint8Array(100)));
      const copied = world.forced || (isNarrow(world) && !world.translated);
      if (!world.coherent || copied) {
        refused(dma, 'EPERM', 'own', map(own));
      } else {
        const mapping = map(own)();
        // Out of reach where it is, an IOMMU gives it another address.
        assert.equal(mapping.way, isNarrow(world) ? 'pinned' : 'arithmetic');
        assert.equal(mapping.needSync, false);
        mapping.unmap();
      }
    });

    it('a full bounce buffer says so, and works again when there is room', async () => {
      using open = await world.open();
      const { dma } = open;
      const { totalSlots } = dma.bounceStats;
      const held: StreamingMapping[] = [];
      const piece = dma.allocCoherent(16).bytes;
      assert.ok(piece.length > 0);
      const bytes = new Uint8Array(COPYBREAK - 1);
      // Own memory first: the IOMMU of the virtual machine and 1 GiB of it are the limit otherwise.
      const most = world.simulated ? totalSlots : 0;
      for (let used = 0; used < most; used += 16) held.push(dma.mapSingle(bytes, 'to-device'));
      if (most === 0) return;
      assert.equal(dma.bounceStats.usedSlots, totalSlots);
      const { failures, maps } = dma.bounceStats;
      assert.throws(() => dma.mapSingle(new Uint8Array(1), 'to-device'), {
        code: 'ENOMEM',
        message: new RegExp(
          `cannot bounce 1 bytes \\(total ${totalSlots} slots of 2048 bytes, used ${totalSlots}\\)`,
        ),
      });
      assert.throws(() => dma.mapSingle(new Uint8Array(1), 'to-device', DMA_ATTR.NO_WARN), {
        code: 'ENOMEM',
      });
      assert.equal(dma.bounceStats.failures, failures + 2);
      assert.equal(dma.bounceStats.maps, maps);
      assert.throws(() => dma.mapSg([new Uint8Array(10), new Uint8Array(10)], 'to-device'), {
        code: 'ENOMEM',
      });
      held.pop()!.unmap();
      dma.mapSingle(bytes, 'to-device').unmap();
      for (const mapping of held) mapping.unmap();
      assert.equal(dma.bounceStats.usedSlots, 0);
      assert.equal(dma.bounceStats.peakSlots, totalSlots);
    });
  });
}
