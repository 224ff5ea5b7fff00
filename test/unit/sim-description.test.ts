/** What a model can say that it is, what no function can be, and where its BARs are. */
import { describe, expect, it } from 'vitest';
import { openPci, PCI_CAPABILITY } from '../../lib/index.ts';
import { placeBars } from '../../lib/sim/firmware.ts';
import {
  type BarDescription,
  type DeviceBus,
  EduModel,
  FaultInjector,
  type FunctionDescription,
  simulate,
} from '../../lib/sim/index.ts';
import { expectCode, RecordingModel } from './sim-fixture.ts';

const open = (config: Partial<FunctionDescription>, bars?: readonly BarDescription[]) =>
  openPci(simulate(new RecordingModel(config, bars)));

describe('standard capabilities of a model', () => {
  const vendor = (...bytes: number[]) => ({ id: PCI_CAPABILITY.vendor, registers: Uint8Array.from(bytes) });

  it('stand behind those of its fields, and are read at every width', async () => {
    using fn = await open({
      msi: 1,
      functionLevelReset: true,
      capabilities: [
        { ...vendor(0, 2, 0x34, 0x12, 0, 0, 0x78, 0x56, 0x34, 0x92), writable: Uint8Array.of(0, 0, 0xff) },
        { id: 0x0d, registers: Uint8Array.of(0, 0, 0xf4, 0x1a, 0x00, 0x11) },
        vendor(4, 9),
      ],
    });
    const { config } = fn;
    expect([...config.capabilities()].map(({ id }) => id)).toEqual([5, 0x13, 9, 0x0d, 9]);
    const [first, second] = config.vendorSpecific;
    expect([first!.size, first!.read8(3), first!.read16(4), first!.read32(8)]).toEqual([
      12, 2, 0x1234, 0x92345678,
    ]);
    expect([second!.size, second!.read8(3)]).toEqual([4, 9]);
    config.write32(first!.offset + 4, 0xffffffff);
    expect(first!.read32(4)).toBe(0x12ff);
    const subsystem = config.findCapability(0x0d)!;
    expect([config.read16(subsystem + 4), config.read16(subsystem + 6)]).toEqual([0x1af4, 0x1100]);
    for (const read of [
      () => first!.read8(12),
      () => first!.read16(11),
      () => first!.read32(10),
      () => first!.read16(-2),
      () => first!.read16(3),
      () => first!.read32(Number.NaN),
    ]) {
      expectCode('EINVAL', read);
    }
  });

  it('put pending bits into a BAR of their own', async () => {
    using fn = await open({ msix: { vectors: 2, bar: 0, table: 0x40, pendingBar: 2, pending: 0x40 } }, [
      { index: 0, size: 256 },
      { index: 2, size: 256 },
    ]);
    expect(fn.config.msix!.table).toEqual({ bar: 0, offset: 0x40, size: 32 });
    expect(fn.config.msix!.pending).toEqual({ bar: 2, offset: 0x40, size: 8 });
    expectCode('EPERM', () => fn.bar(0).read32(0x40));
    expect(fn.bar(2).read32(0x40)).toBe(0);
    expectCode('EPERM', () => fn.bar(2).write32(0x40, 0));
  });
});

describe('a description of what no function can be is refused:', () => {
  const bars = [
    { index: 0, size: 0x10000 },
    { index: 1, size: 256, kind: 'io' },
  ] as const;
  const bytes = (length: number) => new Uint8Array(length);
  const cases: Record<string, Partial<FunctionDescription> & { readonly bars?: readonly BarDescription[] }> =
    {
      'a table over the pending bits': { msix: { vectors: 64, bar: 0, table: 0x40, pending: 0x50 } },
      'pending bits over the table': { msix: { vectors: 64, bar: 0, table: 0x40, pending: 0x438 } },
      'MSI-X in an I/O BAR': { msix: { vectors: 1, bar: 1, table: 0, pending: 64 } },
      'pending bits in an I/O BAR': { msix: { vectors: 1, bar: 0, table: 0, pendingBar: 1, pending: 64 } },
      'MSI-X in no BAR': { msix: { vectors: 1, bar: 3, table: 0, pending: 64 } },
      'a table at no number': { msix: { vectors: 1, bar: 0, table: Number.NaN, pending: 64 } },
      'the vendor of an empty slot': { vendorId: 0xffff },
      'a vendor of 32 bits': { vendorId: 0x10ee9038 },
      'a device of 17 bits': { deviceId: 0x10000 },
      'a negative device': { deviceId: -1 },
      'a revision of 9 bits': { revision: 300 },
      'a class of 25 bits': { classCode: 0x1000000 },
      'half a class': { classCode: 0.5 },
      'a subsystem of 17 bits': { subsystemId: 0x10000 },
      'a subsystem vendor that is text': { subsystemVendorId: '1af4' as never },
      'a serial number that is no bigint': { express: true, serialNumber: 5 as never },
      'a serial number of 65 bits': { express: true, serialNumber: 2n ** 64n },
      'an extended version of 5 bits': {
        express: true,
        extended: [{ id: 3, version: 16, registers: bytes(4) }],
      },
      'a capability that a field makes': { capabilities: [{ id: 5, registers: bytes(4) }] },
      'capability 0': { capabilities: [{ id: 0, registers: bytes(4) }] },
      'capability 255': { capabilities: [{ id: 255, registers: bytes(4) }] },
      'a capability without bytes': { capabilities: [{ id: 9 } as never] },
      'a mask longer than its registers': {
        capabilities: [{ id: 9, registers: bytes(4), writable: bytes(5) }],
      },
      'more capabilities than fit': { msi: 1, capabilities: [{ id: 9, registers: bytes(0xb0) }] },
      'BARs of 3 GiB below 4 GiB': { bars: [0, 1, 2].map((index) => ({ index, size: 2 ** 30 })) },
      'an I/O BAR of 512 bytes': { bars: [{ index: 0, size: 512, kind: 'io' }] },
      'a BAR of no kind': { bars: [{ index: 0, size: 512, kind: 'ports' as never }] },
    };
  it.each(Object.entries(cases))('%s', (_, { bars: others, ...config }) => {
    expectCode('EINVAL', () => simulate(new RecordingModel(config, others ?? bars)));
  });

  it('what just fits is taken', () => {
    const config = { msix: { vectors: 64, bar: 0, table: 0x40, pending: 0x440 }, vendorId: 0, revision: 255 };
    simulate(
      new RecordingModel({ ...config, msi: 1, capabilities: [{ id: 9, registers: bytes(0xa2) }] }, bars),
    );
  });
});

describe('BARs', () => {
  const place = (...bars: BarDescription[]) =>
    [...placeBars(bars.map((bar) => ({ kind: 'memory', is64Bit: false, prefetchable: false, ...bar })))].map(
      ([index, address]) => [index, address],
    );

  it('of 32 bits are below 4 GiB, whatever is beside them', () => {
    for (const bars of [
      [
        { index: 0, size: 2 ** 33, is64Bit: true },
        { index: 2, size: 4096 },
      ],
      [
        { index: 0, size: 2 ** 30 },
        { index: 1, size: 4096 },
      ],
      [
        { index: 0, size: 2 ** 30 },
        { index: 1, size: 2 ** 30 },
        { index: 2, size: 16 },
      ],
    ]) {
      const placed = place(...bars);
      expect(placed).toHaveLength(bars.length);
      for (const [index, address] of placed) {
        const { size, is64Bit = false } = bars.find((bar) => bar.index === index)! as BarDescription;
        expect(address! % size).toBe(0);
        expect(address).toBeGreaterThan(0);
        if (!is64Bit) expect(address! + size).toBeLessThanOrEqual(2 ** 32);
        for (const [other, start] of placed) {
          if (other !== index) expect(start! >= address! + size || start! < address!).toBe(true);
        }
      }
    }
  });

  it('of 64 bits are above it, and ports are ports', () => {
    expect(
      place(
        { index: 0, size: 2 ** 34, is64Bit: true },
        { index: 2, size: 16, is64Bit: true },
        { index: 4, size: 64, kind: 'io' },
      ),
    ).toEqual([
      [0, 2 ** 36],
      [2, 2 ** 36 + 2 ** 34],
      [4, 0xc000],
    ]);
  });
});

describe('a device that reads whole beats', () => {
  const run = async (readGranule: number | undefined, act: (bus: DeviceBus, address: bigint) => boolean) => {
    const model = new RecordingModel(readGranule === undefined ? {} : { readGranule });
    const source = simulate(model);
    const fn = await openPci(source, { debug: { print: false } });
    fn.setMaster();
    const mapping = fn.dma.mapSingle(new Uint8Array(100).subarray(3, 93), 'bidirectional');
    const whole = act(model.bus, mapping.dmaAddress);
    const { reports } = fn.dma.debug!;
    mapping.unmap();
    fn.close();
    return [whole, reports.map(({ kind }) => kind), source.faults.map(String)];
  };
  const beats = (bus: DeviceBus, address: bigint) => {
    const start = address & ~63n;
    return bus.dmaRead(start, new Uint8Array(128 + Number(address - start) - (Number(address - start) % 64)));
  };

  it('makes no mistake where it reads beside a mapping, and one where it writes there', async () => {
    expect(await run(64, beats)).toEqual([true, [], []]);
    expect((await run(undefined, beats))[1]).toEqual(['device-outside-mapping']);
    const write = (bus: DeviceBus, address: bigint) => bus.dmaWrite(address - 1n, new Uint8Array(8));
    expect((await run(64, write))[1]).toEqual(['device-outside-mapping']);
    const far = (bus: DeviceBus, address: bigint) => bus.dmaRead((address & ~63n) - 64n, new Uint8Array(64));
    expect((await run(64, far))[1]).toEqual(['device-outside-mapping']);
    for (const readGranule of [0, 3, 8192, Number.NaN, '8' as never]) {
      expectCode('EINVAL', () => simulate(new RecordingModel({ readGranule })));
    }
  });
});

describe('what a model does wrong is told by its name:', () => {
  it.each([
    ['a bigint', 5n],
    ['text', 'x'],
    ['nothing', undefined],
    ['no number', Number.NaN],
    ['half a number', 0.5],
    ['too many bits', 2 ** 32],
  ])('an answer that is %s', async (_, value) => {
    const model = new RecordingModel();
    using fn = await openPci(simulate(model));
    model.value = value as number;
    expectCode('EINVAL', () => fn.bar(0).read32(4));
    for (const read of [() => fn.bar(0).read8(4), () => fn.bar(0).read64(8)]) {
      expect(read).toThrow(/RecordingModel answered an? \d+-bit read at 0x\w of BAR 0 with/);
    }
    model.value = -1;
    expect([fn.bar(0).read32(4), fn.bar(0).read16(4), fn.bar(0).read64(8)]).toEqual([
      0xffffffff,
      0xffff,
      2n ** 64n - 1n,
    ]);
  });

  it('a vector that it has not', async () => {
    const model = new RecordingModel({ msi: 2 });
    using fn = await openPci(simulate(model));
    expect(fn.closed).toBe(false);
    expect(() => model.bus.raise(2)).toThrow(/RecordingModel raised interrupt 2; its config/);
  });
});

it('a fault is a sentence', async () => {
  const model = new RecordingModel();
  const source = simulate(model);
  using fn = await openPci(source, { debug: false });
  fn.setMaster();
  model.bus.dmaRead(0x5000, new Uint8Array(4));
  expect(String(source.faults[0])).toBe('DMA read of 4 bytes at 0x5000: not mapped');
  expect(source.faults).toEqual([{ address: 0x5000n, size: 4, access: 'read', reason: 'not mapped' }]);
});

describe('functions of one device', () => {
  it('say so, and are pulled out and put back together', async () => {
    const first = simulate(new EduModel(), { address: '0000:00:10.0' });
    const { group } = first;
    const second = simulate(new EduModel(), { address: '0000:00:10.1', group });
    const other = simulate(new EduModel(), { address: '0000:00:11.0', group });
    expectCode('EBUSY', () => simulate(new EduModel(), { address: '0000:00:10.1', group }));
    const open = [await openPci(first), await openPci(second), await openPci(other)] as const;
    expect(open.map(({ config }) => [config.multiFunction, config.headerType])).toEqual([
      [true, 0],
      [true, 0],
      [false, 0],
    ]);
    second.unplug();
    expect(open.map(({ gone }) => gone.aborted)).toEqual([true, true, false]);
    open[1].close();
    expectCode('EBUSY', () => first.plugIn());
    await expect(openPci(second)).rejects.toThrow(/ENODEV|no device/);
    open[0].close();
    first.plugIn();
    using again = await openPci(second);
    expect(again.bar(0).read32(0)).toBe(0x010000ed);
    open[2].close();
  });
});

describe('vector-limit', () => {
  it('grants fewer vectors than a driver asks for', async () => {
    const inject = new FaultInjector().on('vector-limit', { after: 2 });
    const model = new RecordingModel({ intx: true, msix: { vectors: 8, bar: 0, table: 0, pending: 0x800 } });
    using fn = await openPci(simulate(model, { inject }));
    fn.setMaster();
    const vectors = [fn.interrupts.msix(0), fn.interrupts.msix(5)];
    expectCode('ENOSPC', () => fn.interrupts.msix(1));
    expect(fn.interrupts.armed).toEqual(vectors);
    model.bus.raise(5);
    expect(await vectors[1]!.wait()).toBe(1);
    for (const vector of vectors) vector.close();
    fn.interrupts.intx();
    expect(inject.log).toMatchObject([{ kind: 'vector-limit', count: 3 }]);
  });
});
