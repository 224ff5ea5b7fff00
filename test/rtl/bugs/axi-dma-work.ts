/** The same work for each bug of the AXI DMA, in both of its modes, and every finder that has something to say of it. */
import { AxiDma } from '../../../examples/axi-dma/driver.ts';
import { DmaError, openPci } from '../../../lib/index.ts';
import { type Design, RtlModel } from '../../../lib/rtl/index.ts';
import { simulate } from '../../../lib/sim/index.ts';
import { pattern } from '../../axi-dma/machines.ts';
import { BEHAVIOUR } from './edu-work.ts';
import type { Finder } from './planted.ts';

/** DMACR after a reset (PG021): the threshold is 1, bit 1 reads 1. */
const CONTROL_AFTER_RESET = 0x0001_0002;
const CHANNELS = [0x00, 0x30];

/** @param timeout milliseconds that a packet may take */
export async function findersInAxiDma(design: Design, bug: number, timeout: number): Promise<Finder[]> {
  const finders = new Set<Finder>();
  for (const scatterGather of [true, false]) await work(design, bug, timeout, scatterGather, finders);
  return [...finders].sort();
}

async function work(
  design: Design,
  bug: number,
  timeout: number,
  scatterGather: boolean,
  finders: Set<Finder>,
): Promise<void> {
  const config = { vendorId: 0x10ee, deviceId: 0x7021, msi: 2 };
  const pins = { scatter_gather: scatterGather ? 1 : 0, address_bits: 40, length_bits: 14, bug };
  const model = new RtlModel(design, { config, registers: 4096, pins, ...BEHAVIOUR });
  const source = simulate(model, { forceDac: true });
  const fn = await openPci(source, { debug: { print: false } });
  fn.setMaster();
  const bar = fn.bar(0);
  for (const base of CHANNELS) if (bar.read32(base) !== CONTROL_AFTER_RESET) finders.add('data');
  const interrupts = { mm2s: fn.interrupts.msi(0), s2mm: fn.interrupts.msi(1) };
  const axi = new AxiDma({ registers: bar, interrupts, dma: fn.dma }, { addressBits: 40, lengthBits: 14 });
  let packets = 0;
  let hangs = false;
  const step = async (action: (signal: AbortSignal) => Promise<boolean>): Promise<void> => {
    // After one interrupt that did not come there is nothing more to learn.
    if (hangs) return;
    const signal = AbortSignal.timeout(timeout);
    try {
      if (!(await action(signal))) finders.add('data');
    } catch (error) {
      if (signal.aborted) {
        hangs = true;
        finders.add('interrupts');
      } else if (error instanceof DmaError) finders.add('data');
      else throw error;
    }
  };
  const loop = async (
    from: Uint8Array | Uint8Array[],
    length: number,
    skew: number,
    signal: AbortSignal,
    own?: Uint8Array,
  ) => {
    packets++;
    const memory = own ?? new Uint8Array(skew + length + 32);
    memory.fill(0xee);
    const into = memory.subarray(skew, skew + length);
    const both = [axi.s2mm.receive(into, { signal }), axi.mm2s.send(from, { signal })] as const;
    const results = await Promise.allSettled(both);
    const [received] = results;
    if (received.status === 'rejected') throw received.reason;
    await both[1];
    const sent = Buffer.concat([from].flat());
    const beside = [...memory.subarray(0, skew), ...memory.subarray(skew + length)];
    return (
      received.value === length && Buffer.compare(into, sent) === 0 && beside.every((byte) => byte === 0xee)
    );
  };
  for (const [length, from, to] of [
    [1, 0, 3],
    [8, 3, 5],
    [100, 5, 2],
    [9000, 1, 7],
  ] as const) {
    await step((signal) => loop(pattern(length + from).subarray(from), length, to, signal));
  }
  if (scatterGather) await step((signal) => loop([pattern(70), pattern(4100), pattern(3)], 4173, 1, signal));
  // Foreign memory is bounced, and then starts at a slot: this crosses pages elsewhere.
  const pages = fn.dma.allocCoherent(8192);
  await step((signal) => loop(pattern(5000), 5000, 1003, signal, pages.bytes));
  pages.free();
  const counts = [interrupts.mm2s.count, interrupts.s2mm.count];
  if (!finders.has('interrupts') && counts.some((count) => count !== packets)) finders.add('interrupts');
  await step(async (signal) => {
    // Memory that answers SLVERR must not be called sent.
    model.broken = { start: 0n, end: 2n ** 64n - 1n };
    try {
      await axi.mm2s.send(pattern(64), { signal });
      return false;
    } catch (error) {
      if (!(error instanceof DmaError)) throw error;
      return true;
    } finally {
      model.broken = undefined;
    }
  });
  await step((signal) => loop(pattern(500), 500, 0, signal));
  for (const { reason } of source.faults) finders.add(reason.startsWith('clock ') ? 'checker' : 'dma-debug');
  if ((fn.dma.debug?.reports.length ?? 0) > 0) finders.add('dma-debug');
  axi.close();
  fn.close();
}
