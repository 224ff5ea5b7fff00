import { setImmediate as tick } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Bar } from '../../lib/pci/bar.ts';
import { EduModel, type EduOptions } from '../../lib/sim/models/edu.ts';
import { command, MASTER, plug, type Slot } from './sim-fixture.ts';

const PAGE = 4096;
const INSIDE = 0x40000n;
const IOVA = 0x10000;
const ONES = 0xffffffff;

let slot: Slot<EduModel>;
let bar: Bar;
let memory: Uint8Array<ArrayBuffer>;

function start(options?: EduOptions): void {
  slot = plug(new EduModel(options));
  bar = slot.transport.bars[0]!;
  memory = Uint8Array.from({ length: PAGE }, (_, i) => (i * 7) % 256);
  slot.space.map(IOVA, memory.buffer, 0, PAGE, 'read-write');
  command(slot.transport, MASTER);
}

beforeEach(() => start());

/** Program a transfer and poll until it is done, as the documentation of the device has it. */
function transfer(source: bigint, destination: bigint, count: number, cmd: number): void {
  bar.write64(0x80, source);
  bar.write64(0x88, destination);
  bar.write64(0x90, BigInt(count));
  bar.write32(0x98, cmd);
  while (bar.read32(0x98) & 1);
}

describe('registers', () => {
  it('identify the device and show it alive', () => {
    expect(bar.read32(0)).toBe(0x010000ed);
    bar.write32(0, 5);
    expect(bar.read32(0)).toBe(0x010000ed);
    for (const word of [0, 1, 0x80000000, ONES]) {
      bar.write32(4, word);
      expect(bar.read32(4)).toBe(~word >>> 0);
    }
  });

  it('take 32 bits below 0x80 and also 64 from there', () => {
    bar.write32(4, 0);
    bar.write8(4, 1);
    bar.write16(4, 1);
    bar.write64(0, ~0n & 0xffffffffffffffffn);
    expect(bar.read32(4)).toBe(ONES);
    expect([bar.read8(0), bar.read16(0)]).toEqual([0, 0]);
    expect(bar.read64(0)).toBe(2n ** 64n - 1n);
    bar.write64(0x80, 0x1122334455667788n);
    expect([bar.read64(0x80), bar.read32(0x80), bar.read32(0x84)]).toEqual([
      0x1122334455667788n,
      0x55667788,
      ONES,
    ]);
    bar.write32(0x80, 5);
    bar.write32(0x84, 6);
    expect(bar.read64(0x80)).toBe(5n);
  });

  it('read all ones where there is none, and where it is write-only', () => {
    for (const offset of [0x0c, 0x60, 0x64, 0xa0, 0x40000, 0xffffc]) expect(bar.read32(offset)).toBe(ONES);
  });
});

describe('factorial', () => {
  const compute = (of: number): number => {
    bar.write32(8, of);
    while (bar.read32(0x20) & 1);
    return bar.read32(8);
  };

  it('is computed modulo 2^32', () => {
    expect([0, 1, 5, 12, 13, 33, 34, ONES].map(compute)).toEqual([
      1, 1, 120, 479001600, 1932053504, 2147483648, 0, 0,
    ]);
  });

  it('ignores a second request while computing', () => {
    bar.write32(8, 5);
    bar.write32(8, 3);
    while (bar.read32(0x20) & 1);
    expect(bar.read32(8)).toBe(120);
  });

  it('interrupts when asked to', async () => {
    const counts: number[] = [];
    slot.transport.interrupts.enable('msi', 0, (count) => counts.push(count));
    compute(3);
    await tick();
    expect(counts).toEqual([]);
    bar.write32(0x20, ONES);
    expect(bar.read32(0x20)).toBe(0x80);
    bar.write32(8, 4);
    for (let i = 0; i < 3; i++) await tick();
    expect([counts, bar.read32(0x24), bar.read32(8)]).toEqual([[1], 1, 24]);
  });
});

describe('interrupt registers', () => {
  it('raise, accumulate and acknowledge a level', async () => {
    let fired = 0;
    slot.transport.interrupts.enable('intx', 0, () => fired++);
    bar.write32(0x60, 0x10);
    bar.write32(0x60, 0x80000000);
    expect(bar.read32(0x24)).toBe(0x80000010);
    await tick();
    expect(fired).toBe(1);
    bar.write32(0x64, 0x10);
    slot.transport.interrupts.unmaskIntx();
    await tick();
    expect(fired).toBe(2);
    bar.write32(0x64, ONES);
    slot.transport.interrupts.unmaskIntx();
    await tick();
    expect([fired, bar.read32(0x24)]).toEqual([2, 0]);
  });

  it('send nothing for nothing', async () => {
    let fired = 0;
    slot.transport.interrupts.enable('msi', 0, () => fired++);
    bar.write32(0x60, 0);
    await tick();
    expect(fired).toBe(0);
  });
});

describe('DMA', () => {
  it.each([1, 100, 4095, 4096])('moves %i bytes there and back', (count) => {
    const sent = memory.slice(0, count);
    transfer(BigInt(IOVA), INSIDE, count, 1);
    memory.fill(0);
    transfer(INSIDE, BigInt(IOVA), count, 3);
    expect(memory.subarray(0, count)).toEqual(sent);
    expect(memory.subarray(count).every((byte) => byte === 0)).toBe(true);
    expect(slot.faults.list).toEqual([]);
  });

  it('raises 0x100 when asked to, and takes no programming while it runs', async () => {
    const counts: number[] = [];
    slot.transport.interrupts.enable('msi', 0, (count) => counts.push(count));
    bar.write64(0x80, BigInt(IOVA));
    bar.write64(0x88, INSIDE);
    bar.write64(0x90, 4n);
    bar.write32(0x98, 5);
    bar.write64(0x90, 8n);
    bar.write32(0x98, 1);
    expect([bar.read64(0x90), bar.read32(0x98)]).toEqual([4n, 5]);
    for (let i = 0; i < 3; i++) await tick();
    expect([counts, bar.read32(0x24), bar.read32(0x98)]).toEqual([[1], 0x100, 4]);
  });

  it('needs the run bit to start', () => {
    bar.write32(0x98, 6);
    expect(bar.read32(0x98)).toBe(0);
  });

  it('cuts addresses to 28 bits, and says so', () => {
    transfer(BigInt(IOVA) + 0x10000000n, INSIDE, 4, 1);
    transfer(INSIDE + 2n, 0xf0000000n + BigInt(IOVA), 2, 3);
    expect([...memory.subarray(0, 2)]).toEqual([14, 21]);
    expect(slot.faults.list).toEqual([
      { address: 0x10010000n, size: 4, access: 'read', reason: 'address cut to 0x10000' },
      { address: 0xf0010000n, size: 2, access: 'write', reason: 'address cut to 0x10000' },
    ]);
  });

  it('has wider addresses when asked to', () => {
    start({ dmaBits: 40 });
    slot.space.map(0x1_0000_0000, memory.buffer, 0, PAGE, 'read');
    transfer(0x1_0000_0000n, INSIDE, 4, 1);
    expect(slot.faults.list).toEqual([]);
  });

  it.each([
    ['before', INSIDE - 1n, 4],
    ['behind', INSIDE + 4093n, 4],
    ['4097 bytes', INSIDE, 4097],
    ['far away', 0n, 4],
  ])('moves nothing to a place outside its buffer: %s', (_, inside, count) => {
    const before = memory.slice();
    transfer(inside, BigInt(IOVA), count, 3);
    expect(memory).toEqual(before);
    expect(slot.faults.list).toMatchObject([{ address: BigInt(IOVA), size: count, access: 'write' }]);
  });

  it('changes no memory while bus mastering is off', () => {
    const before = memory.slice();
    slot.transport.config.write(0x04, 2, 2);
    transfer(INSIDE, BigInt(IOVA), 16, 3);
    transfer(BigInt(IOVA), INSIDE, 16, 1);
    expect(memory).toEqual(before);
    expect(slot.faults.list.map(({ access, reason }) => `${access}: ${reason}`)).toEqual([
      'write: bus mastering is off',
      'read: bus mastering is off',
    ]);
  });

  it('reads zeros from an address that is not mapped, and is told nothing', () => {
    transfer(BigInt(IOVA), INSIDE, 4, 1);
    transfer(0x900000n, INSIDE, 2, 1);
    transfer(INSIDE, BigInt(IOVA) + 100n, 4, 3);
    expect([...memory.subarray(100, 104)]).toEqual([0, 0, 14, 21]);
    expect(slot.faults.list).toMatchObject([{ address: 0x900000n, size: 2, reason: 'not mapped' }]);
  });
});
