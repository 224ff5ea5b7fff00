import { beforeEach, describe, expect, it } from 'vitest';
import type { Fault } from '../../lib/iommu/fault.ts';
import { describeFault, FaultLog } from '../../lib/iommu/fault.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { expectCode } from './sim-fixture.ts';

const PAGE = 4096;
const BLOCK = 512 * PAGE;

let space: SimulatedAddressSpace;
let memory: Uint8Array<ArrayBuffer>;

beforeEach(() => {
  space = new SimulatedAddressSpace();
  memory = Uint8Array.from({ length: 4 * PAGE }, (_, i) => i % 251);
});

function read(iova: number | bigint, size: number): Uint8Array {
  const into = new Uint8Array(size).fill(0xcc);
  space.read(iova, into);
  return into;
}

const zeros = (size: number): Uint8Array => new Uint8Array(size);

describe('map and unmap, by type1 rules', () => {
  const map = (iova: number, size = PAGE, offset = 0) =>
    space.map(iova, memory.buffer, offset, size, 'read-write');

  it.each([
    ['misaligned iova', 0x1001, PAGE, 0],
    ['misaligned size', 0x1000, PAGE + 1, 0],
    ['misaligned offset', 0x1000, PAGE, 8],
    ['size 0', 0x1000, 0, 0],
    ['negative size', 0x1000, -PAGE, 0],
    ['NaN', Number.NaN, PAGE, 0],
    ['negative iova', -PAGE, PAGE, 0],
    ['wrap', Number.MAX_SAFE_INTEGER - 4095, 2 * PAGE, 0],
    ['the MSI window', 0xfee00000, PAGE, 0],
    ['into the MSI window', 0xfedff000, 2 * PAGE, 0],
    ['above the aperture', 0x8000000000, PAGE, 0],
  ])('EINVAL: %s', (_, iova, size, offset) => {
    expectCode('EINVAL', () => map(iova, size, offset));
    expect(space.stats).toEqual({ mappings: 0, bytes: 0 });
  });

  it('EINVAL: no such access', () => {
    expectCode('EINVAL', () => space.map(0x1000, memory.buffer, 0, PAGE, 'none' as 'read'));
  });

  it('EEXIST: overlap, from either side and across blocks', () => {
    map(BLOCK - PAGE, 2 * PAGE);
    for (const iova of [BLOCK - PAGE, BLOCK]) expectCode('EEXIST', () => map(iova));
    expectCode('EEXIST', () => map(BLOCK - 2 * PAGE, 4 * PAGE));
    map(BLOCK - 2 * PAGE);
    map(BLOCK + PAGE);
    expect(space.stats).toEqual({ mappings: 3, bytes: 4 * PAGE });
  });

  it('ENOSPC at the limit, and room again after unmap', () => {
    space = new SimulatedAddressSpace({ mappingLimit: 2 });
    map(0x1000);
    map(0x2000);
    expectCode('ENOSPC', () => map(0x3000));
    space.unmap(0x1000, PAGE);
    map(0x3000);
  });

  it('EFAULT: more pages than the buffer has', () => {
    expectCode('EFAULT', () => map(0x1000, 5 * PAGE));
    expectCode('EFAULT', () => map(0x1000, PAGE, 4 * PAGE));
    space.map(0x1000, new ArrayBuffer(PAGE + 1), 0, 2 * PAGE, 'read');
  });

  it('unmaps whole mappings, several at once, and nothing for nothing', () => {
    map(0x1000, 2 * PAGE);
    map(0x8000, 2 * PAGE);
    expect(space.unmap(0x100000, PAGE)).toBe(0);
    expectCode('EINVAL', () => space.unmap(0x1000, PAGE));
    expectCode('EINVAL', () => space.unmap(0x2000, PAGE));
    expectCode('EINVAL', () => space.unmap(0, 9 * PAGE));
    expectCode('EINVAL', () => space.unmap(0x1000, 0));
    expectCode('EINVAL', () => space.unmap(0x1001, PAGE));
    expect(space.unmap(0, 2 ** 40)).toBe(4 * PAGE);
    expect(space.stats).toEqual({ mappings: 0, bytes: 0 });
    map(0x1000, 4 * PAGE);
  });

  it('ENODEV after close, when the device reaches nothing', () => {
    map(0x1000);
    space.close();
    space.close();
    expectCode('ENODEV', () => map(0x1000));
    expectCode('ENODEV', () => space.unmap(0x1000, PAGE));
    expect(read(0x1000, 4)).toEqual(zeros(4));
  });

  it('keeps a large mapping and its neighbours apart', () => {
    const large = new ArrayBuffer(2 * BLOCK + PAGE);
    new Uint8Array(large).fill(9);
    space.map(BLOCK - PAGE, large, 0, 2 * BLOCK + PAGE, 'read-write');
    map(3 * BLOCK);
    expectCode('EEXIST', () => map(2 * BLOCK));
    expect(read(3 * BLOCK - 2, 4)).toEqual(Uint8Array.of(9, 9, 0, 1));
    space.unmap(BLOCK - PAGE, 2 * BLOCK + PAGE);
    expect(read(3 * BLOCK - 2, 4)).toEqual(Uint8Array.of(0, 0, 0, 1));
    map(2 * BLOCK);
  });

  it('takes 100,000 mappings', () => {
    space = new SimulatedAddressSpace({ mappingLimit: 100_000 });
    for (let i = 1; i <= 100_000; i++) space.map(i * 2 * PAGE, memory.buffer, 0, PAGE, 'read');
    expectCode('ENOSPC', () => map(PAGE));
    for (let i = 1; i <= 100_000; i++) space.unmap(i * 2 * PAGE, PAGE);
    expect(space.stats.mappings).toBe(0);
  });

  it('keeps far mappings apart when the tables of one that went are used again', () => {
    const BLOCK = 512 * PAGE;
    map(PAGE);
    space.unmap(PAGE, PAGE);
    map(2 * BLOCK + PAGE);
    map(3 * BLOCK + 2 * PAGE);
    expect(read(2 * BLOCK + 2 * PAGE, 2)).toEqual(Uint8Array.of(0, 0));
    expect(read(3 * BLOCK + PAGE, 2)).toEqual(Uint8Array.of(0, 0));
    expect(space.faults.list.map(({ reason }) => reason)).toEqual(['not mapped', 'not mapped']);
  });

  it('answers whether all of an access went well', () => {
    map(PAGE);
    const two = new Uint8Array(2);
    expect([space.read(PAGE, two), space.write(2 * PAGE - 2, two)]).toEqual([true, true]);
    expect([space.read(2 * PAGE - 1, two), space.write(2 * PAGE - 1, two)]).toEqual([false, false]);
    expect([space.read(PAGE - 1, two), space.write(2n ** 60n, two)]).toEqual([false, false]);
  });

  it('knows other page sizes', () => {
    space = new SimulatedAddressSpace({ pageSize: 16384 });
    expectCode('EINVAL', () => map(PAGE, 4 * PAGE));
    map(4 * PAGE, 4 * PAGE);
    expect(read(4 * PAGE + 3, 2)).toEqual(Uint8Array.of(3, 4));
    expectCode('EINVAL', () => new SimulatedAddressSpace({ pageSize: 5000 }));
    expectCode('EINVAL', () => new SimulatedAddressSpace({ ranges: [{ start: 5, end: 4 }] }));
  });

  it('maps whole pages of memory that starts in the middle of one', () => {
    space = new SimulatedAddressSpace({ pageOffset: () => 16 });
    expect(space.pageOffset(memory.buffer)).toBe(16);
    for (const offset of [0, 16, PAGE, -16]) expectCode('EINVAL', () => map(0x1000, PAGE, offset));
    map(0x1000, 3 * PAGE, PAGE - 16);
    expect(read(0x1000, 2)).toEqual(memory.slice(PAGE - 16, PAGE - 14));
    expectCode('EFAULT', () => map(0x10000, 5 * PAGE, PAGE - 16));
  });

  it('says where a buffer lies in its page', () => {
    // ES2024, which the compiler's library does not know yet.
    const resizable: ArrayBuffer = Reflect.construct(ArrayBuffer, [8, { maxByteLength: 16 }]);
    expect(space.pageOffset(memory.buffer)).toBe(0);
    expectCode('EINVAL', () => space.pageOffset(new ArrayBuffer(0)));
    expectCode('EINVAL', () => space.pageOffset(resizable));
  });
});

describe('what the device sees', () => {
  const faults = (): readonly Fault[] => space.faults.list;

  it('bytes of the buffer, across mappings that meet', () => {
    space.map(0x1000, memory.buffer, 2 * PAGE, PAGE, 'read-write');
    space.map(0x2000, memory.buffer, 0, PAGE, 'read-write');
    const expected = [...memory.subarray(3 * PAGE - 8, 3 * PAGE), ...memory.subarray(0, 8)];
    expect([...read(0x1ff8, 16)]).toEqual(expected);
    space.write(0x1fff, Uint8Array.of(1, 2));
    expect([memory[3 * PAGE - 1], memory[0]]).toEqual([1, 2]);
    expect(faults()).toEqual([]);
  });

  it('zeros where nothing is mapped, one fault for one stretch', () => {
    space.map(0x3000, memory.buffer, 0, PAGE, 'read-write');
    expect(read(0x1800, 0x1802)).toEqual(Uint8Array.from([...zeros(0x1800), 0, 1]));
    expect(faults()).toEqual([{ address: 0x1800n, size: 0x1800, access: 'read', reason: 'not mapped' }]);
  });

  it('drops writes behind the last mapped page', () => {
    space.map(0x1000, memory.buffer, 0, PAGE, 'read-write');
    space.write(0x1ffe, Uint8Array.of(7, 7, 7, 7));
    expect(memory[PAGE]).toBe(PAGE % 251);
    expect(faults()).toEqual([{ address: 0x2000n, size: 2, access: 'write', reason: 'not mapped' }]);
  });

  it('enforces permissions', () => {
    space.map(0x1000, memory.buffer, 0, PAGE, 'read');
    space.map(0x2000, memory.buffer, PAGE, PAGE, 'write');
    space.write(0x1000, Uint8Array.of(9));
    expect(memory[0]).toBe(0);
    memory[PAGE] = 77;
    expect(read(0x2000, 1)).toEqual(zeros(1));
    expect(faults().map(({ reason }) => reason)).toEqual(['no write permission', 'no read permission']);
  });

  it('keeps a device inside the buffer, and out of one that was taken', () => {
    const small = new Uint8Array(10).fill(5);
    space.map(0x1000, small.buffer, 0, PAGE, 'read-write');
    expect(read(0x1008, 4)).toEqual(Uint8Array.of(5, 5, 0, 0));
    structuredClone(small.buffer, { transfer: [small.buffer] });
    expect(read(0x1008, 4)).toEqual(zeros(4));
    expect(faults().map(describeFault)).toEqual([
      'DMA read of 2 bytes at 0x100a: past the end of the buffer',
      'DMA read of 4 bytes at 0x1008: buffer detached',
    ]);
  });

  it('the same bytes whatever the size of the access, and wherever it starts', () => {
    space.map(0x1000, memory.buffer, 0, 4 * PAGE, 'read-write');
    for (const size of [1, 64, 127, 128, 129, 4095, PAGE, PAGE + 1, 2 * PAGE]) {
      for (const offset of [0, 1, 100, PAGE, PAGE + 1, 2 * PAGE]) {
        expect(read(0x1000 + offset, size)).toEqual(memory.slice(offset, offset + size));
        const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31 + offset) % 256);
        space.write(0x1000 + offset, bytes);
        expect(memory.slice(offset, offset + size)).toEqual(bytes);
        expect(read(0x1000 + offset, size)).toEqual(bytes);
      }
    }
    expect(faults()).toEqual([]);
  });

  it('nothing of a page that was read before, once the buffer was taken or unmapped', () => {
    for (const take of [
      () => structuredClone(memory.buffer, { transfer: [memory.buffer] }),
      () => space.unmap(0x1000, PAGE),
    ]) {
      memory = new Uint8Array(4 * PAGE).fill(7);
      space.map(0x1000, memory.buffer, PAGE, PAGE, 'read-write');
      expect(read(0x1000, PAGE)[0]).toBe(7);
      take();
      expect(read(0x1000, PAGE)).toEqual(zeros(PAGE));
      space.unmap(0x1000, PAGE);
    }
    expect(faults().map(({ reason }) => reason)).toEqual(['buffer detached', 'not mapped']);
  });

  it('faults at addresses no window has', () => {
    for (const address of [-1, 2n ** 64n - 8n, 2n ** 53n, Number.MAX_SAFE_INTEGER]) {
      expect(read(address, 8)).toEqual(zeros(8));
      expect(faults().at(-1)).toEqual({
        address: BigInt(address),
        size: 8,
        access: 'read',
        reason: 'not mapped',
      });
    }
  });

  it('an unmapped page at once', () => {
    space.map(0x1000, memory.buffer, 0, PAGE, 'read-write');
    space.unmap(0x1000, PAGE);
    space.write(0x1000, Uint8Array.of(9));
    expect(memory[0]).toBe(0);
  });
});

describe('FaultLog', () => {
  it('asks what the device is doing', () => {
    const log = new FaultLog();
    let doing: string | undefined = 'descriptor 5';
    log.about = () => doing;
    log.record({ address: 16n, size: 4, access: 'read', reason: 'x' });
    doing = undefined;
    log.record({ address: 32n, size: 0, access: 'write', reason: 'y' });
    expect(log.list.map(describeFault)).toEqual([
      'DMA read of 4 bytes at 0x10: x (descriptor 5)',
      'DMA write at 0x20: y',
    ]);
  });

  it('keeps the newest, counts all, tells at once', () => {
    const seen: bigint[] = [];
    const log = new FaultLog({ limit: 2, onFault: ({ address }) => seen.push(address) });
    for (const address of [1n, 2n, 3n]) log.record({ address, size: 1, access: 'read', reason: 'x' });
    expect(log.list.map(({ address }) => address)).toEqual([2n, 3n]);
    expect(log.total).toBe(3);
    expect(seen).toEqual([1n, 2n, 3n]);
  });
});
