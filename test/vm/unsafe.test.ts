/** A machine with an IOMMU: functions are not driven around it. */
import { openPciUnsafe, PhysicalHugepages } from '../../lib/index.ts';
import { afterAll, assert, beforeAll, describe, it } from '../harness.ts';
import { device } from './devices.ts';
import { bind, reserveHugepages } from './uio.ts';

describe('a function behind an IOMMU', () => {
  const address = device('USERDMA_TEST_EDU');
  let memory: PhysicalHugepages;

  beforeAll(() => {
    reserveHugepages(1);
    memory = new PhysicalHugepages();
  });
  afterAll(() => {
    memory.close();
    reserveHugepages(0);
    bind(address, 'vfio-pci');
  });

  const refused = async (code: string, ...words: string[]): Promise<void> => {
    await assert.rejects(openPciUnsafe(address, { memory }), (error: Error & { code?: string }) => {
      assert.equal(error.code, code, error.message);
      for (const word of words) assert.ok(error.message.includes(word), error.message);
      return true;
    });
  };

  it('is not opened around it, whoever drives it', async () => {
    await refused('EPERM', 'vfio-pci', 'behind an IOMMU', 'openPci');
    bind(address, undefined);
    await refused('EPERM', 'translates', 'type DMA', 'openPci');
  });
});
