/** The NVMe driver, in both worlds. */
import { setImmediate as turn } from 'node:timers/promises';
import { NvmeController, type NvmeOptions } from '../../examples/nvme/controller.ts';
import type { Namespace } from '../../examples/nvme/namespace.ts';
import type { Completion } from '../../examples/nvme/queue-pair.ts';
import { NvmeError } from '../../examples/nvme/status.ts';
import { DmaError } from '../../lib/index.ts';
import { checkDmaAfterEach } from '../../lib/testing/index.ts';
import { afterEach, assert, describe, it } from '../harness.ts';
import { eachOf, Random } from '../random.ts';
import { until } from '../until.ts';
import { start, worlds } from './worlds.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const BLOCK = 512;

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof DmaError && error.code === code;
}

function isStatus(type: number, status: number): (error: unknown) => boolean {
  return (error) => error instanceof NvmeError && error.type === type && error.status === status;
}

/** How many of these ended well, and the codes of the others. */
async function outcomes(promises: readonly Promise<unknown>[]): Promise<{ good: number; codes: string[] }> {
  const results = await Promise.allSettled(promises);
  const failed = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as DmaError] : [],
  );
  return { good: results.length - failed.length, codes: failed.map(({ code }) => code) };
}

const ways: readonly (readonly [string, NvmeOptions])[] = [
  ['SGLs, one queue by interrupt', {}],
  ['PRPs, one queue polled', { sgl: false, completions: 'poll' }],
  ['SGLs, three queues, interrupts and polling', { queues: 3, completions: ['interrupt', 'poll'], depth: 7 }],
];

checkDmaAfterEach(afterEach);

for (const world of worlds) {
  describe(`NVMe on ${world.name}`, () => {
    it('says what it is', async () => {
      await using opened = await start(world.open());
      const { nvme, disk } = opened;
      assert.equal(nvme.identity.version, '1.4.0');
      assert.equal(nvme.identity.sgl, 'bytes');
      assert.ok(nvme.identity.serial.length > 0 && nvme.identity.model.length > 0);
      assert.equal(nvme.maxTransfer, 512 * KIB);
      assert.deepEqual([disk.id, disk.blockSize, disk.blocks], [1, BLOCK, (128 * MIB) / BLOCK]);
      assert.equal(nvme.queues.length, 1);
      assert.equal(nvme.state, 'live');
      const { temperature, mediaErrors } = await nvme.admin.health();
      assert.ok(temperature > 0 && temperature < 100);
      assert.equal(mediaErrors, 0n);
      assert.ok(Array.isArray(await nvme.admin.errors(nvme.identity.errorEntries)));
    });

    for (const [way, options] of ways) {
      it(`keeps what is written, in pieces of every size (${way})`, async () => {
        await using opened = await start(world.open(), options);
        const random = new Random();
        await compareWithImage(opened.disk, random, world.rounds);
      }, 120_000);
    }

    it('moves memory from wherever it lies, and nothing beside it', async () => {
      for (const sgl of [true, false]) {
        await using opened = await start(world.open(), { sgl });
        const { nvme, disk } = opened;
        const { dma } = nvme.fn;
        const own = dma.allocCoherent(256 * KIB);
        const foreign = new Uint8Array(256 * KIB);
        const random = new Random();
        for (const memory of [own.bytes, foreign]) {
          for (const offset of [0, 1, 2, 3, 4, 7, 511, 512, 2048, 4092, 4095, 4096, 5000]) {
            for (const blocks of [1, 7, 8, 9, 16, 17, 200]) {
              const size = blocks * BLOCK;
              const data = random.bytes(size);
              memory.fill(0xee);
              memory.set(data, offset);
              await disk.write(offset, memory.subarray(offset, offset + size));
              memory.fill(0xdd);
              await disk.read(offset, memory.subarray(offset, offset + size));
              const expected = Buffer.alloc(memory.length, 0xdd);
              data.copy(expected, offset);
              const where = `sgl ${sgl}, own ${memory === own.bytes}, ${blocks} blocks at offset ${offset}`;
              assert.ok(expected.equals(memory), `${where}, seed ${random.seed}`);
            }
          }
        }
        own.free();
      }
    }, 120_000);

    it('takes lists of views as one run of blocks', async () => {
      for (const sgl of [true, false]) {
        await using opened = await start(world.open(), { sgl });
        const { disk } = opened;
        const random = new Random();
        // Too many for a page of descriptors, too, and lengths that are no multiple of anything.
        for (const sizes of [
          [512, 4096, 1536],
          [1, 2, 3, 506],
          [8193, 4095],
          Array<number>(256).fill(512),
          Array<number>(600).fill(512),
          lengths(random, 300),
        ]) {
          const total = Math.ceil(sizes.reduce((sum, size) => sum + size, 0) / BLOCK) * BLOCK;
          const rest = total - sizes.reduce((sum, size) => sum + size, 0);
          const views = (rest === 0 ? sizes : [...sizes, rest]).map((size) => random.unaligned(size));
          const data = random.bytes(total);
          scatter(data, views);
          await disk.write(64, views);
          const whole = Buffer.alloc(total);
          await disk.read(64, whole);
          assert.ok(whole.equals(data), `written, sgl ${sgl}, ${views.length} views, seed ${random.seed}`);
          for (const view of views) view.fill(0);
          await disk.read(64, views);
          assert.ok(
            Buffer.concat(views).equals(data),
            `read, sgl ${sgl}, ${views.length} views, seed ${random.seed}`,
          );
        }
      }
    }, 120_000);

    it('chains pages of PRP entries', async () => {
      for (const sgl of [true, false]) {
        await using opened = await start(world.openLarge(), { sgl, depth: 4, maxTransfer: 3 * MIB });
        const { nvme, disk } = opened;
        assert.equal(nvme.maxTransfer, 3 * MIB);
        const random = new Random();
        // 512 entries of 4 KiB fill a page: one more has to be chained, or takes the place of the chain.
        for (const pages of [2, 3, 511, 512, 513, 514, 515, 768]) {
          for (const offset of [0, 4, 4092]) {
            const size = pages * 4096 - (offset === 0 ? 0 : 4096);
            if (size === 0) continue;
            const memory = Buffer.from(new ArrayBuffer(offset + size), offset);
            const data = random.bytes(size);
            data.copy(memory);
            await disk.write(8, memory);
            memory.fill(0);
            await disk.read(8, memory);
            assert.ok(
              memory.equals(data),
              `sgl ${sgl}, ${pages} pages from offset ${offset}, seed ${random.seed}`,
            );
          }
        }
      }
    }, 120_000);

    it('writes zeros, trims and flushes', async () => {
      await using opened = await start(world.open(), { queues: 2 });
      const { disk } = opened;
      const data = new Random().bytes(4 * MIB);
      await disk.write(1000, data);
      await disk.writeZeroes(1001, 4000);
      await disk.flush();
      const back = Buffer.alloc(data.length);
      await disk.read(1000, back);
      data.fill(0, BLOCK, 4001 * BLOCK);
      assert.ok(back.equals(data));
      await disk.trim(1000, 8);
      await disk.read(1001, back.subarray(0, 100 * BLOCK));
      await assert.rejects(disk.trim(0, 0), hasCode('EINVAL'));
      await assert.rejects(disk.writeZeroes(disk.blocks - 1, 2), isStatus(0, 0x80));
      await assert.rejects(disk.writeZeroes(0, 0), hasCode('EINVAL'));
    });

    it('tells what the controller refuses, and goes on', async () => {
      await using opened = await start(world.open());
      const { nvme, disk } = opened;
      const block = new Uint8Array(BLOCK);
      for (const lba of [disk.blocks, disk.blocks + 1, 2 ** 32, 2 ** 40]) {
        await assert.rejects(disk.read(lba, block), (error) => {
          assert.ok(error instanceof NvmeError);
          assert.deepEqual(
            [error.type, error.status, error.doNotRetry, error.code],
            [0, 0x80, true, 'EINVAL'],
          );
          assert.match(error.message, /LBA out of range/);
          return true;
        });
      }
      await assert.rejects(disk.write(disk.blocks - 1, new Uint8Array(2 * BLOCK)), isStatus(0, 0x80));
      await assert.rejects(
        nvme.queues[0]!.execute({ opcode: 0x7f, namespace: 1 }, 'nothing'),
        isStatus(0, 1),
      );
      await assert.rejects(nvme.admin.execute({ opcode: 0x7f }, 'nothing'), isStatus(0, 1));
      await assert.rejects(nvme.namespace(0xffff_0000), isStatus(0, 0x0b));
      for (const [lba, size] of [
        [0, 0],
        [0, 511],
        [0, 513],
        [-1, 512],
        [0.5, 512],
        [Number.NaN, 512],
        [2 ** 53, 512],
      ] as const) {
        await assert.rejects(disk.read(lba, new Uint8Array(size)), hasCode('EINVAL'), `${lba}, ${size}`);
      }
      await assert.rejects(disk.read(0, 'bytes' as unknown as Uint8Array), hasCode('EINVAL'));
      await disk.read(disk.blocks - 1, block);
      assert.equal(nvme.state, 'live');
      assert.deepEqual(nvme.mishaps, { aborts: 0, lostInterrupts: 0 });
    });

    it('refuses options that are none, and what is no NVMe controller', async () => {
      using fn = await world.open();
      for (const options of [
        { queues: 0 },
        { depth: 0 },
        { depth: 1.5 },
        { timeout: -1 },
        { timeout: Number.NaN },
      ]) {
        await assert.rejects(NvmeController.open(fn, options), hasCode('EINVAL'));
      }
      assert.equal(fn.dma.live.length, 0);
      const nvme = await NvmeController.open(fn, { queues: 65_535, depth: 3 });
      assert.ok(nvme.queues.length >= 1 && nvme.queues.length < 65_535);
      await nvme.close();
      assert.ok(fn.closed);
    });

    for (const depth of [1, 2, 3]) {
      it(`lets commands wait when ${depth} are under way`, async () => {
        await using opened = await start(world.open(), { depth });
        const { nvme, disk } = opened;
        const { pair } = nvme.queues[0]!;
        assert.equal(pair.depth, depth);
        const blocks = Array.from({ length: 50 }, (_, i) => Buffer.alloc(BLOCK, i + 1));
        await Promise.all(blocks.map((block, i) => disk.write(i, block)));
        const all = disk.read(0, Buffer.alloc(50 * BLOCK));
        const each = blocks.map((block, i) => {
          block.fill(0);
          return disk.read(i, block);
        });
        assert.ok(pair.busy <= depth);
        assert.equal(nvme.queues[0]!.waiting, 51 - depth);
        await Promise.all([all, ...each]);
        assert.ok(blocks.every((block, i) => block.every((byte) => byte === i + 1)));
        assert.deepEqual([pair.busy, pair.room, nvme.queues[0]!.waiting], [0, depth, 0]);
      });
    }

    it('takes lists with empty views', async () => {
      for (const sgl of [true, false]) {
        await using opened = await start(world.open(), { sgl });
        const random = new Random();
        const data = random.bytes(2 * BLOCK);
        const views = [0, 100, 100, 2 * BLOCK].map((end, i, ends) => data.subarray(ends[i - 1] ?? 0, end));
        await opened.disk.write(5, views);
        const back = new Uint8Array(2 * BLOCK);
        await opened.disk.read(5, [back.subarray(0, 0), back, back.subarray(0, 0)]);
        assert.ok(data.equals(back), `seed ${random.seed}`);
      }
    });

    it('waits for room to bounce, whichever queue has it', async () => {
      const streaming = {
        bounce: { total: 64 * KIB, maxMapping: 10_000 },
        copybreak: Number.POSITIVE_INFINITY,
      };
      await using opened = await start(world.open({ streaming }), { sgl: false, queues: 3 });
      const { disk } = opened;
      const random = new Random();
      const data = random.bytes(MIB);
      const pieces = Array.from({ length: 64 }, (_, i) => i);
      const memory = Buffer.alloc(MIB + 64).subarray(1);
      data.copy(memory);
      await Promise.all(pieces.map((i) => disk.write(32 * i, memory.subarray(16_384 * i, 16_384 * (i + 1)))));
      memory.fill(0);
      await Promise.all(pieces.map((i) => disk.read(32 * i, memory.subarray(16_384 * i, 16_384 * (i + 1)))));
      assert.ok(memory.subarray(0, MIB).equals(data), `seed ${random.seed}`);
    });

    it('lets in what waits for the way without promises, whoever polls', async () => {
      for (const completions of ['interrupt', 'poll'] as const) {
        await using opened = await start(world.open(), { depth: 1, completions });
        const { nvme, disk } = opened;
        const { pair } = nvme.queues[0]!;
        using page = nvme.fn.dma.allocCoherent(4096);
        using data = nvme.memory.lend(page.bytes, 'bidirectional');
        const ended: number[] = [];
        const completion: Completion = {
          complete: (status) => ended.push(status),
          abandon: (error) => assert.fail(error),
        };
        pair.submitRead(disk.id, 0, 8, data.pointer, completion);
        pair.ring();
        const waiting = disk.read(0, new Uint8Array(BLOCK));
        const isPolled = () => {
          pair.poll();
          return ended.length > 0;
        };
        await until(isPolled, 'the command ends');
        await waiting;
        assert.deepEqual(ended, [0]);
      }
    });

    it('has a way without promises: submit, ring, poll', async () => {
      await using opened = await start(world.open(), { depth: 8, completions: 'poll' });
      const { nvme, disk } = opened;
      const { pair } = nvme.queues[0]!;
      const page = nvme.fn.dma.allocCoherent(4096);
      using data = nvme.memory.lend(page.bytes, 'bidirectional');
      const ended: number[] = [];
      const completion: Completion = {
        complete: (status) => void ended.push(status),
        abandon: () => assert.fail('abandoned'),
      };
      const finish = async (wanted: number): Promise<void> => {
        // A simulated device goes on when the event loop does.
        for (; ended.length < wanted; await turn()) pair.poll();
      };
      page.bytes.fill(0x5a);
      assert.ok(pair.submitWrite(1, 40, 8, data.pointer, completion) >= 0);
      assert.equal(pair.poll(), 0, 'nobody told the controller');
      pair.ring();
      await finish(1);
      page.bytes.fill(0);
      const ids = Array.from({ length: 8 }, () => pair.submitRead(1, 40, 8, data.pointer, completion));
      assert.equal(new Set(ids).size, 8);
      assert.equal(pair.submitRead(1, 40, 8, data.pointer, completion), -1, 'full');
      pair.ring();
      pair.ring();
      await finish(9);
      assert.ok(page.bytes.every((byte) => byte === 0x5a));
      // Many times round both rings.
      for (let round = 0; round < 20; round++) {
        for (let i = 0; i <= round % 8; i++) pair.submitRead(1, disk.blocks - 8, 8, data.pointer, completion);
        pair.ring();
        await finish(9 + sum(round));
      }
      pair.submitRead(1, disk.blocks, 8, data.pointer, completion);
      pair.ring();
      await finish(9 + sum(19) + 1);
      assert.equal(ended.pop(), 0x4080, 'do not retry, LBA out of range');
      assert.ok(ended.every((status) => status === 0));
      data.release();
      page.free();
    });

    it('begins anew after a reset, under load, and settles every promise once', async () => {
      await using opened = await start(world.open(), { queues: 2, depth: 4 });
      const { nvme, disk } = opened;
      const data = new Random().bytes(64 * KIB);
      await disk.write(0, data);
      for (let round = 0; round < world.rounds; round++) {
        const load = outcomes(Array.from({ length: 40 }, () => disk.read(0, Buffer.alloc(64 * KIB))));
        const reset = nvme.reset();
        const second = nvme.reset();
        const after = disk.read(0, Buffer.alloc(BLOCK));
        await Promise.all([reset, second]);
        const { good, codes } = await load;
        assert.equal(good + codes.length, 40);
        assert.ok(
          codes.every((code) => code === 'ECANCELED'),
          codes.join(),
        );
        // 2 queues of 4: what waited for its turn is done afterwards.
        assert.ok(codes.length <= 8, `${codes.length} cancelled`);
        await after;
        const back = Buffer.alloc(64 * KIB);
        await disk.read(0, back);
        assert.ok(back.equals(data));
        assert.equal(nvme.state, 'live');
      }
      assert.deepEqual(nvme.mishaps, { aborts: 0, lostInterrupts: 0 });
    });

    it('is closed with commands under way, and each promise settles', async () => {
      const opened = await start(world.open(), { depth: 4 });
      const { nvme, disk } = opened;
      const load = outcomes(Array.from({ length: 40 }, () => disk.read(0, Buffer.alloc(64 * KIB))));
      const closing = nvme.close();
      await assert.rejects(disk.read(0, Buffer.alloc(BLOCK)), hasCode('ENODEV'));
      await closing;
      await nvme.close();
      const { good, codes } = await load;
      assert.equal(good, 4, 'those under way ended by themselves');
      assert.deepEqual(codes, Array(36).fill('ENODEV'));
      assert.equal(nvme.state, 'closed');
      assert.ok(nvme.fn.closed);
      await assert.rejects(disk.flush(), hasCode('ENODEV'));
      await assert.rejects(nvme.reset(), hasCode('ENODEV'));
      await assert.rejects(nvme.namespaces(), hasCode('ENODEV'));
    });

    it('fails everything when the function is closed without it', async () => {
      const opened = await start(world.open({ debug: false }), {
        depth: 4,
        timeout: 100,
        completions: 'poll',
      });
      const { nvme, disk } = opened;
      const load = outcomes(Array.from({ length: 20 }, () => disk.read(0, Buffer.alloc(64 * KIB))));
      nvme.fn.close();
      const { good, codes } = await load;
      assert.equal(good, 0);
      assert.deepEqual(codes, Array(20).fill('ENODEV'));
      await assert.rejects(disk.read(0, Buffer.alloc(BLOCK)), hasCode('ENODEV'));
      assert.equal(nvme.state, 'dead');
      await nvme.close();
    });
  });
}

/** Random reads, writes and zeros of a part of the disk, against the same done to bytes. */
async function compareWithImage(disk: Namespace, random: Random, rounds: number): Promise<void> {
  const image = random.bytes(4 * MIB);
  const first = random.below(1000);
  await disk.write(first, image);
  for (let round = 0; round < rounds; round++) {
    const extents = random.extents(image.length / BLOCK, MIB / BLOCK);
    await eachOf(extents, 16, async ({ lba, blocks }) => {
      const part = image.subarray(lba * BLOCK, (lba + blocks) * BLOCK);
      const memory = random.unaligned(part.length);
      const what = `${blocks} blocks at ${lba}, round ${round}, seed ${random.seed}`;
      switch (random.below(5)) {
        case 0:
          await disk.writeZeroes(first + lba, blocks);
          part.fill(0);
          break;
        case 1:
        case 2:
          random.bytes(part.length).copy(memory);
          await disk.write(first + lba, memory);
          memory.copy(part);
          break;
        default:
          await disk.read(first + lba, memory);
          assert.ok(memory.equals(part), what);
      }
    });
  }
  const back = Buffer.alloc(image.length);
  await disk.read(first, back);
  assert.ok(back.equals(image), `seed ${random.seed}`);
}

/** Reads of the rounds up to this one. */
function sum(round: number): number {
  let reads = 0;
  for (let i = 0; i <= round; i++) reads += (i % 8) + 1;
  return reads;
}

function lengths(random: Random, count: number): number[] {
  return Array.from({ length: count }, () => 1 + random.below(3000));
}

function scatter(data: Buffer, views: readonly Buffer[]): void {
  let at = 0;
  for (const view of views) {
    data.copy(view, 0, at);
    at += view.length;
  }
}
