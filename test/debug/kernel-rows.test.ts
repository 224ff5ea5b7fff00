/**
 * The 26 mistakes that the kernel's dma-debug knows (kernel/dma/debug.c), in the order of docs/dma-debug.md: each is
 * reported, or always refused, or cannot be written. What cannot be written is shown to the compiler: a line that it
 * would accept fails the build.
 */
import { DMA_ATTR, type DmaDevice, DmaError, dmaBitMask, type PciFunction } from '../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { kinds, onlyReport, startsHere, worlds } from './worlds.ts';

const HERE = import.meta.url;

function detached(): Uint8Array {
  const bytes = new Uint8Array(64);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

const invalid = { code: 'EINVAL' };

for (const world of worlds) {
  describe(`rows of the kernel's dma-debug, ${world.name}`, () => {
    let fn: PciFunction;
    let dma: DmaDevice;

    beforeEach(async () => {
      fn = await world.open();
      dma = fn.dma;
    });

    afterEach(() => fn.close());

    it('row 1, memory from an invalid area: there is memory behind every view but a detached one, which is refused', () => {
      // @ts-expect-error an address is no memory
      assert.throws(() => dma.mapSingle(0x1000, 'to-device'), invalid);
      assert.throws(() => dma.mapSingle(detached(), 'to-device'), invalid);
      assert.throws(() => dma.mapSg([Buffer.alloc(8), detached()], 'to-device'), invalid);
      assert.equal(dma.debug!.entries.used, 0);
    });

    it('row 2, memory that may move: resizable and shared buffers are refused', () => {
      const Resizable = ArrayBuffer as unknown as new (size: number, options: object) => ArrayBuffer;
      const resizable = new Uint8Array(new Resizable(64, { maxByteLength: 128 }));
      assert.throws(() => dma.mapSingle(resizable, 'to-device'), invalid);
      assert.throws(() => dma.mapSingle(new Uint8Array(new SharedArrayBuffer(64)), 'to-device'), invalid);
      assert.equal(dma.debug!.entries.used, 0);
    });

    it("row 3, memory from the stack: what lives in V8's heap is copied, never lent in place", () => {
      const mapping = dma.mapSingle(Uint8Array.of(1, 2, 3), 'bidirectional');
      assert.equal(mapping.way, 'bounced');
      mapping.unmap();
      assert.deepEqual(kinds(dma), []);
    });

    it('row 4, read-only memory: what the device may only read is copied when it is to be written', () => {
      const buffer = dma.allocNoncoherent(4096, 'to-device');
      const mapping = dma.mapSingle(buffer.bytes, 'from-device');
      assert.equal(mapping.way, 'bounced');
      mapping.unmap();
      buffer.free();
      assert.deepEqual(kinds(dma), []);
    });

    it('row 5, a segment longer than the device claims to support: segment-too-long', () => {
      dma.limits.maxSegmentSize = 1024;
      const list = dma.mapSg([Buffer.alloc(1000), Buffer.alloc(1025)], 'to-device');
      const { kind, size, mistakeAt, type } = onlyReport(dma);
      assert.deepEqual([kind, size, type], ['segment-too-long', 2025, 'scatter-gather']);
      startsHere(mistakeAt, HERE);
      list.unmap();
    });

    it('row 6, a segment that crosses the boundary: segment-crosses-boundary', () => {
      const buffer = dma.allocCoherent(8192);
      dma.limits.segmentBoundary = 0xfff;
      const list = dma.mapSg([buffer.bytes.subarray(4000, 4200)], 'to-device');
      const { kind, mistakeAt } = onlyReport(dma);
      assert.equal(kind, 'segment-crosses-boundary');
      startsHere(mistakeAt, HERE);
      list.unmap();
      buffer.free();
    });

    it('row 7, overlapping mappings that the device may write: overlapping-mappings', () => {
      const memory = Buffer.alloc(4096);
      const first = dma.mapSingle(memory.subarray(0, 1000), 'from-device');
      const reading = dma.mapSingle(memory, 'to-device');
      const beside = dma.mapSingle(memory.subarray(1000), 'from-device');
      assert.deepEqual(kinds(dma), []);
      const second = dma.mapSingle(memory.subarray(999, 1000), 'bidirectional');
      const { kind, mappedAt, mistakeAt, size } = onlyReport(dma);
      assert.deepEqual([kind, size], ['overlapping-mappings', 1000]);
      startsHere(mappedAt, HERE);
      startsHere(mistakeAt, HERE);
      for (const mapping of [first, reading, beside, second]) mapping.unmap();
    });

    it('row 8, more than 7 overlaps: too-many-overlaps, once', () => {
      const { bytes } = dma.allocCoherent(64);
      const mappings = Array.from({ length: 8 }, () => dma.mapSingle(bytes, 'from-device'));
      assert.ok(!kinds(dma).includes('too-many-overlaps'));
      mappings.push(dma.mapSingle(bytes, 'from-device'), dma.mapSingle(bytes, 'from-device'));
      assert.equal(kinds(dma).filter((kind) => kind === 'too-many-overlaps').length, 1);
      for (const mapping of mappings) mapping.unmap();
    });

    it('row 9, freeing what was never mapped: a failed map throws and leaves no handle', () => {
      let mapping: unknown;
      assert.throws(() => {
        mapping = dma.mapSingle(new Uint8Array(0), 'to-device');
      }, DmaError);
      assert.equal(mapping, undefined);
      // @ts-expect-error there is no way to unmap an address
      assert.equal(dma.unmapSingle, undefined);
    });

    it('row 10, freeing what is free: released-twice', () => {
      const coherent = dma.allocCoherent(64);
      const noncoherent = dma.allocNoncoherent(64, 'to-device');
      const mapping = dma.mapSingle(coherent.bytes, 'to-device');
      const list = dma.mapSg([coherent.bytes, Buffer.alloc(8)], 'to-device');
      const iova = dma.reserveIova(4096);
      const pool = dma.createPool('blocks', { size: 64 });
      const block = pool.alloc()!;
      const gone = [
        () => mapping.unmap(),
        () => list.unmap(),
        () => block.free(),
        ...(iova === null ? [] : [() => iova.free()]),
        () => coherent.free(),
        () => noncoherent.free(),
      ];
      for (const release of gone) release();
      for (const release of gone) {
        dma.debug!.clear();
        assert.throws(release, invalid);
        const { kind, mappedAt, releasedAt, mistakeAt } = onlyReport(dma);
        assert.equal(kind, 'released-twice');
        startsHere(mappedAt, HERE);
        startsHere(releasedAt, HERE);
        startsHere(mistakeAt, HERE);
      }
      pool.destroy();
    });

    it('rows 11, 14, 15, another size, count or direction at unmap: the handle knows them', () => {
      const mapping = dma.mapSingle(Buffer.alloc(64), 'to-device');
      // A number is attributes, not a size.
      assert.throws(() => mapping.unmap(64), { code: 'EINVAL' });
      mapping.unmap();
      const list = dma.mapSg([Buffer.alloc(64), Buffer.alloc(64)], 'to-device');
      // Nor is it a count.
      assert.throws(() => list.unmap(1), { code: 'EINVAL' });
      list.unmap();
      const other = dma.mapSingle(Buffer.alloc(64), 'to-device');
      // @ts-expect-error no direction
      assert.throws(() => other.unmap('from-device'), { code: 'EINVAL' });
      other.unmap();
      assert.equal(dma.debug!.entries.used, 0);
      assert.deepEqual(kinds(dma), []);
    });

    it('row 12, the wrong function: a handle has no other; what is not a block of the pool is refused', () => {
      const pool = dma.createPool('blocks', { size: 64 });
      const mapping = dma.mapSingle(Buffer.alloc(64), 'to-device');
      // @ts-expect-error a mapping is no block
      assert.throws(() => pool.free(mapping), invalid);
      assert.deepEqual(kinds(dma), ['released-twice']);
      // @ts-expect-error a mapping is unmapped
      assert.equal(mapping.free, undefined);
      mapping.unmap();
      pool.destroy();
    });

    it('row 13, another CPU address at free: the buffer is the address', () => {
      const first = dma.allocCoherent(64);
      const second = dma.allocCoherent(64);
      // @ts-expect-error no address
      first.free(second.bytes);
      assert.deepEqual([first.freed, second.freed], [true, false]);
      second.free();
      assert.deepEqual(kinds(dma), []);
    });

    it('row 16, the error of a mapping that was not checked: it is thrown', () => {
      dma.setMask(dmaBitMask(24));
      const huge = new Uint8Array(2 ** 25);
      assert.throws(() => dma.mapSingle(huge, 'to-device'), { code: 'ENOMEM' });
      assert.throws(() => dma.mapSg([huge], 'to-device'), { code: 'ENOMEM' });
      assert.equal(dma.debug!.entries.used, 0);
    });

    it('row 17, a sync of what is not mapped: used-after-release', () => {
      const mapping = dma.mapSingle(Buffer.alloc(64), 'bidirectional');
      const list = dma.mapSg([Buffer.alloc(64)], 'bidirectional');
      const buffer = dma.allocNoncoherent(64, 'bidirectional');
      mapping.unmap();
      list.unmap();
      buffer.free();
      for (const handle of [mapping, list, buffer]) {
        for (const sync of [() => handle.syncForCpu(), () => handle.syncForDevice()]) {
          dma.debug!.clear();
          assert.throws(sync, invalid);
          const { kind, releasedAt, mistakeAt } = onlyReport(dma);
          assert.equal(kind, 'used-after-release');
          startsHere(releasedAt, HERE);
          startsHere(mistakeAt, HERE);
        }
      }
    });

    it('row 18, a sync outside what is mapped: sync-out-of-range', () => {
      const mapping = dma.mapSingle(Buffer.alloc(64), 'bidirectional');
      const buffer = dma.allocNoncoherent(64, 'bidirectional');
      for (const handle of [mapping, buffer]) {
        for (const sync of [() => handle.syncForCpu(60, 5), () => handle.syncForDevice(64, 1)]) {
          dma.debug!.clear();
          assert.throws(sync, invalid);
          const { kind, mappedAt, size, releasedAt } = onlyReport(dma);
          assert.deepEqual([kind, size, releasedAt], ['sync-out-of-range', 64, undefined]);
          startsHere(mappedAt, HERE);
        }
      }
      mapping.unmap();
      buffer.free();
    });

    it('rows 19 to 22, another direction or count at a sync: the handle knows them', () => {
      const out = dma.mapSingle(Buffer.alloc(64), 'to-device');
      const back = dma.mapSingle(Buffer.alloc(64), 'from-device');
      const list = dma.mapSg([Buffer.alloc(64), Buffer.alloc(64)], 'to-device');
      // Row 19, row 20: what the device only reads, row 21: what the device only writes.
      assert.throws(() => out.syncForCpu(0, 64, 'bidirectional'), { code: 'EINVAL' });
      assert.throws(() => out.syncForCpu(0, 64, 'from-device'), { code: 'EINVAL' });
      assert.throws(() => back.syncForDevice(0, 64, 'to-device'), { code: 'EINVAL' });
      // @ts-expect-error always the whole list (row 22)
      assert.throws(() => list.syncForDevice(1), { code: 'EINVAL' });
      for (const handle of [out, back, list]) handle.unmap();
      assert.deepEqual(kinds(dma), []);
    });

    it('row 23, what is left when the driver goes: pending-at-close, once for each place', () => {
      for (let i = 0; i < 3; i++) dma.mapSingle(Buffer.alloc(64), 'to-device');
      dma.allocCoherent(4096);
      dma.mapSingle(Buffer.alloc(64), 'to-device').unmap();
      fn.close();
      const { reports } = dma.debug!;
      assert.deepEqual(
        reports.map(({ kind, type }) => `${kind} ${type}`),
        ['pending-at-close single', 'pending-at-close coherent'],
      );
      assert.match(reports[0]!.message, /3 mappings, 192 bytes in all/);
      assert.match(reports[1]!.message, /1 coherent buffer of 4096 bytes/);
      for (const { mappedAt } of reports) startsHere(mappedAt, HERE);
    });

    it('row 25, other attributes: one that the mapping does not have is refused', () => {
      const mapping = dma.mapSingle(Buffer.alloc(64), 'to-device');
      assert.throws(() => mapping.unmap(DMA_ATTR.REQUIRE_COHERENT), invalid);
      mapping.unmap(DMA_ATTR.SKIP_CPU_SYNC);
      const list = dma.mapSg([Buffer.alloc(64)], 'to-device');
      assert.throws(() => list.unmap(DMA_ATTR.PRIVILEGED), invalid);
      list.unmap(DMA_ATTR.SKIP_CPU_SYNC);
      assert.deepEqual(kinds(dma), []);
    });

    it('row 26, memory as registers: only a BAR can be mapped', () => {
      // @ts-expect-error memory is no BAR
      assert.throws(() => dma.mapResource(Buffer.alloc(4096), 0, 4096, 'to-device'), invalid);
    });
  });

  describe(`out of entries, ${world.name}`, () => {
    it('row 24: out-of-entries, and tracking ends for good', async () => {
      const fn = await world.open({ entries: 2 });
      const { dma } = fn;
      const mappings = Array.from({ length: 4 }, () => dma.mapSingle(Buffer.alloc(64), 'to-device'));
      assert.equal(onlyReport(dma).kind, 'out-of-entries');
      assert.equal(dma.debug!.disabled, true);
      for (const mapping of mappings) mapping.unmap();
      assert.throws(() => mappings[0]!.unmap(), invalid);
      dma.allocCoherent(64);
      fn.close();
      assert.deepEqual(kinds(dma), ['out-of-entries']);
      assert.deepEqual(dma.debug!.dump(), []);
    });
  });
}
