/** The same work for each bug of edu, and every finder that has something to say of it. */
import { Edu } from '../../../examples/edu/driver.ts';
import { DmaError, openPci } from '../../../lib/index.ts';
import { type Design, RtlModel } from '../../../lib/rtl/index.ts';
import { simulate } from '../../../lib/sim/index.ts';
import type { Finder } from './planted.ts';

/** Few clocks to a microsecond, so that the driver is fast beside the interconnect. */
export const BEHAVIOUR = { seed: 3, mhz: 10, pressure: 25, latency: 100 };

export const CONFIG = { vendorId: 0x1234, deviceId: 0x11e8, intx: true, msi: 1 };

/** @param timeout milliseconds that an interrupt may take */
export async function findersInEdu(design: Design, bug: number, timeout: number): Promise<Finder[]> {
  const pins = { dma_bits: 40, bug };
  const model = new RtlModel(design, { config: CONFIG, pins, accessLimit: 500, ...BEHAVIOUR });
  const source = simulate(model, { forceDac: true });
  const finders = new Set<Finder>();
  const fn = await openPci(source, { debug: { print: false } });
  const edu = new Edu(fn, { dmaBits: 40, timeout });
  let requests = 0;
  const step = async (action: () => Promise<boolean>): Promise<void> => {
    requests++;
    try {
      if (!(await action())) finders.add('data');
    } catch (error) {
      if (!(error instanceof DmaError)) throw error;
      finders.add(error.code === 'ETIMEDOUT' ? 'interrupts' : 'data');
    }
  };
  if (fn.bar(0).read32(0) !== 0x0100_00ed) finders.add('data');
  if (!edu.isAlive(0x1234_5678)) finders.add('data');
  await step(async () => (await edu.factorial(5)) === 120);
  for (const [length, inside, outside] of [
    [1, 0, 0],
    [8, 3, 5],
    [100, 5, 2],
    [3000, 1, 7],
  ] as const) {
    const bytes = Uint8Array.from({ length }, (_, i) => i * 7 + length);
    await step(() => edu.write(bytes, inside, outside).then(() => true));
    edu.page.bytes.fill(0xee);
    await step(async () => {
      const back = await edu.read(length, inside, outside + 1);
      const beside = edu.page.bytes.subarray(outside + 1 + length, outside + length + 9);
      return Buffer.compare(back, bytes) === 0 && beside.every((byte) => byte === 0xee);
    });
  }
  if (fn.bar(0).read32(0x24) !== 0) finders.add('data');
  // Across a page, and at the end of foreign memory.
  const pages = fn.dma.allocCoherent(8192);
  await step(() => edu.transfer(0x40000n, pages.dmaAddress + 3001n, 3000, 3).then(() => true));
  await step(() => edu.receive(new Uint8Array(3000)).then(() => true));
  if (!finders.has('interrupts') && edu.interrupt.count !== requests) finders.add('interrupts');
  for (const { reason } of source.faults) finders.add(reason.startsWith('clock ') ? 'checker' : 'dma-debug');
  if ((fn.dma.debug?.reports.length ?? 0) > 0) finders.add('dma-debug');
  fn.clearMaster();
  fn.close();
  return [...finders].sort();
}
