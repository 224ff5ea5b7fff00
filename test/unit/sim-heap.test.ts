import { describe, expect, it } from 'vitest';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { expectCode } from './sim-fixture.ts';

const KIB4 = 4096;

/** A byte stream takes the memory of what is given to it. */
async function steal(buffer: ArrayBuffer): Promise<Uint8Array> {
  const stream = new ReadableStream({
    type: 'bytes',
    start: (controller) => controller.enqueue(new Uint8Array(buffer)),
  });
  const { value } = await stream.getReader().read();
  return value as Uint8Array;
}

describe('HeapMemory', () => {
  it('gives zeroed memory of exactly the size asked for', () => {
    const memory = new HeapMemory();
    const buffer = memory.allocate(100);
    expect(buffer.byteLength).toBe(100);
    expect(new Uint8Array(buffer).every((byte) => byte === 0)).toBe(true);
    expect(memory.used).toBe(KIB4);
  });

  it('kills every view at free, many times over', () => {
    const memory = new HeapMemory();
    for (let i = 0; i < 10_000; i++) {
      const view = new Uint8Array(memory.allocate(KIB4));
      memory.free(view.buffer);
      if (view.length !== 0) expect.unreachable(`view ${i} is alive`);
    }
    expect(memory.used).toBe(0);
  });

  it('kills what is still out at close, and gives nothing afterwards', () => {
    const memory = new HeapMemory();
    const view = new Uint8Array(memory.allocate(8));
    memory.close();
    memory.close();
    expect(view.length).toBe(0);
    expectCode('ENODEV', () => memory.allocate(8));
  });

  it('refuses what is not a live allocation', () => {
    const memory = new HeapMemory();
    const buffer = memory.allocate(8);
    memory.free(buffer);
    expectCode('EINVAL', () => memory.free(buffer));
    expectCode('EINVAL', () => memory.free(new ArrayBuffer(8)));
    expectCode('EINVAL', () => memory.free(new HeapMemory().allocate(8)));
  });

  it('counts whole pages against the limit', () => {
    const memory = new HeapMemory({ limit: 2 * KIB4 });
    const first = memory.allocate(1);
    memory.allocate(KIB4);
    expectCode('ENOMEM', () => memory.allocate(1));
    memory.free(first);
    expect(memory.allocate(KIB4).byteLength).toBe(KIB4);
  });

  it('takes back a stolen buffer, whose pages stay charged until close', async () => {
    const memory = new HeapMemory({ limit: KIB4 });
    const buffer = memory.allocate(8);
    new Uint8Array(buffer)[0] = 7;
    const stolen = await steal(buffer);
    memory.free(buffer);
    expect(stolen[0]).toBe(7);
    expectCode('ENOMEM', () => memory.allocate(8));
  });

  it('turns sizes nobody has into errors', () => {
    const memory = new HeapMemory();
    for (const size of [0, -1, 1.5, Number.NaN, 2 ** 53]) expectCode('EINVAL', () => memory.allocate(size));
    expectCode('ENOMEM', () => memory.allocate(2 ** 52));
    for (const pageSize of [0, 3, 4097, -4096]) expectCode('EINVAL', () => new HeapMemory({ pageSize }));
  });

  it('holds on to nothing that was freed', () => {
    const memory = new HeapMemory();
    const MIB = 2 ** 20;
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 256; i++) {
      const buffer = memory.allocate(MIB);
      new Uint8Array(buffer).fill(1);
      memory.free(buffer);
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * MIB);
  });
});
