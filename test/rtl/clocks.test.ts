/** Clocks, waveforms and copies of the state: what a simulation of a design owes to its seed. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Edu } from '../../examples/edu/driver.ts';
import { openPci } from '../../lib/index.ts';
import type { RtlModel } from '../../lib/rtl/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { design, missing, TARGETS, type Target } from './designs.ts';
import { type Behaviour, eduModel } from './models.ts';

const folder = mkdtempSync(join(tmpdir(), 'userdma-waves-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
if (missing === undefined) for (const target of TARGETS) await design('edu', target);
else console.log(`clocks of designs are skipped: ${missing}`);

const BUSY: Behaviour = { seed: 7, pressure: 30, latency: 12, reorder: true };

/** The same work every time. @returns clocks it took; the simulation is over then */
async function work(model: RtlModel, rounds = 8): Promise<number> {
  const fn = await openPci(simulate(model));
  using edu = new Edu(fn);
  for (let i = 0; i < rounds; i++) {
    const bytes = Uint8Array.from({ length: 100 + 37 * i }, (_, at) => at * 7 + i);
    await edu.write(bytes, i, i);
    expect([...(await edu.read(bytes.length, i, 8 - i))]).toEqual([...bytes]);
  }
  return model.simulator.clock;
}

async function waveOf(
  target: Target,
  behaviour: Behaviour,
  name: string,
): Promise<{ clock: number; hash: string }> {
  const model = await eduModel(target, 28, behaviour);
  const file = join(folder, name);
  model.waves({ file });
  const clock = await work(model);
  return { clock, hash: createHash('sha256').update(readFileSync(file)).digest('hex') };
}

describe.skipIf(missing !== undefined)('a design', () => {
  it('takes the same clocks in a process and as a module', async () => {
    for (const behaviour of [{}, BUSY]) {
      const clocks = [];
      for (const target of TARGETS) {
        const model = await eduModel(target, 28, behaviour);
        clocks.push(await work(model));
      }
      expect(clocks[0]).toBe(clocks[1]);
    }
  });

  it('writes the same waveform for the same seed, in both, and another for another seed', async () => {
    const runs = [
      await waveOf('process', BUSY, 'a.vcd'),
      await waveOf('process', BUSY, 'b.vcd'),
      await waveOf('wasm', BUSY, 'c.vcd'),
    ];
    expect(new Set(runs.map(({ hash }) => hash)).size).toBe(1);
    const other = await waveOf('process', { ...BUSY, seed: 8 }, 'd.vcd');
    expect(other.hash).not.toBe(runs[0]!.hash);
  });

  it('shows the driver beside its signals, and a window alone', async () => {
    const model = await eduModel('process');
    const file = join(folder, 'window.vcd');
    model.waves({ file, from: 200, to: 300 });
    expect(await work(model)).toBeGreaterThan(400);
    const text = readFileSync(file, 'utf8');
    for (const name of ['driver', 'note', 'access', 'm_axi_araddr']) expect(text).toContain(name);
    const times = [...text.matchAll(/^#(\d+)$/gm)].map(([, time]) => Number(time) / 10_000);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(199);
    expect(Math.max(...times)).toBeLessThanOrEqual(301);
  });

  it('goes on from a copy of its state as if nothing had happened', async () => {
    const model = await eduModel('wasm', 28, BUSY);
    const { simulator } = model;
    const go = (): number[] => {
      const seen: number[] = [];
      for (let n = 3; n < 12; n++) {
        simulator.write(0x08, 4, n, 0);
        do {
          simulator.run(10);
          simulator.read(0x20, 4);
        } while (simulator.low & 1);
        simulator.read(0x08, 4);
        seen.push(simulator.low, simulator.clock);
      }
      return seen;
    };
    const state = simulator.snapshot!();
    const straight = go();
    for (let i = 0; i < 20; i++) {
      simulator.restore!(state);
      expect(go()).toEqual(straight);
    }
    model.close();
  });

  it('that does not answer a register access costs the driver the limit, and is told of', async () => {
    const model = await eduModel('wasm');
    const source = simulate(model);
    using fn = await openPci(source);
    // Held in reset: nothing answers.
    model.simulator.set('pin.rst_n', 0);
    model.simulator.set('limit', 50);
    expect(fn.bar(0).read32(0)).toBe(0xffff_ffff);
    expect(source.faults.map(({ reason }) => reason)).toEqual([expect.stringMatching(/not at all/)]);
    fn.close();
    model.close();
  });
});
