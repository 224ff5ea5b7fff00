/** The edu driver in every way that memory can go to a device and back, all of them right. */
import { Edu } from '../../examples/edu/driver.ts';
import { assert } from '../harness.ts';
import { PAGE } from '../page.ts';
import { DEVICE_MEMORY, FROM_DEVICE } from './device-memory.ts';

/** A whole number from 0 to `limit` - 1. */
export type Below = (limit: number) => number;

/** Bytes of the device's memory that are used. */
const ROOM = 4095;
/** Elements of a list at most. */
const ELEMENTS = 5;

export class CorrectEdu extends Edu {
  /** Through the driver's own page. */
  async throughPage(below: Below): Promise<void> {
    const sent = someBytes(below);
    const at = below(ROOM - sent.length + 1);
    await this.write(sent, at, below(4096 - sent.length + 1));
    assert.deepEqual(await this.read(sent.length, at, below(4096 - sent.length + 1)), sent);
  }

  /** Any memory of the program's, lent for one transfer. */
  async lent(below: Below): Promise<void> {
    const sent = someBytes(below);
    const got = someMemory(below, sent.length);
    const at = below(ROOM - sent.length + 1);
    await this.send(sent, at);
    await this.receive(got, at);
    assert.deepEqual(Buffer.from(got), Buffer.from(sent));
  }

  /** One mapping, CPU and device in turns, also for parts of it. */
  async inTurns(below: Below): Promise<void> {
    const bytes = someBytes(below);
    const expected = Uint8Array.from(bytes);
    const mapping = this.fn.dma.mapSingle(bytes, 'bidirectional');
    const { dmaAddress: address, size } = mapping;
    await this.transfer(address, DEVICE_MEMORY, size, 0);
    const from = below(size);
    const length = 1 + below(size - from);
    mapping.syncForCpu(from, length);
    bytes.fill(0x5a, from, from + length);
    mapping.syncForDevice(from, length);
    await this.transfer(DEVICE_MEMORY + BigInt(from), address + BigInt(from), length, FROM_DEVICE);
    mapping.unmap();
    assert.deepEqual(Buffer.from(bytes), Buffer.from(expected));
  }

  /** Memory that was allocated for turns. */
  async noncoherent(below: Below): Promise<void> {
    const sent = someBytes(below);
    const buffer = this.fn.dma.allocNoncoherent(sent.length, 'bidirectional');
    buffer.bytes.set(sent);
    buffer.syncForDevice();
    await this.transfer(buffer.dmaAddress, DEVICE_MEMORY, buffer.size, 0);
    buffer.syncForCpu();
    buffer.bytes.fill(0);
    buffer.syncForDevice();
    await this.transfer(DEVICE_MEMORY, buffer.dmaAddress, buffer.size, FROM_DEVICE);
    buffer.syncForCpu();
    assert.deepEqual(Buffer.from(buffer.bytes), Buffer.from(sent));
    buffer.free();
  }

  /** Blocks of a pool, which are the device's and the CPU's at once. */
  async blocks(below: Below): Promise<void> {
    const size = 64 * (1 + below(15));
    using pool = this.fn.dma.createPool('blocks', { size, align: 64, poison: below(2) === 0 });
    const [first, second] = [pool.alloc()!, pool.alloc()!];
    first.bytes.fill(below(256));
    await this.transfer(first.dmaAddress, DEVICE_MEMORY, size, 0);
    await this.transfer(DEVICE_MEMORY, second.dmaAddress, size, FROM_DEVICE);
    assert.deepEqual(Buffer.from(second.bytes), Buffer.from(first.bytes));
    pool.free(first);
    second.free();
  }

  /** Lists of anything, own memory among it. */
  async lists(below: Below): Promise<void> {
    using page = this.fn.dma.allocCoherent(1000);
    using buffer = this.fn.dma.allocNoncoherent(1000, 'bidirectional');
    const own = [page.bytes, buffer.bytes];
    const views = Array.from({ length: 1 + below(ELEMENTS) }, (_, i) => {
      const view = own[i] ?? someMemory(below, 1 + below(400));
      return view.fill(below(256));
    });
    const sent = Buffer.concat(views);
    await this.#eachSegment(views, 'to-device', (address, at, size) => this.transfer(address, at, size, 0));
    for (const view of views) view.fill(0);
    await this.#eachSegment(views, 'from-device', (address, at, size) =>
      this.transfer(at, address, size, FROM_DEVICE),
    );
    assert.deepEqual(Buffer.concat(views), sent);
  }

  /** Memory linked into addresses that were reserved before; where there are none to reserve, nothing. */
  async linked(below: Below): Promise<void> {
    const size = 1 + below(4000);
    const range = this.fn.dma.reserveIova(2 * PAGE);
    if (range === null) return;
    using page = this.fn.dma.allocCoherent(size);
    page.bytes.fill(below(256));
    range.link(PAGE, page.bytes, 'bidirectional');
    range.sync(PAGE, size);
    await this.transfer(range.dmaAddress + BigInt(PAGE), DEVICE_MEMORY, size, 0);
    const sent = Buffer.from(page.bytes);
    page.bytes.fill(0);
    await this.transfer(DEVICE_MEMORY, range.dmaAddress + BigInt(PAGE), size, FROM_DEVICE);
    assert.deepEqual(Buffer.from(page.bytes), sent);
    range.destroy();
  }

  async #eachSegment(
    views: readonly Uint8Array[],
    direction: 'to-device' | 'from-device',
    move: (address: bigint, at: bigint, size: number) => Promise<void>,
  ): Promise<void> {
    using list = this.fn.dma.mapSg(views, direction);
    let at = DEVICE_MEMORY;
    for (const { dmaAddress, length } of list.segments) {
      await move(dmaAddress, at, length);
      at += BigInt(length);
    }
  }
}

/** Random bytes, 1 to all that the device has room for. */
function someBytes(below: Below): Uint8Array {
  const view = someMemory(below, 1 + below(below(4) === 0 ? ROOM : 300));
  for (let i = 0; i < view.length; i++) view[i] = below(256);
  return view;
}

/** A part of some buffer: of its own or of a larger one, anywhere in it. */
function someMemory(below: Below, size: number): Uint8Array {
  const before = below(3) === 0 ? 0 : below(100);
  return new Uint8Array(new ArrayBuffer(before + size + below(100)), before, size);
}
