/** What only the model shows: errors of the disk, trouble, lies, silence, and a device that goes. */
import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { VirtioBlk, type VirtioBlkOptions } from '../../examples/virtio-blk/driver.ts';
import {
  simulateVirtioBlk,
  VirtioBlkModel,
  type VirtioBlkModelOptions,
} from '../../examples/virtio-blk/model.ts';
import { COMMON } from '../../examples/virtio-blk/registers.ts';
import { openPci } from '../../lib/index.ts';
import {
  type DeviceBus,
  FaultInjector,
  type SimulateOptions,
  simulate,
  type Width,
} from '../../lib/sim/index.ts';
import { Random } from '../random.ts';

const SECTOR = 512;
/** Where the model is notified. */
const NOTIFICATIONS = 0x3000;
const code = (wanted: string) => expect.objectContaining({ code: wanted });

async function plug(
  model: VirtioBlkModelOptions = {},
  options: VirtioBlkOptions = {},
  machine: SimulateOptions = {},
) {
  const source = simulateVirtioBlk(model, machine);
  const fn = await openPci(source, { debug: false });
  return { source, fn, model: source.model, disk: await VirtioBlk.open(fn, options) };
}

describe('the model of a virtio disk', () => {
  it('stores what is written, and counts flushes', async () => {
    const { disk, model } = await plug();
    await disk.write(3, new Uint8Array(SECTOR).fill(9));
    await disk.flush();
    expect(model.disk.bytes.subarray(3 * SECTOR, 4 * SECTOR).every((byte) => byte === 9)).toBe(true);
    expect(model.disk.bytes[4 * SECTOR]).toBe(0);
    expect(model.disk.flushes).toBe(1);
    await disk.close();
  });

  it('goes through all 16 bits of its indices', async () => {
    const { disk } = await plug({}, { queueSize: 64 });
    const bytes = new Uint8Array(SECTOR);
    for (let left = 66_000; left > 0; left -= 100) {
      await Promise.all(Array.from({ length: 100 }, () => disk.read(0, bytes)));
    }
    await disk.close();
  });

  it('fails, and the driver says of what', async () => {
    const { disk, model } = await plug();
    model.disk.failWith = 1;
    await expect(disk.read(5, new Uint8Array(SECTOR))).rejects.toThrow(/read of 512 bytes at sector 5/);
    await expect(disk.write(5, new Uint8Array(SECTOR))).rejects.toEqual(code('EIO'));
    model.disk.failWith = 2;
    await expect(disk.read(5, new Uint8Array(SECTOR))).rejects.toEqual(code('EOPNOTSUPP'));
    model.disk.failWith = 0;
    await disk.read(5, new Uint8Array(SECTOR));
    await disk.close();
  });

  it('is read-only', async () => {
    const { disk } = await plug({ readOnly: true });
    expect(disk.readOnly).toBe(true);
    await expect(disk.write(0, new Uint8Array(SECTOR))).rejects.toEqual(code('EPERM'));
    await disk.read(0, new Uint8Array(SECTOR));
    await disk.close();
  });

  it('grows, and the driver hears of it', async () => {
    const { disk, model } = await plug({ capacity: 4 * SECTOR });
    await expect(disk.read(4, new Uint8Array(SECTOR))).rejects.toEqual(code('EINVAL'));
    model.resize(8 * SECTOR);
    for (let i = 0; i < 5; i++) await tick();
    expect(disk.capacity).toBe(8 * SECTOR);
    await disk.read(7, new Uint8Array(SECTOR));
    await disk.close();
  });
});

describe('the driver of a virtio disk', () => {
  it('gets along with one vector', async () => {
    const inject = new FaultInjector().on('vector-limit', { after: 1 });
    const { disk, fn } = await plug({}, {}, { inject });
    expect(fn.interrupts.armed).toHaveLength(1);
    await disk.read(0, new Uint8Array(SECTOR));
    await disk.close();
  });

  it('ends what takes too long, and works after a restart', async () => {
    const inject = new FaultInjector().on('completion-delayed', { until: 1, microseconds: Infinity });
    const { disk, fn } = await plug({ latency: 10 }, { timeout: 300 }, { inject });
    const reads = [0, 1, 2].map((sector) => disk.read(sector, new Uint8Array(SECTOR)));
    for (const read of reads) await expect(read).rejects.toEqual(code('ETIMEDOUT'));
    await expect(disk.read(0, new Uint8Array(SECTOR))).rejects.toEqual(code('ETIMEDOUT'));
    await disk.restart();
    await disk.read(0, new Uint8Array(SECTOR));
    await disk.close();
    expect(fn.dma.live).toEqual([]);
  });

  it('ends everything with ENODEV when the device is pulled out', async () => {
    const { disk, fn, source } = await plug({ latency: 10 });
    const reads = [0, 1, 2].map((sector) => disk.read(sector, new Uint8Array(SECTOR)));
    source.unplug();
    for (const read of reads) await expect(read).rejects.toEqual(code('ENODEV'));
    await expect(disk.read(0, new Uint8Array(SECTOR))).rejects.toEqual(code('ENODEV'));
    await disk.close();
    expect(fn.dma.live).toEqual([]);
  });

  it('refuses a device that goes around the IOMMU', async () => {
    const source = simulateVirtioBlk();
    const { model } = source;
    const read = model.read.bind(model);
    // The upper half of the features without ACCESS_PLATFORM.
    model.read = (bar, offset, width) =>
      offset === 4 ? read(bar, offset, width) & ~2 : read(bar, offset, width);
    const fn = await openPci(source);
    await expect(VirtioBlk.open(fn)).rejects.toThrow(/iommu_platform/);
    expect([fn.closed, fn.dma.live]).toEqual([true, []]);
  });

  it('survives a device that lies in its rings, and works after a restart', async () => {
    const random = new Random();
    const source = simulateVirtioBlk({ latency: 3, capacity: 2 ** 18 });
    const fn = await openPci(source, { debug: false });
    let lying = false;
    const { model } = source;
    const disk = await VirtioBlk.open(fn, { timeout: 40, queueSize: 16 });
    const handle = model.disk.handle.bind(model.disk);
    // Bytes written, the status, and through them the used entry.
    model.disk.handle = (chain) => {
      const written = handle(chain);
      if (!lying) return written;
      if (random.below(3) === 0)
        chain.write(Math.max(chain.writeBytes - 1, 0), Uint8Array.of(random.below(256)));
      return random.below(2) === 0 ? written : random.below(2 ** 32);
    };
    const seen = new Set<string>();
    for (let round = 0; round < 400; round++) {
      lying = random.below(2) === 0;
      const bytes = new Uint8Array(SECTOR * (1 + random.below(8)));
      await Promise.all(
        Array.from({ length: 6 }, async () => {
          try {
            await disk.read(random.below(100), bytes);
          } catch (error) {
            seen.add((error as { code: string }).code);
          }
        }),
      );
      if (round % 50 === 0) await disk.restart();
    }
    expect([...seen].every((one) => ['EIO', 'EOPNOTSUPP', 'ETIMEDOUT'].includes(one))).toBe(true);
    lying = false;
    await disk.restart();
    const [from, into] = [new Uint8Array(SECTOR).fill(7), new Uint8Array(SECTOR)];
    await disk.write(9, from);
    await disk.read(9, into);
    expect(into).toEqual(from);
    await disk.close();
    expect(fn.dma.live).toEqual([]);
  });
});

/** A disk that does nothing by itself, and whose bus the test has too. */
class Liar extends VirtioBlkModel {
  bus!: DeviceBus;
  /** Address of the used ring. */
  used = 0n;

  override attach(bus: DeviceBus): void {
    this.bus = bus;
    super.attach(bus);
  }

  override write(bar: number, offset: number, width: Width, value: number): void {
    if (offset === COMMON.queueDevice) this.used = BigInt(value);
    if (offset === COMMON.queueDevice + 4) this.used |= BigInt(value) << 32n;
    if (offset !== NOTIFICATIONS) super.write(bar, offset, width, value);
  }
}

it('a configuration that changes all the time is not read for ever', async () => {
  let generation = 0;
  class Restless extends VirtioBlkModel {
    override read(bar: number, offset: number, width: Width): number {
      if (offset === COMMON.generation) return generation++ & 0xff;
      return super.read(bar, offset, width);
    }
  }
  const fn = await openPci(simulate(new Restless()), { debug: false });
  await expect(VirtioBlk.open(fn)).rejects.toEqual(code('EIO'));
  expect(generation).toBeGreaterThan(1);
});

describe('a used ring that cannot be', () => {
  it.each([
    ['an index that runs ahead', 2, 500],
    ['a chain that is none', 4, 9],
  ])('%s ends everything with EIO', async (_, offset, value) => {
    const model = new Liar();
    const fn = await openPci(simulate(model), { debug: false });
    const disk = await VirtioBlk.open(fn, { queueSize: 16 });
    const read = disk.read(0, new Uint8Array(SECTOR));
    const { bus, used } = model;
    bus.dmaWrite(used + BigInt(offset), Uint8Array.of(value & 0xff, value >>> 8));
    if (offset === 4) bus.dmaWrite(used + 2n, Uint8Array.of(1, 0));
    bus.raise(1);
    await expect(read).rejects.toThrow(/was not given/);
    await disk.restart();
    await disk.close();
    expect(fn.dma.live).toEqual([]);
  });
});
