/** A driver that is given its parts runs on whatever has them: here a simulated function, in test/vm real ones. */
import { describe, expect, it } from 'vitest';
import { dmaBitMask, openPci } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { EduParts } from '../vm/edu-parts.ts';

describe('a driver made of registers, an interrupt and memory', () => {
  for (const iommu of [true, false]) {
    it(`runs on a simulated function ${iommu ? 'behind an IOMMU' : 'on physical memory'}`, async () => {
      using fn = await openPci(simulate(new EduModel(), { iommu }));
      fn.dma.setMaskAndCoherent(dmaBitMask(28));
      fn.setMaster();
      const edu = new EduParts({ registers: fn.bar(0), interrupt: fn.interrupts.intx(), dma: fn.dma });
      expect([edu.id, fn.bar(0).size]).toEqual([0x0100_00ed, 2 ** 20]);
      const sent = Uint8Array.from({ length: 3000 }, (_, i) => i % 251);
      expect(await edu.echo(sent)).toEqual(sent);
    });
  }
});
