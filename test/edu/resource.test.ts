/** DMA of one edu device into the registers of another one, and into its own. */
import { Edu } from '../../examples/edu/driver.ts';
import {
  type DmaDirection,
  openPci,
  PCI_COMMAND,
  type PciFunction,
  type StreamingMapping,
} from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { describeWith } from '../absent.ts';
import { afterEach, assert, beforeEach, it } from '../harness.ts';
import { PAGE } from '../page.ts';

const LIVENESS = 0x04;
/** Where the DMA engine sees the device's own memory. */
const DEVICE_MEMORY = 0x40000n;
/** A word, and what the liveness register makes of it. */
const WORD = Uint8Array.of(0x78, 0x56, 0x34, 0x12);
const COMPLEMENT = ~0x12345678 >>> 0;
const IDENTIFICATION = Uint8Array.of(0xed, 0x00, 0x00, 0x01);

const narrow = process.env.USERDMA_TEST_EDU;
const wide = process.env.USERDMA_TEST_EDU_WIDE;

describeWith('iommu', `peer to peer, ${narrow === undefined ? 'simulated' : 'through VFIO'}`, () => {
  let edu: Edu;
  let peer: PciFunction;

  beforeEach(async () => {
    edu = new Edu(await openPci(narrow ?? simulate(new EduModel())));
    peer = await openPci(wide ?? simulate(new EduModel({ dmaBits: 40 }), { address: '0000:00:11.0' }));
    peer.bar(0).write32(LIVENESS, 0);
  });
  afterEach(() => {
    edu.close();
    peer.close();
  });

  const map = (fn: PciFunction, direction: DmaDirection): StreamingMapping =>
    edu.fn.dma.mapResource(fn.bar(0), 0, PAGE, direction);
  const liveness = (fn: PciFunction): number => fn.bar(0).read32(LIVENESS);

  /** The device writes the word to the liveness register of whatever is there. */
  async function writeLiveness(address: bigint): Promise<void> {
    await edu.write(WORD);
    await edu.writeAnywhere(address + BigInt(LIVENESS), WORD.length);
  }

  it('writes registers of another function', async () => {
    using mapping = map(peer, 'bidirectional');
    assert.deepEqual([mapping.way, mapping.size, mapping.needSync], ['resource', PAGE, false]);
    assert.ok(mapping.dmaAddress + BigInt(PAGE) <= 2n ** 28n, 'beyond the mask');
    await writeLiveness(mapping.dmaAddress);
    assert.equal(liveness(peer), COMPLEMENT);
  });

  it('reads registers of another function', async () => {
    using mapping = map(peer, 'to-device');
    await edu.transfer(mapping.dmaAddress, DEVICE_MEMORY, IDENTIFICATION.length, 0);
    assert.deepEqual(await edu.read(IDENTIFICATION.length), IDENTIFICATION);
  });

  it('writes registers of its own', async () => {
    using mapping = map(edu.fn, 'from-device');
    await writeLiveness(mapping.dmaAddress);
    assert.equal(liveness(edu.fn), COMPLEMENT);
  });

  it('does not write what it may only read', async () => {
    using mapping = map(peer, 'to-device');
    await writeLiveness(mapping.dmaAddress);
    assert.equal(liveness(peer), 0xffff_ffff);
  });

  it('goes on after the other function ceased to answer for a while', async () => {
    using mapping = map(peer, 'bidirectional');
    peer.config.command &= ~PCI_COMMAND.memory;
    peer.config.command |= PCI_COMMAND.memory;
    await writeLiveness(mapping.dmaAddress);
    assert.equal(liveness(peer), COMPLEMENT);
  });

  it('reaches nothing after unmap', async () => {
    const mapping = map(peer, 'bidirectional');
    const { dmaAddress } = mapping;
    mapping.unmap();
    await writeLiveness(dmaAddress);
    assert.equal(liveness(peer), 0xffff_ffff);
  });
});
