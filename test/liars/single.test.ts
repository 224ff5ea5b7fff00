/** One lie at a time, each of which a driver once believed. */
import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { AxiDma } from '../../examples/axi-dma/driver.ts';
import { AxiDmaModel, type AxiDmaModelOptions } from '../../examples/axi-dma/model.ts';
import { type Beats, LoopbackStream } from '../../examples/axi-dma/stream.ts';
import { E1000e } from '../../examples/nic/driver.ts';
import { forward } from '../../examples/nic/forward.ts';
import { E1000eModel } from '../../examples/nic/model.ts';
import type { Packet } from '../../examples/nic/packet.ts';
import { NvmeController, type NvmeOptions } from '../../examples/nvme/controller.ts';
import { openPci, type PciFunction } from '../../lib/index.ts';
import { type DeviceModel, NvmeModel, simulate, type Width } from '../../lib/sim/index.ts';
import { WrappedModel, wholeAddress } from './wrap.ts';

const ALL_ONES = 0xffff_ffff;
/** S2MM_LENGTH, the place of STATUS in a descriptor, and a flag that only packets have which were received. */
const [LENGTH, STATUS_OF_DESCRIPTOR, RECEIVED] = [0x58, 0x1c, 1 << 26];

interface Lie {
  /** What a register is said to be; undefined: the truth. */
  readonly read?: (offset: number, truth: number) => number | undefined;
  /** Change what the device writes, a copy of it. */
  readonly written?: (bytes: DataView, address: bigint) => void;
}

/** A device that tells one lie. */
class Fibber<M extends DeviceModel> extends WrappedModel<M> {
  readonly lie: Lie;

  constructor(model: M, lie: Lie) {
    super(model);
    this.lie = lie;
  }

  override read(bar: number, offset: number, width: Width): number {
    const truth = super.read(bar, offset, width);
    return (bar === 0 ? this.lie.read?.(offset, truth) : undefined) ?? truth;
  }

  protected override dmaWrite(address: bigint | number, from: Uint8Array, high?: number): boolean {
    const copy = Uint8Array.from(from);
    this.lie.written?.(new DataView(copy.buffer), wholeAddress(address, high));
    return super.dmaWrite(address, copy, high);
  }
}

describe('A NIC that lies about the length of a packet', () => {
  for (const length of [0, 13, 1519, 2049, 4000, 0xffff]) {
    it(`${length}: the packet is dropped, and nothing is lost`, async () => {
      const written = (bytes: DataView): void => {
        if (bytes.byteLength === 8) bytes.setUint16(0, length, true);
      };
      const source = simulate(new Fibber(new E1000eModel(), { written }));
      const nic = new E1000e(await openPci(source), { loopback: true, descriptors: 32, packets: 96 });
      const { available } = nic;
      const batch = new Array<Packet>(8);
      for (let i = 0; i < 200; i++) {
        const packet = nic.alloc()!;
        packet.length = 60;
        nic.transmit([packet]);
        await tick();
        expect(forward(nic, nic, batch)).toBe(0);
      }
      expect(nic.underWay).toBe(0);
      expect(nic.available).toBe(available);
      expect(nic.dropped).toBe(200);
      nic.close();
    });
  }
});

describe('An AXI DMA', () => {
  async function open(model: DeviceModel): Promise<{ axi: AxiDma; fn: PciFunction }> {
    const fn = await openPci(simulate(model), { debug: { print: false } });
    fn.setMaster();
    const interrupts = { mm2s: fn.interrupts.msi(0), s2mm: fn.interrupts.msi(1) };
    return { axi: new AxiDma({ registers: fn.bar(0), interrupts, dma: fn.dma }), fn };
  }

  const overCount: Lie = {
    read: (offset, truth) => (offset === LENGTH && truth > 0 ? truth + 1000 : undefined),
    written: (bytes, address) => {
      if (bytes.byteLength !== 4 || address % 64n !== BigInt(STATUS_OF_DESCRIPTOR)) return;
      const status = bytes.getUint32(0, true);
      if ((status & RECEIVED) !== 0) bytes.setUint32(0, status + 1000, true);
    },
  };
  for (const scatterGather of [true, false]) {
    const core: AxiDmaModelOptions = { scatterGather };

    it(`that counts more bytes than it was given is not believed, scatter-gather ${scatterGather}`, async () => {
      const { axi, fn } = await open(new Fibber(new AxiDmaModel(core), overCount));
      const received = axi.s2mm.receive(new Uint8Array(100));
      const sent = axi.mm2s.send(new Uint8Array(100)).catch(() => {});
      await expect(received).rejects.toMatchObject({ code: 'EIO' });
      await sent;
      axi.close();
      expect(fn.dma.live.length).toBe(0);
      fn.close();
    });

    it(`takes a packet that ends by a beat without bytes, scatter-gather ${scatterGather}`, async () => {
      const stream = new LoopbackStream(8192);
      const { axi, fn } = await open(new AxiDmaModel({ ...core, stream }));
      const push = (...beats: Beats[]): void => {
        for (const one of beats) stream.push(one);
      };
      const first = axi.s2mm.receive(new Uint8Array(100), { signal: AbortSignal.timeout(5000) });
      push({ bytes: new Uint8Array(10), last: false }, { bytes: new Uint8Array(0), last: true });
      expect(await first).toBe(10);
      const second = axi.s2mm.receive(new Uint8Array(100), { signal: AbortSignal.timeout(5000) });
      push({ bytes: new Uint8Array(0), last: false }, { bytes: new Uint8Array(0), last: true });
      expect(await second).toBe(0);
      axi.close();
      fn.close();
    });
  }

  it('that does not come out of reset keeps its memory until it does', async () => {
    let stuck = false;
    const read = (offset: number, truth: number): number | undefined =>
      stuck && offset === 0 ? truth | 4 : undefined;
    const { axi, fn } = await open(new Fibber(new AxiDmaModel(), { read }));
    const entries = () => fn.dma.debug!.entries.used;
    const rings = entries();
    const bytes = new Uint8Array(100);
    const [begun, abandoned] = [axi.s2mm.receive(bytes), axi.s2mm.receive(bytes.slice())];
    stuck = true;
    expect(() => axi.reset()).toThrow(/reset/);
    await expect(begun).rejects.toMatchObject({ code: 'ECANCELED' });
    await expect(abandoned).rejects.toMatchObject({ code: 'ECANCELED' });
    expect(entries()).toBe(rings + 2);
    stuck = false;
    axi.reset();
    expect(entries()).toBe(rings);
    const [received] = await Promise.all([axi.s2mm.receive(bytes), axi.mm2s.send(bytes.slice())]);
    expect(received).toBe(100);
    stuck = true;
    axi.close();
    expect(entries()).toBe(rings);
    stuck = false;
    axi.close();
    expect(entries()).toBe(0);
    fn.close();
  });

  it('is given no segment that is longer than its driver says', async () => {
    const { axi, fn } = await open(new AxiDmaModel());
    const from = [Buffer.alloc(40_000, 1), Buffer.alloc(100, 2)];
    const into = Buffer.alloc(40_100);
    await Promise.all([axi.s2mm.receive(into), axi.mm2s.send(from)]);
    expect(into.equals(Buffer.concat(from))).toBe(true);
    expect(fn.dma.debug!.reports.map(String)).toEqual([]);
    axi.close();
    fn.close();
  });
});

describe('An NVMe controller', () => {
  const [CAPABILITIES, CAPABILITIES_HIGH, CONFIGURATION, STATUS] = [0x00, 0x04, 0x14, 0x1c];
  const IDENTIFY_BYTES = 4096;

  async function open(lie: Lie, options: NvmeOptions = {}): Promise<NvmeController> {
    const fn = await openPci(simulate(new Fibber(new NvmeModel(), lie)));
    return NvmeController.open(fn, options).catch((error) => {
      expect(fn.dma.live.length).toBe(0);
      fn.close();
      throw error;
    });
  }

  it('with queues of one entry is refused', async () => {
    const lie: Lie = { read: (at, truth) => (at === CAPABILITIES ? (truth & ~0xffff) >>> 0 : undefined) };
    await expect(open(lie)).rejects.toMatchObject({ code: 'EIO', message: expect.stringContaining('MQES') });
  });

  it('with its doorbells outside the BAR is refused', async () => {
    const lie: Lie = { read: (at, truth) => (at === CAPABILITIES_HIGH ? truth | 0xf : undefined) };
    await expect(open(lie)).rejects.toMatchObject({ code: 'EIO', message: expect.stringContaining('DSTRD') });
  });

  it('with pages that no host has is refused', async () => {
    const lie: Lie = { read: (at, truth) => (at === CAPABILITIES_HIGH ? truth | 0xff_0000 : undefined) };
    await expect(open(lie)).rejects.toMatchObject({ code: 'EOPNOTSUPP' });
    const upsideDown: Lie = {
      read: (at, truth) => (at === CAPABILITIES_HIGH ? truth | 0x0f_0000 : undefined),
    };
    await expect(open(upsideDown)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('whose blocks are shorter than there are has no such namespace', async () => {
    let lying = false;
    const nvme = await open({
      written: (bytes) => {
        if (lying && bytes.byteLength === IDENTIFY_BYTES) bytes.setUint8(130, 0);
      },
    });
    lying = true;
    await expect(nvme.namespace(1)).rejects.toMatchObject({ code: 'EOPNOTSUPP' });
    lying = false;
    await nvme.namespace(1);
    await nvme.close();
  });

  it('that asks for 71 minutes to shut down, and does not begin, is closed in some seconds', async () => {
    const nvme = await open({
      read: (at, truth) => (at === STATUS ? truth & ~0xc : undefined),
      written: (bytes) => {
        if (bytes.byteLength === IDENTIFY_BYTES) bytes.setUint32(88, ALL_ONES, true);
      },
    });
    await expect(nvme.close()).rejects.toMatchObject({ code: 'ETIMEDOUT', message: /closed/ });
    expect(nvme.fn.closed).toBe(true);
  });

  it('that shuts down for ever is closed when the patience of its driver ends', async () => {
    const read = (at: number, truth: number): number | undefined =>
      at === STATUS && (truth & 0xc) === 8 ? (truth & ~0xc) | 4 : undefined;
    const nvme = await open({ read }, { patience: 50 });
    await expect(nvme.close()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    expect(nvme.fn.closed).toBe(true);
  });

  /** Answers all ones, in configuration too, to the next reads after CC.EN has changed. */
  class Silent extends WrappedModel<NvmeModel> {
    reads: number;
    #left = 0;
    #enabled = 0;

    constructor(reads: number) {
      super(new NvmeModel());
      this.reads = reads;
    }

    override read(bar: number, offset: number, width: Width): number {
      return this.#left-- > 0 ? ALL_ONES : super.read(bar, offset, width);
    }

    override write(bar: number, offset: number, width: Width, value: number): void {
      if (offset === CONFIGURATION && (value & 1) !== this.#enabled) {
        this.#enabled = value & 1;
        this.#left = this.reads;
      }
      super.write(bar, offset, width, value);
    }
  }

  it('that answers nothing for a while after CC.EN has changed is waited for', async () => {
    const model = new Silent(10);
    const fn = await openPci(simulate(model));
    const nvme = await NvmeController.open(fn);
    await nvme.reset();
    expect(nvme.state).toBe('live');
    await nvme.close();
  });

  it('that answers nothing any more is given up after its time, and is not gone', async () => {
    const model = new Silent(0);
    const fn = await openPci(simulate(model));
    const nvme = await NvmeController.open(fn, { patience: 50 });
    model.reads = Number.POSITIVE_INFINITY;
    await expect(nvme.reset()).rejects.toMatchObject({ code: 'EIO' });
    expect(nvme.state).toBe('dead');
    expect(fn.isPresent()).toBe(true);
    await nvme.close();
  });
});
