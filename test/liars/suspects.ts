/**
 * The drivers of the examples as the test of lying devices uses them: what each does with a device that lies, and what must
 * work when the device has been reset and is honest again.
 */
import { setImmediate as tick } from 'node:timers/promises';
import { expect } from 'vitest';
import { AxiDma } from '../../examples/axi-dma/driver.ts';
import { AxiDmaModel } from '../../examples/axi-dma/model.ts';
import { Edu, MAX_TRANSFER } from '../../examples/edu/driver.ts';
import { E1000e } from '../../examples/nic/driver.ts';
import { E1000eModel } from '../../examples/nic/model.ts';
import type { Packet } from '../../examples/nic/packet.ts';
import { NvmeController } from '../../examples/nvme/controller.ts';
import { VirtioBlk } from '../../examples/virtio-blk/driver.ts';
import { VirtioBlkModel } from '../../examples/virtio-blk/model.ts';
import { Xdma } from '../../examples/xdma/driver.ts';
import { XdmaModel } from '../../examples/xdma/model.ts';
import { DmaError, type PciFunction } from '../../lib/index.ts';
import { type DeviceModel, EduModel, NvmeModel } from '../../lib/sim/index.ts';
import { expectFrame, fill, receive, transmit } from '../nic/traffic.ts';
import type { Random } from '../random.ts';

/** A driver that was loaded. */
export interface Loaded {
  /** Does something that may fail with a DmaError, as long as the device lies. */
  deed(random: Random): Promise<void>;
  /** Reset the device, which is honest now: if that succeeds everything works. Undefined: the driver has no reset. */
  readonly reset?: () => Promise<void>;
  /** Everything works. */
  works(random: Random): Promise<void>;
  close(): Promise<void>;
}

export interface Suspect {
  readonly name: string;
  model(random: Random): DeviceModel;
  /** @param patient whether the device is honest: then no time is short, however busy the machine is */
  load(fn: PciFunction, random: Random, patient: boolean): Promise<Loaded>;
}

/** Milliseconds that a lying device is waited for. */
const SHORT = 30;
const LONG = 30_000;
const BLOCK = 512;

/** Waiting for something that may never come ends with the test's own reason. */
class Enough extends Error {}

function soon(): { signal: AbortSignal; [Symbol.dispose](): void } {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(new Enough()), SHORT);
  return { signal: control.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}

/** Await something that a lying device may make fail: with a DmaError, and nothing else. */
export async function mayFail<T>(work: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DmaError || error instanceof Enough) return undefined;
    throw error;
  }
}

/** A view with bytes around it, in pages of their own, which must stay as they are. */
function guarded(length: number, random: Random): { view: Uint8Array; check(): void } {
  const memory = new Uint8Array(8192 + Math.ceil(length / 4096) * 4096).fill(0xa5);
  const at = 4096 + random.below(4096 - (length % 4096));
  return {
    view: memory.subarray(at, at + length),
    check: () => {
      expect(memory[0]).toBe(0xa5);
      expect(memory[memory.length - 1]).toBe(0xa5);
    },
  };
}

const edu: Suspect = {
  name: 'edu',
  model: (random) => new EduModel({ transferTime: random.below(3) === 0 ? 0 : random.size(100) }),
  load: async (fn, _random, patient) => {
    const driver = new Edu(fn, { timeout: patient ? LONG : SHORT });
    return {
      deed: async (random) => {
        if (!fn.closed) fn.setMaster();
        const { view, check } = guarded(1 + random.below(MAX_TRANSFER), random);
        const deeds = [
          () => driver.identify(),
          () => driver.isAlive(random.below(2 ** 32)),
          () => driver.factorial(random.below(13)),
          () => driver.write(view),
          async () => expect((await driver.read(view.length)).length).toBe(view.length),
          () => driver.send(view),
          () => driver.receive(view),
        ];
        await mayFail<unknown>(deeds[random.below(deeds.length)]!);
        check();
      },
      works: async (random) => {
        expect(driver.identify().major).toBe(1);
        expect(await driver.factorial(5)).toBe(120);
        const sent = random.bytes(1 + random.below(MAX_TRANSFER));
        const back = new Uint8Array(sent.length);
        await driver.send(sent);
        await driver.receive(back);
        expect(sent.equals(back)).toBe(true);
      },
      close: async () => driver.close(),
    };
  },
};

const nvme: Suspect = {
  name: 'NVMe',
  model: (random) => new NvmeModel({ latency: random.below(3) === 0 ? 0 : random.size(100) }),
  load: async (fn, random, patient) => {
    const time = patient ? LONG : SHORT;
    const controller = await NvmeController.open(fn, {
      timeout: time,
      patience: time,
      queues: 1 + random.below(3),
      depth: 1 + random.below(8),
      completions: random.below(2) === 0 ? 'poll' : 'interrupt',
      sgl: random.below(2) === 0,
    });
    const deed = async (random: Random): Promise<void> => {
      const disk = await mayFail(() => controller.namespace(1));
      const [lba, blocks] = [random.below(64), 1 + random.below(20)];
      const { view, check } = guarded(blocks * (disk?.blockSize ?? BLOCK), random);
      const deeds = [
        () => disk?.read(lba, view),
        () => disk?.write(lba, view),
        () => disk?.flush(),
        () => disk?.trim(lba, blocks),
        () => disk?.writeZeroes(lba, blocks),
        () => controller.namespaces(),
        () => controller.admin.health(),
        () => controller.admin.errors(4),
        () => controller.reset(),
      ];
      const some = Array.from({ length: 1 + random.below(4) }, () => deeds[random.below(deeds.length)]!);
      await Promise.all(some.map((one) => mayFail<unknown>(one)));
      check();
    };
    const works = async (random: Random): Promise<void> => {
      const [disk] = await controller.namespaces();
      const sent = random.bytes(BLOCK * (1 + random.below(40)));
      const back = new Uint8Array(sent.length);
      await disk!.write(3, sent);
      await disk!.read(3, back);
      expect(sent.equals(back)).toBe(true);
    };
    return { deed, works, reset: () => controller.reset(), close: () => controller.close() };
  },
};

const nic: Suspect = {
  name: 'NIC',
  model: (random) => new E1000eModel({ packetTime: random.below(3) }),
  load: async (fn, random) => {
    const descriptors = 8 * (1 + random.below(3));
    const packets = 3 * descriptors;
    const driver = new E1000e(fn, { loopback: true, descriptors, packets });
    const held = new Set<Packet>();
    const batch: Packet[] = [];
    const give = (): void => {
      for (const packet of held) packet.free();
      held.clear();
    };
    const deed = async (random: Random): Promise<void> => {
      const deeds = [
        () => driver.reset(),
        () => driver.statistics(),
        () => driver.link,
        () => driver.readEeprom(random.below(64)),
        async () => {
          using end = soon();
          await driver.waitToReceive(end);
        },
        async () => {
          using end = soon();
          await driver.waitToTransmit(driver.capacity, end);
        },
      ];
      for (let i = random.below(8); i > 0; i--) {
        const packet = await mayFail(() => driver.alloc());
        if (packet === undefined) break;
        expect(held.has(packet)).toBe(false);
        held.add(fill(packet, i, 60 + random.below(1400)));
        if ((await mayFail(() => driver.transmit([packet]))) === 1) held.delete(packet);
      }
      await tick();
      if (random.below(3) === 0) await mayFail<unknown>(deeds[random.below(deeds.length)]!);
      const received = (await mayFail(() => driver.receive(batch, 8))) ?? 0;
      for (const packet of batch.slice(0, received)) {
        expect(packet.length).toBeLessThanOrEqual(packet.bytes.length);
        expect(held.has(packet)).toBe(false);
        held.add(packet);
      }
      if (random.below(2) === 0) give();
    };
    const works = async (random: Random): Promise<void> => {
      const lengths = Array.from({ length: 1 + random.below(6) }, () => 60 + random.below(1400));
      await transmit(
        driver,
        lengths.map((length, i) => fill(driver.alloc()!, i, length)),
      );
      const came = await receive(driver, lengths.length);
      for (const [i, packet] of came.entries()) {
        expectFrame(packet, i, lengths[i]!, 'after a reset');
        packet.free();
      }
    };
    const reset = async (): Promise<void> => {
      give();
      driver.reset();
      // Those of the receive ring are there, all others are free.
      expect(driver.available).toBe(packets - descriptors);
    };
    return { deed, works, reset, close: async () => driver.close() };
  },
};

const axi: Suspect = {
  name: 'AXI DMA',
  model: (random) => new AxiDmaModel({ scatterGather: random.below(2) === 0, bandwidth: random.size(4000) }),
  load: async (fn, random) => {
    fn.setMaster();
    const line = random.below(3) === 0;
    const interrupts = line
      ? { mm2s: fn.interrupts.intx(), s2mm: fn.interrupts.intx() }
      : { mm2s: fn.interrupts.msi(0), s2mm: fn.interrupts.msi(1) };
    const driver = new AxiDma({ registers: fn.bar(0), interrupts, dma: fn.dma }, { descriptors: 16 });
    const deed = async (random: Random): Promise<void> => {
      const length = 1 + random.below(5000);
      const { view, check } = guarded(length, random);
      using end = soon();
      const transfers = [
        mayFail(async () => expect(await driver.s2mm.receive(view, end)).toBeLessThanOrEqual(length)),
        mayFail(() => driver.mm2s.send(new Uint8Array(1 + random.below(length)), end)),
      ];
      if (random.below(10) === 0) await mayFail(() => driver.reset());
      await Promise.all(transfers);
      check();
    };
    const works = async (random: Random): Promise<void> => {
      const sent = random.bytes(1 + random.below(5000));
      const back = new Uint8Array(sent.length);
      await Promise.all([driver.s2mm.receive(back), driver.mm2s.send(sent)]);
      expect(sent.equals(back)).toBe(true);
    };
    const close = async (): Promise<void> => driver.close();
    return { deed, works, close, reset: async () => driver.reset() };
  },
};

const virtio: Suspect = {
  name: 'virtio-blk',
  model: (random) => new VirtioBlkModel({ latency: random.below(3) === 0 ? 0 : random.size(100) }),
  load: async (fn, random, patient) => {
    const queueSize = 2 ** (2 + random.below(6));
    const disk = await VirtioBlk.open(fn, { timeout: patient ? LONG : SHORT, queueSize });
    const deed = async (random: Random): Promise<void> => {
      const sector = random.below(64);
      const { view, check } = guarded(BLOCK * (1 + random.below(20)), random);
      const deeds = [
        () => disk.read(sector, view),
        () => disk.write(sector, view),
        () => disk.flush(),
        async () => expect((await disk.serial()).length).toBeLessThanOrEqual(20),
        () => disk.restart(),
      ];
      const some = Array.from({ length: 1 + random.below(4) }, () => deeds[random.below(deeds.length)]!);
      await Promise.all(some.map((one) => mayFail(one)));
      check();
    };
    const works = async (random: Random): Promise<void> => {
      const sent = random.bytes(BLOCK * (1 + random.below(40)));
      const back = new Uint8Array(sent.length);
      await disk.write(3, sent);
      await disk.read(3, back);
      expect(sent.equals(back)).toBe(true);
    };
    return { deed, works, reset: () => disk.restart(), close: () => disk.close() };
  },
};

const xdma: Suspect = {
  name: 'XDMA',
  model: (random) => new XdmaModel({ channels: 1 + random.below(3), time: random.size(50) }),
  load: async (fn, random, patient) => {
    const completions = random.below(2) === 0 ? 'poll' : 'interrupt';
    const driver = await Xdma.open(fn, { completions, timeout: patient ? LONG : SHORT });
    const deed = async (random: Random): Promise<void> => {
      const { view, check } = guarded(1 + random.below(20_000), random);
      const card = random.below(2 ** 16);
      const channel = random.below(3);
      const deeds = [
        () => driver.read(card, view, { channel }),
        () => driver.write(card, view, { channel }),
        () => driver.read(card, [view.subarray(0, view.length >> 1), view.subarray(view.length >> 1)]),
        async () => void driver.userInterrupt(random.below(16)),
        () => driver.reset(),
      ];
      const some = Array.from({ length: 1 + random.below(4) }, () => deeds[random.below(deeds.length)]!);
      await Promise.all(some.map((one) => mayFail(one)));
      check();
    };
    const works = async (random: Random): Promise<void> => {
      const sent = random.bytes(1 + random.below(50_000));
      const back = new Uint8Array(sent.length);
      await driver.write(64, sent);
      await driver.read(64, back);
      expect(sent.equals(back)).toBe(true);
    };
    return { deed, works, reset: () => driver.reset(), close: () => driver.close() };
  },
};

export const suspects: readonly Suspect[] = [edu, nvme, nic, axi, virtio, xdma];
