/** Registers of a disk that another device reads by DMA, while the disk is reset and sleeps. */
import { Edu } from '../../../examples/edu/driver.ts';
import { openPci, PCI_COMMAND, type PciFunction } from '../../../lib/index.ts';
import { describeWith } from '../../absent.ts';
import { afterEach, assert, beforeEach, it } from '../../harness.ts';
import { device } from '../devices.ts';

const VERSION = 0x08;
const DEVICE_MEMORY = 0x40000n;

describeWith('page-of-registers', 'registers that another device reaches', () => {
  let edu: Edu;
  let disk: PciFunction;

  beforeEach(async () => {
    edu = new Edu(await openPci(device('USERDMA_TEST_EDU')));
    disk = await openPci(device('USERDMA_TEST_NVME'));
  });
  afterEach(() => {
    edu.close();
    disk.close();
  });

  const changes: readonly [string, () => unknown][] = [
    ['a reset', () => disk.reset()],
    ['a hot reset', () => disk.hotReset()],
    ['memory decode off and on', () => decodeOffAndOn()],
    ['sleep', () => disk.setPowerState('D3hot').then(() => disk.setPowerState('D0'))],
  ];

  function decodeOffAndOn(): void {
    disk.config.command &= ~PCI_COMMAND.memory;
    disk.config.command |= PCI_COMMAND.memory;
  }

  for (const [what, change] of changes) {
    it(`are reached again after ${what}`, async () => {
      const before = edu.fn.dma.live.length;
      using mapping = edu.fn.dma.mapResource(disk.bar(0), 0, 4096, 'bidirectional');
      const read = async (): Promise<number> => {
        await edu.write(new Uint8Array(4));
        await edu.transfer(mapping.dmaAddress + BigInt(VERSION), DEVICE_MEMORY, 4, 0);
        return Buffer.from(await edu.read(4)).readUInt32LE();
      };
      const version = disk.bar(0).read32(VERSION);
      assert.equal(await read(), version);
      await change();
      assert.equal(await read(), version);
      mapping.unmap();
      assert.equal(edu.fn.dma.live.length, before);
    });
  }
});
