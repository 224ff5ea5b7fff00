/** The CPU reads bytes that the device wrote to noncoherent memory: dma-debug sees the reads of the library's accessors. */
import { describe, expect, it } from 'vitest';
import { type DmaDevice, openPci, struct, u8, u16, u32, u64 } from '../../lib/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { Master } from '../master.ts';

const SIZE = 4096;
const Entry = struct(16, { status: u32(0), length: u16(4), kind: u8(6), address: u64(8) });

interface Memory {
  readonly address: number;
  readonly bytes: Uint8Array;
  syncForCpu(): void;
  syncForDevice(): void;
  free(): void;
}

interface Synced {
  readonly dmaAddress: bigint;
  syncForCpu(): void;
  syncForDevice(): void;
}

function memoryOf(synced: Synced, bytes: Uint8Array, free: () => void): Memory {
  return {
    address: Number(synced.dmaAddress),
    bytes,
    syncForCpu: () => synced.syncForCpu(),
    syncForDevice: () => synced.syncForDevice(),
    free,
  };
}

const MEMORY: Readonly<Record<string, (dma: DmaDevice) => Memory>> = {
  allocNoncoherent: (dma) => {
    const buffer = dma.allocNoncoherent(SIZE, 'bidirectional');
    return memoryOf(buffer, buffer.bytes, () => buffer.free());
  },
  allocPages: (dma) => {
    const buffer = dma.allocPages(SIZE, 'from-device');
    return memoryOf(buffer, buffer.bytes, () => buffer.free());
  },
  allocNoncontiguous: (dma) => {
    const buffer = dma.allocNoncontiguous(SIZE, 'bidirectional');
    return memoryOf(buffer, buffer.pieces[0]!, () => buffer.free());
  },
  'allocNoncoherent, mapped': (dma) => {
    const buffer = dma.allocNoncoherent(SIZE, 'bidirectional');
    const mapping = dma.mapSingle(buffer.bytes, 'bidirectional');
    return memoryOf(mapping, buffer.bytes, () => {
      mapping.unmap();
      buffer.free();
    });
  },
};

const READS: Readonly<Record<string, (entries: ReturnType<typeof Entry.over>) => unknown>> = {
  load: ({ status }) => status.load(0),
  get: ({ status }) => status.get(0),
  '16 bits': ({ length }) => length.get(0),
  '8 bits': ({ kind }) => kind.load(0),
  '64 bits': ({ address }) => address.get(0),
};

describe.each([true, false])('reads of memory that was not synced, coherent %s', (coherent) => {
  async function open() {
    const source = simulate(new Master(), { coherent });
    const fn = await openPci(source, { debug: { print: false } });
    fn.setMaster();
    const kinds = () => fn.dma.debug!.reports.map(({ kind }) => kind);
    return { fn, dma: fn.dma, bus: source.model.bus, kinds };
  }

  for (const [name, allocate] of Object.entries(MEMORY)) {
    for (const [how, read] of Object.entries(READS)) {
      it(`${name}, ${how}: reported once, and not after a sync`, async () => {
        const { fn, dma, bus, kinds } = await open();
        const memory = allocate(dma);
        const entries = Entry.over(memory.bytes);
        memory.syncForDevice();
        bus.dmaWrite(memory.address, new Uint8Array(16).fill(7));
        memory.syncForCpu();
        read(entries);
        memory.syncForDevice();
        read(entries);
        expect(kinds()).toEqual([]);
        bus.dmaWrite(memory.address, new Uint8Array(16).fill(8));
        read(entries);
        read(entries);
        expect(kinds()).toEqual(['not-synced-for-cpu']);
        expect(dma.debug!.reports[0]!.mistakeAt).toContain('unsynced-reads.test.ts');
        memory.syncForCpu();
        read(entries);
        memory.free();
        fn.close();
        expect(kinds()).toEqual(['not-synced-for-cpu']);
      });
    }
  }

  it('are no mistake beside the bytes that the device wrote', async () => {
    const { fn, dma, bus, kinds } = await open();
    const memory = MEMORY.allocNoncoherent!(dma);
    const entries = Entry.over(memory.bytes);
    memory.syncForDevice();
    bus.dmaWrite(memory.address + 16, new Uint8Array(16).fill(7));
    entries.status.load(0);
    entries.status.load(2);
    memory.syncForCpu();
    memory.free();
    fn.close();
    expect(kinds()).toEqual([]);
  });

  it('are no mistake in coherent memory', async () => {
    const { fn, dma, bus, kinds } = await open();
    const buffer = dma.allocCoherent(SIZE);
    const entries = Entry.over(buffer.bytes);
    bus.dmaWrite(Number(buffer.dmaAddress), new Uint8Array(16).fill(7));
    expect(entries.kind.load(0)).toBe(7);
    buffer.free();
    fn.close();
    expect(kinds()).toEqual([]);
  });
});
