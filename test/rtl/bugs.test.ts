/** Each planted bug of a design is found, by what its table says; the design without one is clean. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Edu } from '../../examples/edu/driver.ts';
import { DmaError, openPci } from '../../lib/index.ts';
import { RtlModel } from '../../lib/rtl/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { BUGS, type Finder, sourcesWithBugs } from './bugs.ts';
import { built, missing } from './designs.ts';

const sources = sourcesWithBugs(join('build', 'rtl-bugs'), join('examples', 'edu', 'rtl'));
const buggy = missing === undefined ? await built('edu-bugs', 'wasm', { sources, top: 'edu' }) : undefined;
if (missing !== undefined) console.log(`planted bugs are skipped: ${missing}`);

const folder = mkdtempSync(join(tmpdir(), 'userdma-bugs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Milliseconds. Nothing may be late on a busy machine. Only interrupts that a bug keeps back are waited for in vain. */
const PATIENT = 30_000;
const SHORT = 500;

const found = new Map<string, readonly Finder[]>();
afterAll(() => {
  for (const [name, by] of found) console.log(`  ${name.padEnd(48)} ${by.join(', ')}`);
});

/**
 * The same work for each bug: every finder that had something to say.
 * @param timeout milliseconds that an interrupt may take
 */
async function findersOf(bug: number, timeout: number): Promise<Finder[]> {
  const config = { vendorId: 0x1234, deviceId: 0x11e8, intx: true, msi: 1 };
  // Few clocks to a microsecond, so that the driver is fast beside the interconnect.
  const behaviour = { seed: 3, mhz: 10, pressure: 25, latency: 100 };
  const model = new RtlModel(buggy!, { config, pins: { dma_bits: 40, bug }, accessLimit: 500, ...behaviour });
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

describe.skipIf(missing !== undefined)('planted bugs', () => {
  it('none: nothing is found', async () => {
    expect(await findersOf(0, PATIENT)).toEqual([]);
  });

  for (const [index, { name, found: by, hangs }] of BUGS.entries()) {
    it(`${name}: found by ${by}`, async () => {
      const finders = await findersOf(index + 1, hangs ? SHORT : PATIENT);
      found.set(name, finders);
      expect(finders).toContain(by);
    });
  }
});

/**
 * Bugs of data, and how the history tells of them: the beat that wrote a wrong value; a byte without any write, whose
 * neighbour's beat has its strobe missing; a write that came after the interrupt.
 */
const TOLD = {
  'a byte too many is written': 'value',
  'lanes are turned the wrong way': 'value',
  'a read is done when it is addressed': 'value',
  'the strobe of the first byte is lost': 'missing',
  'the length is one short': 'missing',
  'the interrupt comes before the last response': 'late',
} as const;

describe.skipIf(missing !== undefined)('the history names the beat that wrote a wrong byte', () => {
  for (const [name, how] of Object.entries(TOLD)) {
    it(`${name}: ${how}`, async () => {
      const bug = BUGS.findIndex((one) => one.name === name) + 1;
      const config = { vendorId: 0x1234, deviceId: 0x11e8, intx: true, msi: 1 };
      const behaviour = { seed: 3, mhz: 10, pressure: 25, latency: 100, rewind: 100_000 };
      const model = new RtlModel(buggy!, { config, pins: { dma_bits: 40, bug }, ...behaviour });
      const fn = await openPci(simulate(model), { debug: { print: false } });
      const edu = new Edu(fn, { dmaBits: 40, timeout: 30_000 });
      const sent = Uint8Array.from({ length: 300 }, (_, i) => i * 7 + 1);
      await edu.write(sent, 3, 5);
      const view = new Uint8Array(400).fill(0xee);
      const expected = view.slice();
      expected.set(sent.subarray(0, 290), 36);
      const into = fn.dma.mapSingle(view, 'from-device');
      const start = model.simulator.clock;
      await edu.transfer(0x40000n + 3n, into.dmaAddress + 36n, 290, 2);
      const end = model.simulator.clock;
      into.syncForCpu();
      const wrong = view.findIndex((byte, i) => byte !== expected[i]);
      expect(wrong).toBeGreaterThanOrEqual(0);
      const iova = into.dmaAddress + BigInt(wrong);
      if (how !== 'value') expect(model.history(iova)).toEqual([]);
      // A write that is under way needs time.
      if (how === 'late') for (let i = 0; i < 100; i++) fn.bar(0).read32(0);
      const neighbour =
        how === 'missing' ? (model.history(iova + 1n)[0] ?? model.history(iova - 1n)[0]) : undefined;
      const write = neighbour ?? model.history(iova)[0]!;
      console.log(`  ${name}: byte ${wrong - 36}: ${String(write)}`);
      expect(write.mapping).toMatchObject({ size: 400, direction: 'from-device' });
      expect(write.mapping!.stack).toContain('bugs.test.ts');
      expect(write.clock).toBeGreaterThan(start);
      if (how === 'value') expect(write.value).toBe(view[wrong]);
      if (how !== 'late') expect(write.clock).toBeLessThanOrEqual(end);
      // The strobe of the byte itself is not in the beat.
      if (how === 'missing') expect((write.beat!.strobes >> (iova % 8n)) & 1n).toBe(0n);
      // The clocks around it, and no others.
      const file = join(folder, 'window.vcd');
      const [from, to] = [write.clock - 10, write.clock + 2];
      model.waves({ file, from, to });
      const text = readFileSync(file, 'utf8');
      expect(text).toContain('m_axi_wstrb');
      const times = [...text.matchAll(/^#(\d+)$/gm)].map(([, time]) => Number(time) / 100_000);
      expect(times.length).toBeGreaterThan(12);
      expect(Math.min(...times)).toBeGreaterThanOrEqual(from - 1);
      expect(Math.max(...times)).toBeLessThanOrEqual(to + 1);
      fn.clearMaster();
      fn.close();
    });
  }
});
