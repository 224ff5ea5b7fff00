/** Loops that poll memory, and never let the event loop turn, on a simulated device that takes its time. */
import { describe, expect, it } from 'vitest';
import { dmaBitMask, openPci, struct, u32 } from '../../lib/index.ts';
import { EduModel, type SimulateOptions, simulate } from '../../lib/sim/index.ts';

const RUN_TO_MEMORY = 3;
const DEVICE_MEMORY = 0x40000n;

async function open(transferTime: number, options: SimulateOptions = {}) {
  const fn = await openPci(simulate(new EduModel({ transferTime }), options), { debug: { print: false } });
  fn.dma.setMaskAndCoherent(dmaBitMask(28));
  fn.setMaster();
  const write = (source: bigint, destination: bigint, size: number, command: number): void => {
    const bar = fn.bar(0);
    bar.write64(0x80, source);
    bar.write64(0x88, destination);
    bar.write64(0x90, BigInt(size));
    bar.write32(0x98, command);
  };
  return { fn, write };
}

const WORLDS: readonly (readonly [string, number, SimulateOptions])[] = [
  ['slow device', 100_000, {}],
  ['very slow device', 1e9, {}],
  ['lagging device that answers at once', 0, { lag: true }],
  ['lagging device without an IOMMU', 30, { lag: true, iommu: false }],
];

describe.each(WORLDS)('polling the memory of a %s', (_name, transferTime, options) => {
  /** Coherent memory with ones, which the device overwrites with zeros. */
  async function started() {
    const { fn, write } = await open(transferTime, options);
    const page = fn.dma.allocCoherent(4096);
    page.bytes.fill(1);
    write(DEVICE_MEMORY, page.dmaAddress, 4096, RUN_TO_MEMORY);
    return { fn, page };
  }

  it('ends, by a column', async () => {
    const { fn, page } = await started();
    const { word } = struct(4, { word: u32(0) }).over(page.bytes);
    while (word.load(1023) !== 0);
    fn.close();
  });

  it('ends, by load32 and load64 of a buffer', async () => {
    const { fn, page } = await started();
    while (page.load32(0) !== 0);
    while (page.load64(4088) !== 0n);
    fn.close();
  });

  it('ends, by load32 of a block', async () => {
    const { fn, write } = await open(transferTime, options);
    const block = fn.dma.createPool('words', { size: 64, managed: true }).alloc()!;
    block.bytes.fill(1);
    write(DEVICE_MEMORY, block.dmaAddress, 64, RUN_TO_MEMORY);
    while (block.load32(60) !== 0);
    fn.close();
  });

  it('ends, by syncs of a mapping', async () => {
    if (transferTime > 1e6) return;
    const { fn, write } = await open(transferTime, options);
    const bytes = new Uint8Array(64).fill(1);
    const mapping = fn.dma.mapSingle(bytes, 'from-device');
    write(DEVICE_MEMORY, mapping.dmaAddress, 64, RUN_TO_MEMORY);
    for (mapping.syncForCpu(); bytes[63] !== 0; mapping.syncForCpu()) mapping.syncForDevice();
    mapping.unmap();
    fn.close();
  });
});

it('a loop that nothing will ever end is told so', async () => {
  const { fn } = await open(10);
  const page = fn.dma.allocCoherent(4096);
  expect(() => {
    while (page.load32(0) === 0);
  }).toThrow(
    /^memory was polled 8388608 times in one turn .* nothing is scheduled: no device will write it;/,
  );
  fn.close();
});
