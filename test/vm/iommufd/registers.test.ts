/** Registers of a function as a dma-buf: what another device, driver or program is given of them. */
import { Edu } from '../../../examples/edu/driver.ts';
import { exportBar, importDmaBuf, openPci, PCI_COMMAND, type PciFunction } from '../../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../../harness.ts';
import { device, refuses } from '../devices.ts';

const LIVENESS = 4;
const MIB = 2 ** 20;

describe('registers as a dma-buf', () => {
  let edu: Edu;
  let peer: PciFunction;

  beforeEach(async () => {
    edu = new Edu(await openPci(device('USERDMA_TEST_EDU'), { iommu: 'iommufd' }));
    peer = await openPci(device('USERDMA_TEST_EDU_WIDE'), { iommu: 'iommufd' });
  });
  afterEach(() => {
    edu.close();
    peer.close();
  });

  it('are exported whole or in part, and cannot be mapped by the CPU', () => {
    using whole = exportBar(peer.bar(0));
    using part = exportBar(peer.bar(0), { offset: 8192, size: 4096 });
    assert.deepEqual([whole.size, part.size], [MIB, 4096]);
    using again = importDmaBuf(part.fd);
    assert.equal(again.size, 4096);
    refuses(() => whole.map(), 'EOPNOTSUPP');
  });

  it('are refused: parts of pages, what is outside, and what is no BAR of VFIO', () => {
    for (const options of [{ offset: 1 }, { size: 100 }, { offset: MIB }, { offset: 4096, size: MIB }]) {
      refuses(() => exportBar(peer.bar(0), options), 'EINVAL');
    }
    refuses(() => exportBar({} as never), 'EINVAL');
    const bar = peer.bar(0);
    peer.close();
    refuses(() => exportBar(bar), 'ENODEV');
  });

  it('are not reached while they do not answer, and are reached again when they do', async () => {
    using mapping = edu.fn.dma.mapResource(peer.bar(0), 0, 4096, 'bidirectional');
    const put = async (value: number): Promise<void> => {
      await edu.write(Uint8Array.of(value, 0, 0, 0));
      await edu.writeAnywhere(mapping.dmaAddress + BigInt(LIVENESS), 4);
    };
    await put(1);
    assert.equal(peer.bar(0).read32(LIVENESS), 0xffff_fffe);
    peer.config.command &= ~PCI_COMMAND.memory;
    await put(2);
    peer.config.command |= PCI_COMMAND.memory;
    assert.equal(peer.bar(0).read32(LIVENESS), 0xffff_fffe, 'what was sent meanwhile is lost');
    await put(3);
    assert.equal(peer.bar(0).read32(LIVENESS), 0xffff_fffc);
  });

  it('cannot be lent while they do not answer', () => {
    const before = edu.fn.dma.live.length;
    peer.config.command &= ~PCI_COMMAND.memory;
    refuses(() => edu.fn.dma.mapResource(peer.bar(0), 0, 4096, 'read' as never), 'EINVAL');
    refuses(() => edu.fn.dma.mapResource(peer.bar(0), 0, 4096, 'to-device'), 'EFAULT', 'memory decode');
    assert.equal(edu.fn.dma.live.length, before);
  });

  it('stay reachable after their function was closed, until they are unmapped', async () => {
    const mapping = edu.fn.dma.mapResource(peer.bar(0), 0, 4096, 'to-device');
    peer.close();
    await edu.transfer(mapping.dmaAddress, 0x40000n, 4, 0);
    assert.deepEqual([...(await edu.read(4))], [0xed, 0, 0, 1]);
    mapping.unmap();
    peer = await openPci(device('USERDMA_TEST_EDU_WIDE'));
  });
});
