/**
 * Memory for devices on a transfer list: the rule is that of Node.js for memory of an addon, in every world. Node.js 20
 * leaves the driver its memory and sends a copy, later ones refuse. What ArrayBuffer.prototype.transfer and byte streams
 * take is lost to the driver everywhere, and what it held is freed all the same.
 */
import { MessageChannel } from 'node:worker_threads';
import type { DmaDevice } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { pattern } from './bytes.ts';
import { type World, worlds } from './worlds.ts';

const SIZE = 8192;
const NODE = Number(process.versions.node.split('.')[0]);

interface Held {
  readonly views: readonly Uint8Array[];
  free(): void;
}

const KINDS: Readonly<Record<string, (dma: DmaDevice) => Held>> = {
  'coherent memory': (dma) => {
    const buffer = dma.allocCoherent(SIZE);
    return { views: [buffer.bytes], free: () => buffer.free() };
  },
  'noncoherent memory': (dma) => {
    const buffer = dma.allocNoncoherent(SIZE, 'bidirectional');
    return { views: [buffer.bytes], free: () => buffer.free() };
  },
  'memory that is not contiguous': (dma) => {
    const buffer = dma.allocNoncontiguous(SIZE, 'bidirectional');
    return { views: buffer.pieces, free: () => buffer.free() };
  },
  pages: (dma) => {
    const buffer = dma.allocPages(SIZE, 'bidirectional');
    return { views: [buffer.bytes], free: () => buffer.free() };
  },
  'a block of a pool': (dma) => {
    const pool = dma.createPool('transferred', { size: 64 });
    const block = pool.alloc()!;
    return {
      views: [block.bytes],
      free: () => {
        pool.free(block);
        pool.destroy();
      },
    };
  },
};

/** By name, how a buffer is put on a transfer list. */
const LISTS: Readonly<Record<string, (buffer: ArrayBuffer) => void>> = {
  structuredClone: (buffer) => void structuredClone(buffer, { transfer: [buffer] }),
  postMessage: (buffer) => {
    const { port1 } = new MessageChannel();
    try {
      port1.postMessage(buffer, [buffer]);
    } finally {
      port1.close();
    }
  },
};

/** Where JavaScript cannot keep memory from a transfer list and detach it later: lib/memory/heap-buffer.ts. */
function isTaken({ name }: World): boolean {
  return NODE >= 24 && name.startsWith('simulated');
}

function errorOf(act: () => void): string | undefined {
  try {
    act();
  } catch (error) {
    return (error as Error).name;
  }
  return undefined;
}

/** Take the memory away by means that no mark stops. */
function steal(buffer: ArrayBuffer): void {
  const { transfer } = ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer) => ArrayBuffer };
  if (transfer !== undefined) transfer.call(buffer);
  else void new ReadableStream({ type: 'bytes', start: (stream) => stream.enqueue(new Uint8Array(buffer)) });
}

describe('memory on a transfer list', () => {
  for (const world of worlds) {
    for (const [kind, allocate] of Object.entries(KINDS)) {
      for (const [list, put] of Object.entries(LISTS)) {
        if (isTaken(world)) continue;
        it(`${kind}, ${list}: stays with the driver, on ${world.name}`, async () => {
          using open = await world.open();
          const { views, free } = allocate(open.dma);
          for (const view of views) {
            const bytes = pattern(view.length, 1);
            view.set(bytes);
            const error = errorOf(() => put(view.buffer as ArrayBuffer));
            assert.equal(error, NODE < 22 ? undefined : 'DataCloneError');
            assert.equal(Buffer.compare(view, bytes), 0);
          }
          free();
          assert.ok(views.every(({ length }) => length === 0));
        });
      }
    }

    it(`what was stolen is freed, and is not the device's any more, on ${world.name}`, async () => {
      using open = await world.open();
      const { dma } = open;
      for (const kind of ['coherent memory', 'noncoherent memory', 'pages']) {
        const { views, free } = KINDS[kind]!(dma);
        steal(views[0]!.buffer as ArrayBuffer);
        assert.equal(views[0]!.length, 0);
        free();
      }
      const next = dma.allocCoherent(SIZE);
      await open.write(next.dmaAddress, pattern(64, 2));
      assert.equal(Buffer.compare(next.bytes.subarray(0, 64), pattern(64, 2)), 0);
      next.free();
    });
  }
});
