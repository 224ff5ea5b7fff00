/**
 * The history tells of planted bugs: the clock and the beat that wrote a wrong byte, and the line of the driver that mapped it.
 * The waveform of just those clocks is written, and shows that beat.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { Edu } from '../../examples/edu/driver.ts';
import { openPci } from '../../lib/index.ts';
import { RtlModel } from '../../lib/rtl/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { BEHAVIOUR, CONFIG } from './bugs/edu-work.ts';
import { buggy, numberOf } from './bugs/planted.ts';
import { missing } from './designs.ts';

const planted = missing === undefined ? await buggy('edu') : undefined;
if (missing !== undefined) console.log(`the history of planted bugs is skipped: ${missing}`);

const folder = mkdtempSync(join(tmpdir(), 'userdma-told-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/**
 * Bugs of data, and how the history tells of them: the beat that wrote a wrong value; a byte without any write, whose
 * neighbour's beat has its strobe missing; a write that came after the interrupt.
 */
const TOLD = {
  'strobes-a-byte-too-many': 'value',
  'turns-lanes-the-wrong-way': 'value',
  'is-done-when-addressed': 'value',
  'loses-first-strobe': 'missing',
  'moves-a-byte-less': 'missing',
  'interrupts-before-the-response': 'late',
} as const;

/** Picoseconds of a clock. */
const CLOCK = 1_000_000 / BEHAVIOUR.mhz;

describe.skipIf(missing !== undefined)('the history names the beat that wrote a wrong byte', () => {
  for (const [name, how] of Object.entries(TOLD)) {
    it(`${name}: ${how}`, async () => {
      const pins = { dma_bits: 40, bug: numberOf('edu', name) };
      const model = new RtlModel(planted!, { config: CONFIG, pins, ...BEHAVIOUR, rewind: 100_000 });
      const fn = await openPci(simulate(model), { debug: { print: false } });
      const edu = new Edu(fn, { dmaBits: 40, timeout: 30_000 });
      const sent = Uint8Array.from({ length: 300 }, (_, i) => i * 7 + 1);
      await edu.write(sent, 3, 5);
      const view = new Uint8Array(400).fill(0xee);
      const expected = view.slice();
      expected.set(sent.subarray(0, 290), 36);
      const into = fn.dma.mapSingle(view, 'from-device'); // the mapping
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
      expect(write.mapping!.stack!.split('\n')[0]).toContain(`told.test.ts:${lineOf('// the mapping')}:`);
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
      const times = [...text.matchAll(/^#(\d+)$/gm)].map(([, time]) => Number(time) / CLOCK);
      expect(times.length).toBeGreaterThan(12);
      expect(Math.min(...times)).toBeGreaterThanOrEqual(from - 1);
      expect(Math.max(...times)).toBeLessThanOrEqual(to + 1);
      // The beat is taken at the edge that ends this clock.
      const wires = valuesBefore(text, write.clock * CLOCK);
      expect(wires('m_axi_wvalid')).toBe(1n);
      expect(wires('m_axi_wready')).toBe(1n);
      expect(wires('m_axi_wstrb')).toBe(write.beat!.strobes);
      expect((wires('m_axi_wdata') >> (8n * (write.iova % 8n))) & 0xffn).toBe(BigInt(write.value));
      fn.clearMaster();
      fn.close();
    });
  }
});

/** The number of the line of this file that ends like this. */
function lineOf(mark: string): number {
  const lines = readFileSync(fileURLToPath(import.meta.url), 'utf8').split('\n');
  return lines.findIndex((line) => line.endsWith(`; ${mark}`)) + 1;
}

/** The values of the signals of a VCD file right before a time. */
function valuesBefore(vcd: string, time: number): (name: string) => bigint {
  const values = new Map<string, bigint>();
  for (const line of vcd.slice(vcd.indexOf('$enddefinitions')).split('\n')) {
    if (line.startsWith('#') && Number(line.slice(1)) >= time) break;
    const [, digits, code] = /^(?:b([01]+) |(?=[01]))(.+)$/.exec(line) ?? [];
    if (code === undefined) continue;
    if (digits === undefined) values.set(code.slice(1), BigInt(code[0]!));
    else values.set(code, BigInt(`0b${digits}`));
  }
  return (name) => {
    const code = new RegExp(`\\$var wire +\\d+ (\\S+) ${name} `).exec(vcd)?.[1] ?? '';
    return values.get(code) ?? 0n;
  };
}
