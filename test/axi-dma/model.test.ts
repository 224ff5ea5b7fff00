/** The model, register by register, with the numbers of PG021: what the driver relies on is what hardware does. */

import { setImmediate as tick } from 'node:timers/promises';
import type { AxiDmaModelOptions } from '../../examples/axi-dma/model.ts';
import { simulateAxiDma } from '../../examples/axi-dma/model.ts';
import { type Bar, type CoherentBuffer, openPci, type PciFunction } from '../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';

const [CR, SR, CURDESC, TAILDESC, ADDRESS, LENGTH] = [0x00, 0x04, 0x08, 0x10, 0x18, 0x28];
const [MM2S, S2MM] = [0x00, 0x30];
const HALTED = 0x1;
const IDLE = 0x2;
const RUN = 0x1;
const RESET = 0x4;
const COMPLETE = 0x8000_0000;
const NOWHERE = 0x7000_0000;

let source: ReturnType<typeof simulateAxiDma>;
let fn: PciFunction;
let registers: Bar;
let memory: CoherentBuffer;
let words: Uint32Array;
/** Addresses for the device: four descriptors, two buffers. */
let descriptor: (index: number) => number;
let from: number;
let to: number;

async function powerUp(options: AxiDmaModelOptions = {}): Promise<void> {
  fn?.close();
  source = simulateAxiDma(options);
  fn = await openPci(source, { debug: false });
  fn.setMaster();
  registers = fn.bar(0);
  memory = fn.dma.allocCoherent(12_288);
  words = new Uint32Array(memory.buffer);
  descriptor = (index) => memory.low + 64 * index;
  from = memory.low + 4096;
  to = memory.low + 8192;
  memory.bytes.subarray(4096, 8192).forEach((_, i, bytes) => {
    bytes[i] = i * 7;
  });
}

beforeEach(() => powerUp());
afterEach(() => fn.close());

const read = (offset: number): number => registers.read32(offset);
const write = (offset: number, value: number): void => registers.write32(offset, value);
const status = (channel: number): number => read(channel + SR);

/** Write a descriptor whose successor is the next one. */
function put(index: number, address: number, control: number): void {
  words.set([descriptor(index + 1), 0, address, 0, 0, 0, control, 0], 16 * index);
}

const statusOf = (index: number): number => memory.load32(64 * index + 0x1c);
const sent = (length: number): Uint8Array => memory.bytes.subarray(4096, 4096 + length);
const received = (length: number): Uint8Array => memory.bytes.subarray(8192, 8192 + length);

/** Let 200 microseconds pass: each read takes one. */
function wait(): void {
  for (let i = 0; i < 200; i++) read(0);
}

describe('AXI DMA model, registers', () => {
  it('as after power-up', async () => {
    for (const channel of [MM2S, S2MM]) {
      assert.equal(read(channel + CR), 0x0001_0002);
      assert.equal(status(channel), 0x0001_0009);
      for (const offset of [CURDESC, TAILDESC, ADDRESS, LENGTH]) assert.equal(read(channel + offset), 0);
    }
    await powerUp({ scatterGather: false });
    assert.equal(status(MM2S), 0x0001_0001);
  });

  it('descriptor pointers have no low bits, and no upper half in a narrow core', async () => {
    write(CURDESC, 0x1040);
    write(CURDESC + 4, 1);
    assert.deepEqual([read(CURDESC), read(CURDESC + 4)], [0x1040, 0]);
    write(CURDESC, 0x1041);
    assert.equal(read(CURDESC), 0x1040);
    assert.match(source.faults[0]?.reason ?? '', /64 bytes/);
    await powerUp({ addressBits: 40 });
    write(CURDESC + 4, 1);
    assert.equal(read(CURDESC + 4), 1);
  });

  it('CURDESC is read-only while the channel runs, and TAILDESC starts nothing while it is halted', () => {
    put(0, from, 0x0c00_0010);
    write(CURDESC, descriptor(0));
    write(TAILDESC, descriptor(0));
    write(CR, RUN);
    write(CURDESC, descriptor(1));
    assert.equal(read(CURDESC), descriptor(0));
    assert.equal(status(MM2S) & (HALTED | IDLE), IDLE);
    wait();
    assert.equal(statusOf(0), 0, 'TAILDESC of before the start is not remembered');
  });

  it('a reset takes both channels, reads 1 until it is done, and forgets everything', () => {
    write(CURDESC, descriptor(0));
    write(MM2S + CR, 0x0005_7001);
    write(S2MM + CR, 0x7001);
    write(S2MM + CR, RESET);
    assert.ok(read(MM2S + CR) & RESET);
    write(MM2S + CR, RUN);
    assert.ok(read(MM2S + CR) & RESET, 'and takes no other command meanwhile');
    wait();
    for (const channel of [MM2S, S2MM]) {
      assert.equal(read(channel + CR), 0x0001_0002);
      assert.equal(status(channel), 0x0001_0009);
    }
    assert.equal(read(CURDESC), 0);
  });

  it('halts a while after it was stopped', () => {
    write(S2MM + CR, RUN);
    write(S2MM + CR, 0);
    assert.equal(status(S2MM) & HALTED, 0);
    wait();
    assert.equal(status(S2MM) & (HALTED | IDLE), HALTED);
  });

  it('a threshold of 0 is 1', () => {
    write(CR, 0x0020_0000);
    assert.equal(read(CR) >>> 16, 0x20);
    write(CR, 0);
    assert.equal(read(CR) >>> 16, 1);
  });
});

describe('AXI DMA model, descriptors', () => {
  function start(): void {
    for (const [channel, first] of [
      [MM2S, 0],
      [S2MM, 2],
    ] as const) {
      write(channel + CURDESC, descriptor(first));
      write(channel + CR, 0x7001);
    }
  }

  it('rests at the tail, goes on when the tail is moved', () => {
    put(0, from, 0x0800_0064);
    put(1, from + 100, 0x0400_0064);
    put(2, to, 64);
    put(3, to + 64, 4000);
    start();
    write(MM2S + TAILDESC, descriptor(0));
    write(S2MM + TAILDESC, descriptor(2));
    wait();
    assert.equal(statusOf(0), (COMPLETE | 100) >>> 0);
    assert.equal(statusOf(2), (COMPLETE | 0x0800_0000 | 64) >>> 0, 'RXSOF, not RXEOF');
    assert.deepEqual([statusOf(1), statusOf(3)], [0, 0]);
    assert.ok(status(MM2S) & status(S2MM) & IDLE);
    assert.equal(status(MM2S) & 0x1000, 0, 'no packet ended');
    assert.equal(read(MM2S + CURDESC), descriptor(0));
    write(MM2S + TAILDESC, descriptor(1));
    write(S2MM + TAILDESC, descriptor(3));
    wait();
    assert.equal(statusOf(3), (COMPLETE | 0x0400_0000 | 136) >>> 0, 'RXEOF, and its length');
    assert.deepEqual(received(200), sent(200));
    for (const channel of [MM2S, S2MM]) {
      assert.equal(status(channel) & 0x7000, 0x1000);
      write(channel + SR, 0x1000);
      assert.equal(status(channel) & 0x7000, 0);
    }
    assert.deepEqual(source.faults, []);
  });

  it('holds the sender up when the stream is full', async () => {
    await powerUp({ fifo: 256 });
    put(0, from, 0x0c00_0400);
    put(2, to, 1024);
    start();
    write(MM2S + TAILDESC, descriptor(0));
    wait();
    assert.equal(statusOf(0), 0);
    assert.equal(status(MM2S) & IDLE, 0);
    write(S2MM + TAILDESC, descriptor(2));
    wait();
    assert.equal(statusOf(0), (COMPLETE | 1024) >>> 0);
    assert.deepEqual(received(1024), sent(1024));
  });

  const failures: [string, number, number, (() => void) | undefined][] = [
    ['SGIntErr: complete already', 0x100, COMPLETE, () => (words[7] = COMPLETE)],
    ['SGDecErr: the descriptor is nowhere', 0x400, 0, () => write(CURDESC, NOWHERE)],
    ['SGSlvErr: it is in broken memory', 0x200, 0, () => (source.model.broken = span(descriptor(0), 64))],
    ['DMAIntErr: no length', 0x10, COMPLETE | 0x1000_0000, () => put(0, from, 0x0c00_0000)],
    ['DMADecErr: the buffer is nowhere', 0x40, COMPLETE | 0x4000_0000, () => put(0, NOWHERE, 0x0c00_0010)],
    [
      'DMASlvErr: it is in broken memory',
      0x20,
      COMPLETE | 0x2000_0000,
      () => (source.model.broken = span(from, 1)),
    ],
  ];
  for (const [name, bit, descriptorStatus, prepare] of failures) {
    it(`${name}: halts until a reset`, () => {
      put(0, from, 0x0c00_0010);
      write(CURDESC, descriptor(0));
      prepare?.();
      const at = read(CURDESC);
      write(CR, 0x7001);
      write(TAILDESC, descriptor(0));
      wait();
      assert.equal(status(MM2S) & 0xffff, 0x4008 | HALTED | bit);
      assert.equal(read(CR) & RUN, 0);
      assert.equal(read(CURDESC), at);
      assert.equal(statusOf(0), descriptorStatus >>> 0);
      write(SR, 0x7000);
      assert.equal(status(MM2S) & 0xffff, 8 | HALTED | bit, 'only the interrupt is cleared');
      write(CR, RESET);
      wait();
      assert.equal(status(MM2S) & 0xffff, 8 | HALTED);
    });
  }

  it('interrupts by the line until every channel is acknowledged', async () => {
    const line = fn.interrupts.intx();
    put(0, from, 0x0c00_0010);
    put(2, to, 16);
    start();
    write(S2MM + TAILDESC, descriptor(2));
    write(MM2S + TAILDESC, descriptor(0));
    await line.wait();
    wait();
    write(MM2S + SR, 0x1000);
    line.unmask();
    await line.wait();
    write(S2MM + SR, 0x1000);
    line.unmask();
    await tick();
    assert.equal(line.count, 2);
  });
});

describe('AXI DMA model, direct registers', () => {
  beforeEach(async () => {
    await powerUp({ scatterGather: false });
    for (const channel of [MM2S, S2MM]) write(channel + CR, 0x7001);
  });

  function begin(channel: number, address: number, length: number): void {
    write(channel + ADDRESS, address);
    write(channel + LENGTH, length);
  }

  it('LENGTH starts a transfer and tells what was received', () => {
    assert.equal(status(MM2S) & (HALTED | IDLE), 0, 'not idle before the first transfer');
    begin(S2MM, to, 1000);
    begin(MM2S, from, 77);
    wait();
    assert.deepEqual(received(77), sent(77));
    assert.equal(read(S2MM + LENGTH), 77);
    for (const channel of [MM2S, S2MM]) assert.equal(status(channel) & 0xf00f, 0x1000 | IDLE);
  });

  it('LENGTH does nothing in a channel that is halted', () => {
    write(MM2S + CR, 0);
    wait();
    begin(MM2S, from, 77);
    wait();
    assert.equal(status(MM2S) & 0xf00f, HALTED);
  });

  it('DMAIntErr: a packet that is longer than LENGTH, which is where writing ends', () => {
    begin(S2MM, to, 50);
    begin(MM2S, from, 51);
    wait();
    assert.equal(status(S2MM) & 0xffff, 0x4010 | HALTED);
    assert.deepEqual(received(50), sent(50));
    assert.equal(memory.bytes[8192 + 50], 0);
  });

  it('a length that the register does not hold is cut', () => {
    begin(MM2S, from, 0x4010);
    assert.equal(read(MM2S + LENGTH), 0x10);
    assert.match(source.faults[0]?.reason ?? '', /14 bits/);
  });
});

function span(start: number, length: number): { start: bigint; end: bigint } {
  return { start: BigInt(start), end: BigInt(start + length - 1) };
}
