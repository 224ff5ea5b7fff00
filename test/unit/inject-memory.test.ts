/** Memory, addresses and mappings that run out, under the edu driver. */
import { describe, expect, it } from 'vitest';
import { DmaError, type ErrnoName } from '../../lib/index.ts';
import type { FaultKind } from '../../lib/sim/index.ts';
import {
  codeOf,
  drive,
  expectRecovery,
  expectWorks,
  faulty,
  useOwnTimeouts,
  withFault,
} from './inject-fixture.ts';
import { expectCode } from './sim-fixture.ts';

useOwnTimeouts();

const SHORTAGES: readonly (readonly [FaultKind, ErrnoName])[] = [
  ['map-limit', 'ENOSPC'],
  ['map-no-memory', 'ENOMEM'],
  ['no-memory', 'ENOMEM'],
  ['no-iova', 'ENOMEM'],
];

describe.each(SHORTAGES)('%s', (kind, code) => {
  it(`is ${code} from allocCoherent, which keeps nothing`, async () => {
    // Room for the driver's page and one more: a page, a mapping or an address that stayed behind would be missed.
    const ranges = [{ start: 0x10000, end: 0x11fff }];
    const machine = faulty({ ranges, mappingLimit: 2, memoryLimit: 8192 });
    const edu = await drive(machine.source);
    const { dma } = edu.fn;
    machine.injector.on(kind, { until: 3 });
    for (let i = 0; i < 3; i++) expectCode(code, () => dma.allocCoherent(4096));
    expect(dma.live).toEqual([edu.page]);
    expect(machine.injector.log.map((entry) => entry.kind)).toEqual([kind, kind, kind]);
    const second = dma.allocCoherent(4096);
    second.free();
    edu.close();
    machine.injector.off();
  });

  it('keeps the driver from starting, and the function can be closed and opened again', async () => {
    const machine = withFault(kind, { nth: 1 });
    await expect(drive(machine.source)).rejects.toMatchObject({ code });
    using edu = await drive(machine.source);
    await expectWorks(edu);
  });

  it('while bouncing is ENOMEM, and the next transfer works', async () => {
    const machine = faulty();
    const edu = await drive(machine.source);
    // However small a chunk it asks for.
    machine.injector.on(kind);
    expect(await codeOf(edu.send(new Uint8Array(100)))).toBe('ENOMEM');
    expect(edu.fn.dma.bounceStats).toMatchObject({ usedSlots: 0, failures: 1 });
    machine.injector.off();
    await expectWorks(edu);
    await expectRecovery(edu, machine);
  });

  it('for a list leaves no element mapped', async () => {
    const machine = faulty({}, 3);
    const edu = await drive(machine.source, 0);
    const { dma } = edu.fn;
    const views = Array.from({ length: 8 }, () => new Uint8Array(8192));
    const used = dma.bounceStats.usedSlots;
    for (let n = 1; n < 12; n++) {
      machine.injector.off().on(kind, { nth: n });
      try {
        dma.mapSg(views, 'to-device').unmap();
      } catch (error) {
        expect(error).toBeInstanceOf(DmaError);
        expect(['ENOMEM', 'EIO']).toContain((error as DmaError).code);
      }
      expect(dma.bounceStats.usedSlots).toBe(used);
    }
    expect(machine.injector.total).toBeGreaterThan(0);
    await expectRecovery(edu, machine);
  });
});

describe('memory mapped in place', () => {
  it.each(['map-limit', 'map-no-memory', 'no-iova'] as const)('is bounced instead at %s', async (kind) => {
    const machine = faulty();
    using edu = await drive(machine.source, 0);
    // The bounce pages of the edges are there.
    edu.fn.dma.mapSingle(new Uint8Array(5000), 'to-device').unmap();
    machine.injector.on(kind, { nth: 1 });
    using mapping = edu.fn.dma.mapSingle(new Uint8Array(5000), 'to-device');
    expect(mapping.way).toBe('bounced');
    using next = edu.fn.dma.mapSingle(new Uint8Array(5000), 'to-device');
    expect(next.way).toBe('pinned');
  });
});

describe('no-iova', () => {
  it('is null from reserveIova', async () => {
    const machine = faulty();
    using edu = await drive(machine.source);
    machine.injector.on('no-iova', { nth: 1 });
    expect(edu.fn.dma.reserveIova(4096)).toBe(null);
    edu.fn.dma.reserveIova(4096)!.free();
  });
});

describe('bounce-full', () => {
  it('is ENOMEM from the transfer, counted, and over with the next', async () => {
    const machine = withFault('bounce-full', { nth: 2 });
    const edu = await drive(machine.source);
    expect(await codeOf(edu.send(new Uint8Array(10)))).toBe(undefined);
    expect(await codeOf(edu.send(new Uint8Array(10)))).toBe('ENOMEM');
    expect(edu.fn.dma.bounceStats).toMatchObject({ usedSlots: 0, failures: 1 });
    await expectWorks(edu);
    await expectRecovery(edu, machine);
  });

  it('does not touch what needs no bouncing', async () => {
    const machine = withFault('bounce-full');
    using edu = await drive(machine.source);
    edu.fn.dma.mapSingle(edu.page.bytes, 'to-device').unmap();
    expect(machine.injector.total).toBe(0);
  });
});

describe('without an IOMMU', () => {
  it('memory runs out and is not missed afterwards', async () => {
    const machine = faulty({ iommu: false, memoryLimit: 8192 });
    const edu = await drive(machine.source);
    machine.injector.on('no-memory', { until: 2 }).on('map-limit').on('no-iova');
    for (let i = 0; i < 2; i++) expectCode('ENOMEM', () => edu.fn.dma.allocCoherent(4096));
    edu.fn.dma.allocCoherent(4096).free();
    expect(machine.injector.log.map(({ kind }) => kind)).toEqual(['no-memory', 'no-memory']);
    edu.close();
  });
});
