/** One contract for every source of memory: lib/memory/source.ts. */
import { readdirSync, readlinkSync, readSync } from 'node:fs';
import { exportDmaBuf, MemfdMemory } from '../../lib/index.ts';
import { DmaHeapMemory } from '../../lib/memory/dma-heap.ts';
import type { MemorySource } from '../../lib/memory/source.ts';
import { loadAddon } from '../../lib/native/load.ts';
import { afterAll, assert, describe, it } from '../harness.ts';
import { PAGE } from '../page.ts';
import { refuses } from '../vm/devices.ts';
import { cleanUp, fixtures, hasUdmabuf, native, type SourceCase, simulated } from './sources.ts';
import { describeSource } from './support.ts';

afterAll(cleanUp);

/** What needs no kernel has been tested outside of the virtual machine. */
const sources = process.env.USERDMA_VM === undefined ? [...simulated, ...fixtures, ...native] : native;

const NODE = Number(process.versions.node.split('.')[0]);
const SIZES = [1, 4095, 4096, 4097, 100_000, 2 ** 20];

function using<T>(source: SourceCase, body: (memory: MemorySource) => T): T {
  const memory = source.open();
  try {
    return body(memory);
  } finally {
    memory.close();
  }
}

/** Whether every byte is `value`. */
function holds(memory: ArrayBuffer | Uint8Array, value: number): boolean {
  const bytes = memory instanceof Uint8Array ? memory : new Uint8Array(memory);
  return Buffer.alloc(bytes.length, value).equals(bytes);
}

/** Takes the bytes away. Node 20 cannot: where the memory is the kernel's, it is left with a copy. */
function steal(buffer: ArrayBuffer): ArrayBuffer {
  const { transfer } = ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer) => ArrayBuffer };
  return transfer?.call(buffer) ?? structuredClone(buffer, { transfer: [buffer] });
}

/** Descriptors of this process that hold memory. */
function descriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return /memfd|dmabuf|dma_heap/.test(target) ? [target] : [];
    } catch {
      return [];
    }
  });
}

for (const source of sources) {
  describeSource(source, () => {
    it('gives zeroed buffers of exactly the size asked for, that do not overlap', () => {
      using(source, (memory) => {
        const buffers = SIZES.map((size) => memory.allocate(size));
        buffers.forEach((buffer, i) => {
          assert.equal(buffer.byteLength, SIZES[i]);
          assert.ok(holds(buffer, 0));
        });
        buffers.forEach((buffer, i) => void new Uint8Array(buffer).fill(i + 1));
        buffers.forEach((buffer, i) => {
          assert.ok(holds(buffer, i + 1));
        });
      });
    });

    it('refuses what is no size, and what nobody has', () => {
      using(source, (memory) => {
        for (const size of [0, -1, 1.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY, '1', undefined]) {
          refuses(() => memory.allocate(size as number), 'EINVAL', 'bytes');
        }
        for (const size of [2 ** 50, 2 ** 52]) refuses(() => memory.allocate(size), 'ENOMEM', ';');
        assert.ok(holds(memory.allocate(1), 0), 'it still works');
      });
    });

    it('kills every view at free, and gives memory without a trace of the last owner', () => {
      using(source, (memory) => {
        for (let i = 0; i < 300; i++) {
          const buffer = memory.allocate(2 * PAGE);
          const views = [new Uint8Array(buffer), new Uint32Array(buffer, 4096)];
          assert.ok(holds(buffer, 0), `round ${i}`);
          views[0]!.fill(0xff);
          memory.free(buffer);
          assert.deepEqual([buffer.byteLength, ...views.map(({ length }) => length)], [0, 0, 0]);
        }
      });
    });

    it('frees nothing twice, and nothing of anybody else', () => {
      using(source, (memory) => {
        const buffer = memory.allocate(100);
        memory.free(buffer);
        const other = source.open();
        const foreign = [buffer, new ArrayBuffer(8), other.allocate(8), undefined, null, 'x'];
        for (const value of foreign)
          refuses(() => memory.free(value as ArrayBuffer), 'EINVAL', 'free it once');
        other.close();
      });
    });

    it('is not taken by a transfer list', () => {
      // Where JavaScript cannot keep memory from it and detach it later: lib/memory/heap-buffer.ts.
      if (NODE >= 24 && source.kind === 'JavaScript') return;
      using(source, (memory) => {
        memory.free(memory.allocate(4096));
        const buffer = memory.allocate(4096);
        new Uint8Array(buffer).fill(5);
        const send = () => structuredClone(buffer, { transfer: [buffer] });
        if (NODE < 22) assert.ok(holds(send(), 5), 'a copy');
        else assert.throws(send, { name: 'DataCloneError' });
        assert.ok(buffer.byteLength === 4096 && holds(buffer, 5));
        memory.free(buffer);
        assert.equal(buffer.byteLength, 0);
      });
    });

    it('never shows a thief the bytes of another allocation', () => {
      using(source, (memory) => {
        memory.free(memory.allocate(4096));
        const buffer = memory.allocate(4096);
        new Uint8Array(buffer).fill(1);
        const stolen = new Uint8Array(steal(buffer));
        memory.free(buffer);
        const others = Array.from({ length: 200 }, () => new Uint8Array(memory.allocate(4096)).fill(2));
        assert.ok(stolen.every((byte) => byte < 2));
        stolen.fill(3);
        assert.ok(others.every((view) => holds(view, 2)));
        memory.close();
        stolen.fill(4);
      });
    });

    it('kills what is out at close, which may be called twice, and gives nothing afterwards', () => {
      const memory = source.open();
      const buffers = SIZES.map((size) => memory.allocate(size));
      const views = buffers.map((buffer) => new Uint8Array(buffer));
      memory.close();
      memory.close();
      assert.ok(views.every(({ length }) => length === 0));
      refuses(() => memory.allocate(8), 'ENODEV', 'open');
      refuses(() => memory.free(buffers[0]!), 'EINVAL');
    });

    if (source.kind !== 'JavaScript') testNative(source);
    if (source.kind === 'memfd') testFile(source);
    if (source.kind === 'dma-heap') testDmaHeap(source);
  });
}

function testNative(source: SourceCase): void {
  it('starts on a page', () => {
    using(source, (memory) => {
      for (const size of SIZES) {
        assert.equal(loadAddon().vfioPageOffset(memory.allocate(size), memory.pageSize), 0);
      }
    });
  });

  it('leaves a thief zeros once the memory is closed', () => {
    const memory = source.open();
    const buffer = memory.allocate(4096);
    new Uint8Array(buffer).fill(1);
    const stolen = steal(buffer);
    const wasCopied = buffer.byteLength > 0;
    memory.close();
    assert.ok(wasCopied || holds(stolen, 0));
    new Uint8Array(stolen).fill(4);
  });

  it('holds no descriptor once it is closed', () => {
    const before = descriptors();
    using(source, (memory) => {
      for (let i = 0; i < 20; i++) {
        const buffers = SIZES.map((size) => memory.allocate(size));
        for (const buffer of buffers) memory.free(buffer);
      }
      memory.allocate(4096);
    });
    assert.deepEqual(descriptors(), before);
  });

  const exports = source.kind === 'dma-heap' || (source.kind === 'memfd' && hasUdmabuf);
  if (!exports) return;
  it('is a dma-buf, or can be made one, that outlives the allocation and the memory', () => {
    using(source, (memory) => {
      const buffer = memory.allocate(2 * PAGE);
      const bytes = new Uint8Array(buffer);
      const dmaBuf = memory instanceof DmaHeapMemory ? memory.exportDmaBuf(buffer) : exportDmaBuf(buffer);
      assert.equal(dmaBuf.size, 2 * PAGE);
      bytes.fill(5);
      const shared = new Uint8Array(dmaBuf.map());
      dmaBuf.beginCpuAccess('bidirectional');
      assert.ok(holds(shared, 5));
      shared.fill(6, PAGE);
      dmaBuf.endCpuAccess('bidirectional');
      assert.ok(holds(bytes.subarray(PAGE), 6));
      memory.free(buffer);
      // Parts of a huge page cannot be replaced, so that they are kept out of use.
      if (memory instanceof MemfdMemory) {
        assert.equal(memory.quarantined, memory.name === 'hugetlb' ? 2 * PAGE : 0);
      }
      for (let i = 0; i < 100; i++) new Uint8Array(memory.allocate(2 * PAGE)).fill(9);
      memory.close();
      assert.ok(holds(shared.subarray(0, PAGE), 5), 'nobody else was given the pages');
      assert.ok(holds(shared.subarray(PAGE), 6));
      dmaBuf.close();
      assert.equal(shared.length, 0);
    });
  });
}

function testFile(source: SourceCase): void {
  it('has its bytes in a file, and the rest of the last page is zero', () => {
    using(source, (memory) => {
      assert.ok(memory instanceof MemfdMemory);
      const first = memory.allocate(4096);
      new Uint8Array(first).fill(0xff);
      memory.free(first);
      const buffer = memory.allocate(100);
      new Uint8Array(buffer).fill(0xaa);
      const { fd, offset } = memory.fileOf(buffer)!;
      assert.equal(offset % memory.pageSize, 0);
      const page = new Uint8Array(memory.pageSize).fill(0xee);
      assert.equal(readSync(fd, page, 0, page.length, offset), page.length);
      assert.ok(holds(page.subarray(0, 100), 0xaa));
      assert.ok(holds(page.subarray(100), 0));
      assert.equal(memory.fileOf(first), undefined, 'freed');
      assert.equal(memory.fileOf(new ArrayBuffer(8)), undefined);
    });
  });
}

function testDmaHeap(source: SourceCase): void {
  it('is handed over by syncs', () => {
    using(source, (memory) => {
      assert.ok(memory instanceof DmaHeapMemory);
      const buffer = memory.allocate(4096);
      for (const direction of ['to-device', 'from-device', 'bidirectional'] as const) {
        memory.beginCpuAccess(buffer, direction);
        new Uint8Array(buffer).fill(1);
        memory.endCpuAccess(buffer, direction);
      }
      refuses(() => memory.endCpuAccess(buffer, 'to-device'), 'EINVAL', 'beginCpuAccess');
      refuses(() => memory.beginCpuAccess(buffer, 'none' as 'to-device'), 'EINVAL', 'direction');
      refuses(() => memory.beginCpuAccess(new ArrayBuffer(8), 'to-device'), 'EINVAL', 'not a live');
    });
  });
}

describe('memory that is no file of ours', () => {
  it('cannot be exported', () => {
    for (const source of simulated) {
      using(source, (memory) => {
        refuses(() => exportDmaBuf(memory.allocate(4096)), 'EINVAL', 'behind VFIO', 'allocCoherent');
      });
    }
    refuses(() => exportDmaBuf(new ArrayBuffer(4096)), 'EINVAL', 'allocCoherent');
  });
});
