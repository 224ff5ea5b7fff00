/** AXI4-Stream between the design and the test: the AXI DMA without its loop, with packets of our own; waveforms in FST. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { AxiDma } from '../../examples/axi-dma/driver.ts';
import { openPci } from '../../lib/index.ts';
import { RtlModel } from '../../lib/rtl/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { expectNoDmaErrors } from '../../lib/testing/index.ts';
import { pattern } from '../axi-dma/bench.ts';
import { built, missing, sourcesOf, TARGETS } from './designs.ts';
import type { Behaviour } from './models.ts';

const folder = mkdtempSync(join(tmpdir(), 'userdma-stream-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const OPTIONS = {
  sources: missing === undefined ? sourcesOf('axi-dma') : [],
  top: 'axi_dma',
  waves: 'fst',
} as const;
if (missing !== undefined) console.log(`streams of designs are skipped: ${missing}`);
else for (const target of TARGETS) await built('axi-dma-stream', target, OPTIONS);

const BEHAVIOURS: readonly Behaviour[] = [{}, { seed: 3, pressure: 50, latency: 30 }];

async function core(target: (typeof TARGETS)[number], options: Behaviour) {
  const config = { vendorId: 0x10ee, deviceId: 0x7021, msi: 2 };
  const pins = { scatter_gather: 0, address_bits: 32, length_bits: 23 };
  const design = await built('axi-dma-stream', target, OPTIONS);
  const model = new RtlModel(design, { config, registers: 4096, pins, ...options });
  const source = simulate(model);
  const fn = await openPci(source, { debug: { print: false } });
  fn.setMaster();
  const interrupts = { mm2s: fn.interrupts.msi(0), s2mm: fn.interrupts.msi(1) };
  const parts = { registers: fn.bar(0), interrupts, dma: fn.dma };
  const axi = new AxiDma(parts, { addressBits: 32, lengthBits: 23, alignment: 1 });
  return { model, source, fn, axi };
}

describe.skipIf(missing !== undefined)('AXI4-Stream', () => {
  for (const target of TARGETS) {
    for (const behaviour of BEHAVIOURS) {
      const pressure = behaviour.pressure ?? 0;
      it(`${target}, back-pressure ${pressure} %: what the design sends, and what it is sent, packet by packet`, async () => {
        const packets: Uint8Array[] = [];
        let packet: number[] = [];
        const stream = (number: number, bytes: Uint8Array, last: boolean): void => {
          expect(number).toBe(0);
          packet.push(...bytes);
          if (!last) return;
          packets.push(Uint8Array.from(packet));
          packet = [];
        };
        const { model, source, fn, axi } = await core(target, { ...behaviour, stream });
        expect(model.simulator.description).toMatchObject({ sinks: ['m_axis_'], sources: ['s_axis_'] });
        for (const length of [1, 7, 8, 9, 64, 1000, 70_001]) {
          const sent = pattern(length, length);
          await axi.mm2s.send(sent);
          expect(packets.length).toBe(1);
          expect(Buffer.compare(packets.pop()!, sent)).toBe(0);
          // In two parts, of which the first does not fill its last beat.
          const into = new Uint8Array(length + 8).fill(0xee);
          const receiving = axi.s2mm.receive(into.subarray(0, length + 4));
          const cut = Math.min(length, 5);
          if (cut < length) model.send(0, sent.subarray(0, cut), false);
          model.send(0, sent.subarray(cut < length ? cut : 0));
          expect(await receiving).toBe(length);
          expect(Buffer.compare(into.subarray(0, length), sent)).toBe(0);
          expect(into.subarray(length).every((byte) => byte === 0xee)).toBe(true);
        }
        expect(() => model.send(1, new Uint8Array(1))).toThrow(/no AXI4-Stream slave 1/);
        axi.close();
        fn.close();
        expect(source.faults).toEqual([]);
        expectNoDmaErrors(fn);
      });
    }
  }
});

describe.skipIf(missing !== undefined)('a waveform in FST', () => {
  it('has its window, the scopes and signals of the design, and those of the driver', async () => {
    const { model, axi, fn } = await core('process', { stream: () => {} });
    expect(model.simulator.description.waves).toBe('fst');
    const file = join(folder, 'window.fst');
    model.waves({ file, from: 100, to: 200 });
    await axi.mm2s.send(pattern(4000));
    expect(model.simulator.clock).toBeGreaterThan(200);
    axi.close();
    fn.close();
    const fst = readFileSync(file);
    // The header block (fstapi.h): type 0, 329 bytes; times and counts are big-endian numbers of 64 bits.
    expect(fst[0]).toBe(0);
    const header = (index: number): number => Number(fst.readBigUInt64BE(1 + 8 * index));
    expect(header(0)).toBe(329);
    const clock = 10_000;
    expect(header(1)).toBeGreaterThanOrEqual(99 * clock);
    expect(header(2)).toBeLessThanOrEqual(201 * clock);
    expect(header(2) - header(1)).toBeGreaterThan(95 * clock);
    expect(header(5)).toBeGreaterThan(2);
    expect(header(7)).toBeGreaterThan(100);
    const names = hierarchyOf(fst);
    for (const name of ['driver', 'note', 'access', 'm_axi_mm2s_araddr']) expect(names).toContain(name);
  });
});

/** The block with the names of scopes and signals: type 6, section length, length inside, then one LZ4 block. */
function hierarchyOf(fst: Buffer): string {
  for (let at = 0; at < fst.length; ) {
    const type = fst[at]!;
    const length = Number(fst.readBigUInt64BE(at + 1));
    if (type === 6) {
      const size = Number(fst.readBigUInt64BE(at + 9));
      return unpackLz4(fst.subarray(at + 17, at + 1 + length), size).toString('latin1');
    }
    at += 1 + length;
  }
  throw new Error('no hierarchy');
}

/** An LZ4 block (lz4_Block_format.md): literals and copies of what came before, in turn. */
function unpackLz4(packed: Uint8Array, size: number): Buffer {
  const out = Buffer.alloc(size);
  let to = 0;
  let from = 0;
  const more = (count: number): number => {
    if (count < 15) return count;
    let total = count;
    let byte: number;
    do {
      byte = packed[from++]!;
      total += byte;
    } while (byte === 255);
    return total;
  };
  while (to < size) {
    const token = packed[from++]!;
    const literals = more(token >> 4);
    out.set(packed.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (to >= size) break;
    const back = packed[from]! | (packed[from + 1]! << 8);
    from += 2;
    for (let left = more(token & 15) + 4; left > 0; left--, to++) out[to] = out[to - back]!;
  }
  return out;
}
