/** Declared memory that is part of a BAR: accessors, and no views. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DmaError, type IoRegisters, openPci, type PciFunction } from '../../lib/index.ts';
import { type DeviceModel, simulate, type Width } from '../../lib/sim/index.ts';
import { Master } from '../master.ts';
import { expectCode } from './sim-fixture.ts';

const PAGE = 4096;
const SIZE = 8 * PAGE;
/** Where in the BAR the memory starts, and where the device sees it. */
const OFFSET = 2 * PAGE;
const BASE = 0x3_4000_0000n;

/** A board with memory behind BAR 2, and I/O ports behind BAR 4; remembers each access. */
class Board implements DeviceModel {
  readonly config = { vendorId: 0x1af4, deviceId: 0x0002 };
  readonly bars = [
    { index: 2, size: 64 * 1024 },
    { index: 4, size: 256, kind: 'io' as const },
  ];
  readonly memory = new DataView(new ArrayBuffer(64 * 1024));
  readonly log: string[] = [];

  attach(): void {}
  reset(): void {}

  read(_bar: number, offset: number, width: Width): number {
    this.log.push(`read${8 * width} ${offset - OFFSET}`);
    if (width === 1) return this.memory.getUint8(offset);
    return width === 2 ? this.memory.getUint16(offset, true) : this.memory.getUint32(offset, true);
  }

  write(_bar: number, offset: number, width: Width, value: number): void {
    this.log.push(`write${8 * width} ${offset - OFFSET} ${value}`);
    if (width === 1) this.memory.setUint8(offset, value);
    else if (width === 2) this.memory.setUint16(offset, value, true);
    else this.memory.setUint32(offset, value, true);
  }
}

let board: Board;
let fn: PciFunction;

beforeEach(async () => {
  board = new Board();
  new Uint8Array(board.memory.buffer).fill(0xee);
  fn = await openPci(simulate(board));
});
afterEach(() => fn.close());

const declare = (exclusive = true): void =>
  fn.dma.declareCoherentMemory({ bar: fn.bar(2), offset: OFFSET }, BASE, SIZE, { exclusive });

describe('memory in a BAR', () => {
  it('is declared when it is there', () => {
    const { dma } = fn;
    for (const [bar, offset, size] of [
      [fn.bar(2), 4, SIZE],
      [fn.bar(2), -PAGE, SIZE],
      [fn.bar(2), 64 * 1024 - PAGE, SIZE],
      [fn.bar(2), Number.NaN, SIZE],
      [fn.bar(2), 0, 2 ** 40],
      [fn.bar(4), 0, PAGE],
      [{ ...fn.bar(2), info: { size: SIZE, kind: 'io' as const } } as unknown as IoRegisters, 0, SIZE],
    ] as const) {
      expectCode('EINVAL', () => dma.declareCoherentMemory({ bar, offset }, BASE, size));
    }
    expect(dma.declared).toBeUndefined();
    declare();
    expect(dma.declared).toMatchObject({ kind: 'io', free: SIZE, live: [] });
    expect(board.log).toEqual([]);
  });

  it('is allocated first fit, zeroed word by word', () => {
    declare();
    const first = fn.dma.allocCoherentIo(10);
    expect(board.log).toEqual(['write32 0 0', 'write32 4 0', 'write32 8 0']);
    const second = fn.dma.allocCoherentIo(PAGE + 1);
    expect([first.dmaAddress, second.dmaAddress]).toEqual([BASE, BASE + 2n * BigInt(PAGE)]);
    expect([second.low, second.high, second.size]).toEqual([0x4000_2000, 3, PAGE + 1]);
    expect(fn.dma.declared!.live.length).toBe(2);
    expectCode('ENOMEM', () => fn.dma.allocCoherentIo(SIZE));
    first.free();
    second.free();
    expect(fn.dma.allocCoherentIo(SIZE).dmaAddress).toBe(BASE);
  });

  it('is read and written by accesses of each width, inside the allocation', () => {
    declare();
    fn.dma.allocCoherentIo(PAGE);
    const io = fn.dma.allocCoherentIo(16);
    board.log.length = 0;
    io.write8(1, 0x12);
    io.write16(2, 0x3456);
    io.write32(4, 0x789abcde);
    io.write64(8, 0x0123456789abcdefn);
    expect([io.read8(1), io.read16(2), io.read32(4), io.read64(8)]).toEqual([
      ...[0x12, 0x3456, 0x789abcde, 0x0123456789abcdefn],
    ]);
    expect(board.log.slice(0, 3)).toEqual([
      `write8 ${PAGE + 1} 18`,
      `write16 ${PAGE + 2} ${0x3456}`,
      `write32 ${PAGE + 4} ${0x789abcde}`,
    ]);
    expect(board.memory.getBigUint64(OFFSET + PAGE + 8, true)).toBe(0x0123456789abcdefn);
    for (const offset of [-1, 16, Number.NaN, 0.5, 2 ** 53]) {
      expectCode('EINVAL', () => io.read8(offset));
      expectCode('EINVAL', () => io.write8(offset, 0));
    }
    for (const [read, write, width] of [
      [() => io.read16(15), () => io.write16(15, 0), 16],
      [() => io.read32(13), () => io.write32(13, 0), 32],
      [() => io.read32(2), () => io.write32(2, 0), 32],
      [() => io.read64(9), () => io.write64(9, 0n), 64],
    ] as const) {
      expectCode('EINVAL', read);
      expectCode('EINVAL', write);
      expect(width).toBeGreaterThan(8);
    }
    expectCode('EINVAL', () => io.write8(0, 256));
  });

  it('is copied in words, and bytes at the ends', () => {
    declare();
    const io = fn.dma.allocCoherentIo(32);
    board.log.length = 0;
    io.copyIn(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8).subarray(1), 3);
    expect(board.log).toEqual([
      'write8 3 1',
      `write32 4 ${0x05040302}`,
      'write8 8 6',
      'write8 9 7',
      'write8 10 8',
    ]);
    board.log.length = 0;
    const bytes = new Uint8Array(10);
    expect(io.copyOut(bytes.subarray(1, 9), 3)).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    expect(board.log).toEqual(['read8 3', 'read32 4', 'read8 8', 'read8 9', 'read8 10']);
    expect([bytes[0], bytes[9]]).toEqual([0, 0]);
    const all = Uint8Array.from({ length: 32 }, (_, i) => 200 - i);
    io.copyIn(all);
    expect(io.copyOut(new Uint8Array(32))).toEqual(all);
    board.log.length = 0;
    for (const [length, offset] of [
      [33, 0],
      [1, 32],
      [4, -1],
      [2, 31],
    ] as const) {
      expectCode('EINVAL', () => io.copyIn(new Uint8Array(length), offset));
      expectCode('EINVAL', () => io.copyOut(new Uint8Array(length), offset));
    }
    io.copyIn(new Uint8Array(0));
    expect(io.copyOut(new Uint8Array(0)).length).toBe(0);
    expect(board.log).toEqual([]);
  });

  it('is no memory for allocCoherent and pools, which say what is', () => {
    declare();
    const refusal = (action: () => unknown): void => {
      expect(action).toThrow(DmaError);
      expect(action).toThrow(/part of a BAR.*allocCoherentIo/);
      expectCode('EOPNOTSUPP', action);
    };
    refusal(() => fn.dma.allocCoherent(1));
    refusal(() => fn.dma.createPool('pool', { size: 8, blocks: 1 }));
    const pool = fn.dma.createPool('pool', { size: 8 });
    refusal(() => pool.alloc());
    expectCode('EOPNOTSUPP', () => fn.dma.markDeclaredMemoryOccupied(BASE, PAGE));
    fn.dma.releaseDeclaredMemory();
    declare(false);
    expect(fn.dma.allocCoherent(PAGE).bytes.length).toBe(PAGE);
    expect(pool.alloc()!.bytes.length).toBe(8);
    expect(fn.dma.declared!.free).toBe(SIZE);
  });

  it('that is released while it is zeroed is given back once, and the failure is that of the BAR', () => {
    const { dma } = fn;
    const gone = {
      info: { size: SIZE, kind: 'memory' },
      write32() {
        dma.releaseDeclaredMemory();
        throw new DmaError('ENODEV', 'the board was unplugged');
      },
    } as Partial<IoRegisters> as IoRegisters;
    dma.declareCoherentMemory({ bar: gone, offset: 0 }, BASE, SIZE);
    expectCode('ENODEV', () => dma.allocCoherentIo(PAGE));
    expect([dma.declared, dma.live]).toEqual([undefined, []]);
  });

  it("that is released while it is zeroed is nobody's", () => {
    const { dma } = fn;
    const rash = {
      info: { size: SIZE, kind: 'memory' },
      write32() {
        if (dma.declared !== undefined) dma.releaseDeclaredMemory();
      },
    } as Partial<IoRegisters> as IoRegisters;
    dma.declareCoherentMemory({ bar: rash, offset: 0 }, BASE, SIZE);
    expectCode('EINVAL', () => dma.allocCoherentIo(PAGE));
    expect([dma.declared, dma.live]).toEqual([undefined, []]);
  });

  it('is marked occupied as it is', () => {
    declare();
    board.memory.setUint32(OFFSET + PAGE, 0x1234_5678, true);
    const io = fn.dma.markDeclaredIoOccupied(BASE + BigInt(PAGE + 8), 8);
    expect([io.dmaAddress, io.size, io.read32(0)]).toEqual([BASE + BigInt(PAGE), 16, 0x1234_5678]);
    expectCode('EBUSY', () => fn.dma.markDeclaredIoOccupied(BASE + BigInt(PAGE), 1));
    io.free();
    fn.dma.markDeclaredIoOccupied(BASE + BigInt(PAGE), 1).free();
  });

  it('is gone after free, release and close', () => {
    declare();
    const [freed, released] = [fn.dma.allocCoherentIo(8), fn.dma.allocCoherentIo(8)];
    freed.free();
    fn.dma.releaseDeclaredMemory();
    declare();
    const closed = fn.dma.allocCoherentIo(8);
    expect(fn.dma.live).toEqual([closed]);
    fn.close();
    for (const io of [freed, released, closed]) {
      expect(io.freed).toBe(true);
      for (const use of [
        () => io.read32(0),
        () => io.write32(0, 0),
        () => io.copyIn(new Uint8Array(0)),
        () => io.copyOut(new Uint8Array(0)),
        () => io.dmaAddress,
        () => io.low,
        () => io.high,
        () => io.free(),
      ]) {
        expectCode('EINVAL', use);
      }
      io[Symbol.dispose]();
    }
  });

  it('is not kept when it cannot be zeroed', () => {
    declare();
    fn.config.command &= ~2; // memory decode
    expectCode('EIO', () => fn.dma.allocCoherentIo(8));
    expect([fn.dma.declared!.free, fn.dma.live]).toEqual([SIZE, []]);
  });

  it('is reached by the DMA of a device it was mapped for', async () => {
    const master = new Master();
    using other = await openPci(simulate(master, { address: '0000:00:11.0' }));
    other.setMaster();
    const mapping = other.dma.mapResource(fn.bar(2), OFFSET, SIZE, 'bidirectional');
    const memory = { bar: fn.bar(2), offset: OFFSET };
    other.dma.declareCoherentMemory(memory, mapping.dmaAddress, SIZE);
    const io = other.dma.allocCoherentIo(8);
    const bytes = new Uint8Array(8);
    master.bus.dmaRead(io.dmaAddress, bytes);
    expect(bytes).toEqual(new Uint8Array(8));
    io.copyIn(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    master.bus.dmaRead(io.dmaAddress, bytes);
    expect(bytes).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    master.bus.dmaWrite(io.dmaAddress + 4n, Uint8Array.of(9, 9, 9, 9));
    expect([io.read32(0), io.read32(4)]).toEqual([0x0403_0201, 0x0909_0909]);
    io.free();
    other.dma.releaseDeclaredMemory();
    mapping.unmap();
  });

  it('answers as its function does', async () => {
    using other = await openPci(simulate(new Board(), { address: '0000:00:11.0' }));
    other.dma.declareCoherentMemory({ bar: fn.bar(2), offset: 0 }, BASE, SIZE);
    const io = other.dma.allocCoherentIo(8);
    fn.close();
    expectCode('ENODEV', () => io.read32(0));
    expectCode('ENODEV', () => other.dma.allocCoherentIo(8));
    io.free();
    expect(other.dma.declared!.free).toBe(SIZE);
  });
});
