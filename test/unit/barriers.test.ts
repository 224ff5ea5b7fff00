/**
 * Litmus tests of memory order: two threads that share memory as a driver and a device do. Names as in the kernel's
 * tools/memory-model: SB is store buffering, MP message passing. Threads run the compiled library.
 */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { describe, it } from 'vitest';
import { KEEPS_ORDER } from '../../lib/rings/barriers.ts';

const LIBRARY = new URL('../../dist/lib/index.js', import.meta.url).href;

/** On one processor each hand-over takes as long as the scheduler leaves a thread alone: then there are few rounds. */
const SHARE = availableParallelism() < 2 ? 0.005 : 1;

/** What both threads have: fields in lines of their own, and a way to meet. */
const PRELUDE = `
const { workerData } = require('node:worker_threads');
const { me, memory, rounds, seen } = workerData;
import(${JSON.stringify(LIBRARY)}).then(({ dmaRmb, dmaWmb, mb, RingIndex, struct, u8, u16, u32 }) => {
  const lines = struct(128, { value: u32(0) }).over(new Uint8Array(memory));
  const { value } = lines;
  const meet = new Int32Array(memory);
  /** Lines 14 and 15 say how far each has come. */
  const together = (round) => {
    Atomics.store(meet, 32 * (14 + me), round);
    while (Atomics.load(meet, 32 * (15 - me)) < round);
  };
  const plain = () => {};
`;

/** Runs the two threads, and returns what each has noted by round. */
async function run(rounds: number, threads: readonly [string, string]): Promise<Uint32Array[]> {
  const memory = new SharedArrayBuffer(16 * 128);
  const notes = threads.map(() => new Uint32Array(new SharedArrayBuffer(4 * (rounds + 1))));
  await Promise.all(
    threads.map((body, me) => {
      const workerData = { me, memory, rounds, seen: notes[me] };
      const worker = new Worker(`${PRELUDE}${body}\n});`, { eval: true, workerData });
      return new Promise<void>((resolve, reject) => {
        worker.once('error', reject);
        worker.once('exit', () => resolve());
      });
    }),
  );
  return notes;
}

/** Each thread writes its own line, then looks at the other's. Rounds in which neither saw the other's write. */
async function storeBuffering(rounds: number, barrier: 'mb' | 'plain'): Promise<number> {
  const body = `
  for (let round = 1; round <= rounds; round++) {
    together(round);
    value.set(me, round);
    ${barrier}();
    seen[round] = value.get(1 - me);
  }`;
  const [first, second] = await run(rounds, [body, body]);
  let forbidden = 0;
  for (let round = 1; round <= rounds; round++) {
    assert.ok(first![round]! > 0 || second![round]! > 0 || round === 1);
    if (first![round]! < round && second![round]! < round) forbidden++;
  }
  return forbidden;
}

/** One thread writes data and then says so; the other hears of it, and looks at the data. Rounds in which it is too old. */
async function messagePassing(rounds: number, say: string, hear: string): Promise<number> {
  const writer = `
  for (let round = 1; round <= rounds; round++) {
    value.set(2, round);
    ${say}
  }`;
  const reader = `
  for (let heard = 0; heard < rounds; ) {
    ${hear}
    if (value.get(2) < heard) seen[heard] = 1;
  }`;
  const [, old] = await run(rounds, [writer, reader]);
  return old!.reduce((sum, one) => sum + one, 0);
}

describe('a full barrier', () => {
  it('SB: keeps a store before a later load', async () => {
    assert.equal(await storeBuffering(30_000 * SHARE, 'mb'), 0);
  });

  it('SB: is needed for that', async (context) => {
    // Threads that take turns on one processor see each other's stores.
    if (availableParallelism() < 2) context.skip();
    for (let attempt = 0; attempt < 20; attempt++) if ((await storeBuffering(20_000, 'plain')) > 0) return;
    assert.fail('no store was passed by a load');
  });
});

describe('what says that data is there', () => {
  const ways = {
    'Column.store and Column.load': ['value.store(4, round);', 'heard = value.load(4);'],
    'dmaWmb and dmaRmb': ['dmaWmb(); value.set(4, round);', 'heard = value.get(4); dmaRmb();'],
    'mb on both sides': ['mb(); value.set(4, round);', 'heard = value.get(4); mb();'],
  } as const;
  it.each(Object.entries(ways))('MP: %s', async (_, [say, hear]) => {
    assert.equal(await messagePassing(50_000 * SHARE, say, hear), 0);
  });

  it.skipIf(KEEPS_ORDER)('MP: is not a plain store on a processor that reorders them', async () => {
    for (let attempt = 0; attempt < 20; attempt++) {
      if ((await messagePassing(200_000, 'value.set(4, round);', 'heard = value.load(4);')) > 0) return;
    }
    assert.fail('no store was passed by another one');
  });
});

/** Available and used rings as virtio has them: the driver and the device of a queue of 8, in two threads. */
describe('a ring whose indices count freely', () => {
  it('brings every descriptor to the device and back, with what was written before', async () => {
    const layout = `
    const queue = struct(8, { id: u32(0), data: u32(4) }).over(new Uint8Array(memory, 0, 64));
    const ring = (line) => ({
      index: struct(1, { value: u8(0) }).over(new Uint8Array(memory, line * 128, 1)).value,
      entries: struct(4, { id: u16(0) }).over(new Uint8Array(memory, line * 128 + 4, 32)).id,
    });
    const [available, used] = [ring(2), ring(4)];`;
    const driver = `${layout}
    const [put, got] = [new RingIndex(8, { bits: 8 }), new RingIndex(8, { bits: 8 })];
    for (let done = 0, next = 0; done < rounds; ) {
      while (next < rounds && put.since(got.count) < 8) {
        queue.data.set(put.index, ++next);
        available.entries.set(put.index, put.index);
        put.advance();
        available.index.store(0, put.count);
      }
      while (got.count !== used.index.load(0)) {
        const id = used.entries.get(got.index);
        seen[++done] = queue.data.get(id);
        got.advance();
      }
    }`;
    const device = `${layout}
    const seenByDevice = new RingIndex(8, { bits: 8 });
    for (let done = 0; done < rounds; ) {
      while (seenByDevice.count !== available.index.load(0)) {
        const id = available.entries.get(seenByDevice.index);
        const data = queue.data.get(id);
        seen[++done] = data;
        queue.data.set(id, data + 1);
        used.entries.set(seenByDevice.index, id);
        seenByDevice.advance();
        used.index.store(0, seenByDevice.count);
      }
    }`;
    // Indices of 8 bits begin again often, and once at least.
    const rounds = Math.max(20_000 * SHARE, 300);
    const [answers, requests] = await run(rounds, [driver, device]);
    for (let i = 1; i <= rounds; i++) {
      if (requests![i] !== i || answers![i] !== i + 1)
        assert.fail(`${requests![i]} and ${answers![i]} of ${i}`);
    }
  });
});
