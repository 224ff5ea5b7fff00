/** Where an NVMe controller puts data, and takes it from: PRPs and SGLs around page boundaries, lists, segments; see controller.test.ts. */
import type { PciFunction } from '../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { ADMIN, NVM, RawController, type RawQueue } from './raw.ts';
import { Arena, inPages, PAGE, type Piece, pattern } from './raw-data.ts';
import { rawWorlds } from './raw-worlds.ts';

const BLOCK = 512;
const LBA = 40;
const GUARD = 0xcc;
/** Pages of data, in no order. */
const PAGES = [9, 2, 14, 5, 11, 3, 7, 12, 4];
/** Pages of lists and segments. */
const LISTS = [20, 17];
const OFFSETS = [0, 4, 508, 512, 2048, 3584, 4092];
const SIZES = [1, 7, 8, 9, 15, 16, 17, 32, 56].map((blocks) => blocks * BLOCK);
const UNMAPPED = 0x7000_0000n;

/** Pieces that begin and end anywhere, with room between them. */
function anywhere(size: number, lengths: readonly number[]): Piece[] {
  const pieces: Piece[] = [];
  for (let left = size, i = 0, at = 3; left > 0; i++) {
    const length = Math.min(left, lengths[i % lengths.length]!);
    pieces.push({ at, length });
    at += length + 5 + (i % 3);
    left -= length;
  }
  return pieces;
}

for (const world of rawWorlds) {
  describe(`data of an NVMe controller, ${world.name}`, () => {
    let fn: PciFunction;
    let controller: RawController;
    let queue: RawQueue;
    let arena: Arena;

    beforeEach(async () => {
      fn = await world.open();
      controller = await RawController.start(fn);
      queue = await controller.createQueue(1, 8);
      arena = new Arena(fn, 24);
    });

    afterEach(() => fn.close());

    /** Writes to the disk what another read finds. */
    async function writePlain(data: Uint8Array): Promise<void> {
      const plain = new Arena(fn, 1 + data.length / PAGE + 1);
      plain.bytes.set(data);
      assert.equal(
        await queue.status({ opcode: NVM.write, ...command(data.length), ...plainPrps(plain, data.length) }),
        0,
      );
    }

    async function readPlain(size: number): Promise<Uint8Array> {
      const plain = new Arena(fn, 1 + size / PAGE + 1);
      assert.equal(await queue.status({ opcode: NVM.read, ...command(size), ...plainPrps(plain, size) }), 0);
      return plain.bytes.slice(0, size);
    }

    function plainPrps(plain: Arena, size: number) {
      const pages = Array.from({ length: Math.ceil(size / PAGE) }, (_, i) => i);
      return plain.prps(inPages(pages, 0, size), [pages.length * PAGE]);
    }

    function command(size: number) {
      return { nsid: 1, cdw10: LBA, cdw12: size / BLOCK - 1 };
    }

    /** There and back through `pieces`, and nothing beside them changes. */
    async function roundTrip(
      pieces: readonly Piece[],
      size: number,
      pointer: () => object,
      seed: number,
    ): Promise<void> {
      const data = pattern(size, seed);
      await writePlain(data);
      arena.bytes.fill(GUARD);
      const expected = arena.bytes.slice();
      let from = 0;
      for (const { at, length } of pieces) {
        expected.set(data.subarray(from, from + length), at);
        from += length;
      }
      const read = { opcode: NVM.read, ...command(size), ...pointer() };
      // Lists and segments are in the arena too.
      for (const page of LISTS)
        expected.set(arena.bytes.subarray(page * PAGE, (page + 1) * PAGE), page * PAGE);
      assert.equal(await queue.status(read), 0);
      assert.equal(Buffer.compare(arena.bytes, expected), 0);
      const other = pattern(size, seed + 1);
      arena.scatter(pieces, other);
      assert.equal(await queue.status({ ...read, opcode: NVM.write }), 0);
      assert.equal(Buffer.compare(await readPlain(size), other), 0);
      assert.equal(fn.dma.debug?.errorCount ?? 0, 0);
    }

    for (const size of SIZES) {
      it(`${size} bytes by PRPs, at every offset in the first page`, async () => {
        for (const offset of OFFSETS) {
          const pieces = inPages(PAGES, offset, size);
          await roundTrip(pieces, size, () => arena.prps(pieces, [LISTS[0]! * PAGE]), offset + size);
        }
      });

      it(`${size} bytes by an SGL: one block, one segment, many`, async () => {
        const whole = [{ at: 1001, length: size }];
        await roundTrip(whole, size, () => arena.sgl(whole), size);
        const pieces = anywhere(size, [1, 511, 4096, 3, 700]);
        // QEMU 7.2 forgets what led to a segment when it reads the next of the same size: it refuses three in a row.
        const chains = world.simulated ? [3, 2, 1] : [];
        for (const each of [100, Math.ceil(pieces.length / 2), ...chains]) {
          await roundTrip(pieces, size, () => arena.sgl(pieces, each, LISTS[1]! * PAGE + 8), size + each);
        }
      });
    }

    it('by a list that begins anywhere in its page and goes on at the start of another', async () => {
      const size = 56 * BLOCK;
      const pieces = inPages(PAGES, 512, size);
      for (const first of [PAGE - 64, PAGE - 56, PAGE - 24, PAGE - 16, PAGE - 8]) {
        const lists = [LISTS[0]! * PAGE + first, LISTS[1]! * PAGE];
        await roundTrip(pieces, size, () => arena.prps(pieces, lists), first);
      }
    });

    it('of the largest command: 512 KiB and no more', async () => {
      const size = 1024 * BLOCK;
      const large = new Arena(fn, 131);
      const pages = Array.from({ length: 128 }, (_, i) => 127 - i);
      const pieces = inPages(pages, 0, size);
      const data = pattern(size, 5);
      large.scatter(pieces, data);
      const write = { opcode: NVM.write, ...command(size), ...large.prps(pieces, [128 * PAGE]) };
      assert.equal(await queue.status(write), 0);
      large.bytes.fill(0, 0, 128 * PAGE);
      assert.equal(await queue.status({ ...write, opcode: NVM.read }), 0);
      assert.equal(Buffer.compare(large.gather(pieces), data), 0);
      const { admin } = controller;
      assert.equal((await controller.identify(1)).data.getUint8(77), 7);
      assert.equal(await queue.status({ ...write, cdw12: 1024 }), 0x4002);
      assert.equal(await admin.status({ opcode: ADMIN.getFeatures, cdw10: 7 }), 0);
    });

    it('of Identify may cross a page', async () => {
      arena.bytes.fill(GUARD);
      const pieces = inPages([3, 8], 1000, PAGE);
      const status = await controller.admin.status({
        opcode: ADMIN.identify,
        cdw10: 1,
        ...arena.prps(pieces),
      });
      assert.equal(status, 0);
      const { data } = await controller.identify(1);
      assert.deepEqual(arena.gather(pieces), new Uint8Array(data.buffer));
      assert.equal(arena.bytes[3 * PAGE + 999], GUARD);
      assert.equal(arena.bytes[8 * PAGE + 1000], GUARD);
    });

    describe('is refused with its status', () => {
      const read = (blocks: number) => ({ opcode: NVM.read, nsid: 1, cdw12: blocks - 1 });

      it('when PRPs have an offset that they may not have', async () => {
        const page = arena.address(0);
        const list = LISTS[0]! * PAGE;
        assert.equal(await queue.status({ ...read(16), prp1: page, prp2: page + 8n }), 0x4013);
        const pieces = inPages(PAGES, 0, 32 * BLOCK);
        const good = { ...read(32), ...arena.prps(pieces, [list]) };
        assert.equal(await queue.status(good), 0);
        new DataView(arena.memory.buffer).setBigUint64(list + 8, arena.address(PAGE) + 4n, true);
        assert.equal(await queue.status(good), 0x4013);
        const chained = {
          ...read(56),
          ...arena.prps(inPages(PAGES, 0, 56 * BLOCK), [list + PAGE - 16, list]),
        };
        new DataView(arena.memory.buffer).setBigUint64(list + PAGE - 8, arena.address(list) + 16n, true);
        assert.equal(await queue.status(chained), 0x4013);
        // QEMU lets these pass.
        if (world.simulated) {
          for (const odd of [1n, 2n, 3n])
            assert.equal(await queue.status({ ...read(1), prp1: page + odd }), 0x4013);
        }
      });

      it('when a list cannot be read', async () => {
        const status = await queue.status({ ...read(32), prp1: arena.address(0), prp2: UNMAPPED });
        assert.equal(status, 0x4004);
      });

      it('when an SGL is not one', async () => {
        const at = LISTS[0]! * PAGE;
        const inline = (length: number, type: number, address = arena.address(at)) => ({
          ...read(1),
          flags: 0x40,
          prp1: address,
          prp2: BigInt(length) | (BigInt(type) << 60n),
        });
        const data = arena.address(0);
        assert.equal(await queue.status(inline(256, 0, data)), 0x400f);
        assert.equal(await queue.status(inline(0, 0, data)), 0x400f);
        // One block may be longer than what there is.
        assert.equal(await queue.status(inline(1024, 0, data)), 0);
        assert.equal(await queue.status(inline(512, 1, data)), 0x400d);
        assert.equal(await queue.status(inline(512, 4, data)), 0x400d);
        assert.equal(await queue.status({ ...inline(512, 0, data), flags: 0xc0 }), 0x4002);
        arena.descriptor(at, data, 100, 0);
        arena.descriptor(at + 16, data + 4096n, 412, 0);
        for (const type of [2, 3]) assert.equal(await queue.status(inline(32, type)), 0);
        for (const length of [0, 24, 33]) assert.equal(await queue.status(inline(length, 3)), 0x400d);
        assert.equal(await queue.status(inline(16, 3)), 0x400f);
        arena.descriptor(at + 32, data, 1, 0);
        assert.equal(await queue.status(inline(48, 3)), 0x400f);
        arena.descriptor(at + 32, data, 0, 0);
        assert.equal(await queue.status(inline(48, 3)), 0);
        arena.descriptor(at, arena.address(at + 64), 16, 3);
        assert.equal(await queue.status(inline(32, 2)), 0x400e);
        arena.descriptor(at, data, 100, 5);
        assert.equal(await queue.status(inline(32, 2)), 0x4011);
        arena.descriptor(at, data, 100, 0);
        arena.descriptor(at + 16, arena.address(at + 64), 16, 3);
        arena.descriptor(at + 64, data + 4096n, 412, 0);
        assert.equal(await queue.status(inline(32, 2)), 0);
        assert.equal(await queue.status(inline(32, 3)), 0x400d);
      });
    });

    it('that is not mapped changes nothing, and a Read of it succeeds: nobody answers a write', async () => {
      arena.bytes.fill(GUARD);
      const read = { opcode: NVM.read, nsid: 1, cdw12: 7, prp1: UNMAPPED };
      assert.equal(await queue.status(read), 0);
      assert.equal(
        arena.bytes.every((byte) => byte === GUARD),
        true,
      );
      // QEMU writes what it has to the disk, and says that it went well.
      if (world.simulated) assert.equal(await queue.status({ ...read, opcode: NVM.write }), 0x4004);
    });
  });
}
