/** The edu driver at random on a device that fails at random: every error is a DmaError, and nothing stays behind. */
import { createHash, randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Edu } from '../../examples/edu/driver.ts';
import { type CoherentBuffer, DmaError, type ErrnoName } from '../../lib/index.ts';
import type { FaultKind, SimulateOptions } from '../../lib/sim/index.ts';
import { generator } from '../../lib/sim/inject/rule.ts';
import { drive, type Faulty, faulty, outcome, useOwnTimeouts } from './inject-fixture.ts';

useOwnTimeouts();

const PROBABILITIES: Readonly<Record<FaultKind, number>> = {
  'map-limit': 0.02,
  'map-no-memory': 0.02,
  'no-memory': 0.02,
  'no-iova': 0.02,
  'bounce-full': 0.02,
  'vector-limit': 0.02,
  'interrupt-lost': 0.01,
  'interrupt-duplicated': 0.02,
  'interrupt-coalesced': 0.02,
  'interrupt-spurious': 0.005,
  'completion-delayed': 0.01,
  'read-all-ones': 0.03,
  'iommu-fault': 0.01,
  'reset-fails': 0.2,
  'device-gone': 0.001,
};

/** What a driver may be told when a fault is behind it. */
const CODES: readonly ErrnoName[] = ['ENOMEM', 'ENOSPC', 'EIO', 'ETIMEDOUT', 'ENODEV', 'EAGAIN'];

class RandomRun {
  /** What happened, for two runs to be compared. */
  readonly trace = createHash('sha256');
  readonly seen = new Set<string>();
  /** Transfers whose bytes had to be right, and were. */
  compared = 0;
  readonly #machine: Faulty;
  readonly #random: () => number;
  readonly #held: CoherentBuffer[] = [];
  #edu: Edu | undefined;
  /** Faults injected when the driver was opened: as long as there are no more, everything has to work. */
  #before = 0;

  constructor(seed: number, options: SimulateOptions) {
    this.#machine = faulty(options, seed);
    this.#random = generator(seed ^ 0x5eed);
    for (const [kind, probability] of Object.entries(PROBABILITIES)) {
      this.#machine.injector.on(kind as FaultKind, { probability });
    }
  }

  get log(): string {
    return String(this.#machine.injector);
  }

  async step(): Promise<void> {
    const edu = await this.#driver();
    if (edu === undefined) return;
    const operation = this.#below(9);
    try {
      const value = await outcome(this.#operate(edu, operation));
      if (value instanceof DmaError) throw value;
      this.trace.update(`${operation} `);
    } catch (error) {
      this.#refused(operation, error);
      if (this.#below(2) === 0) this.close();
    }
    if (this.#below(100) === 0) this.close();
  }

  close(): void {
    const edu = this.#edu;
    if (edu === undefined) return;
    this.#edu = undefined;
    expect(edu.fn.dma.bounceStats.usedSlots).toBe(0);
    expect(edu.fn.dma.live).toEqual([edu.page, ...this.#held]);
    edu.close();
    expect(edu.fn.dma.live).toEqual([]);
    expect([edu.page, ...this.#held].every(({ bytes }) => bytes.length === 0)).toBe(true);
    this.#held.length = 0;
    this.#machine.source.plugIn();
  }

  async #driver(): Promise<Edu | undefined> {
    if (this.#edu !== undefined) return this.#edu;
    const { injector, source } = this.#machine;
    this.#before = injector.total;
    try {
      this.#edu = await drive(source, [0, 1000, 32_768][this.#below(3)]);
    } catch (error) {
      this.#refused('open', error);
      source.plugIn();
    }
    return this.#edu;
  }

  async #operate(edu: Edu, operation: number): Promise<void> {
    switch (operation) {
      case 0:
        return this.#factorial(edu);
      case 1:
      case 2:
        return this.#thereAndBack(edu, operation === 1);
      case 3:
        this.#held.push(edu.fn.dma.allocCoherent(1 + this.#below(20_000)));
        return;
      case 4:
        this.#held.splice(this.#below(this.#held.length + 1), 1)[0]?.free();
        return;
      case 5:
        return this.#list(edu);
      case 6:
        edu.fn.dma.reserveIova(1 + this.#below(100_000))?.free();
        return;
      case 7:
        edu.fn.reset();
        return;
      default:
        expect(edu.identify()).toEqual({ major: 1, minor: 0 });
    }
  }

  async #factorial(edu: Edu): Promise<void> {
    const n = this.#below(13);
    const value = await edu.factorial(n);
    let expected = 1;
    for (let factor = 2; factor <= n; factor++) expected *= factor;
    if (this.#undisturbed) expect(value).toBe(expected);
  }

  async #thereAndBack(edu: Edu, byPage: boolean): Promise<void> {
    const size = 1 + this.#below(4095);
    const start = this.#below(256);
    const sent = new Uint8Array(size).map((_, i) => start + 7 * i + (i >> 8));
    let got = new Uint8Array(size);
    if (byPage) {
      await edu.write(sent);
      got = Uint8Array.from(await edu.read(size));
    } else {
      await edu.send(sent);
      await edu.receive(got);
    }
    if (!this.#undisturbed) return;
    expect(Buffer.compare(got, sent)).toBe(0);
    this.compared++;
  }

  async #list(edu: Edu): Promise<void> {
    const views = Array.from({ length: 1 + this.#below(6) }, () => new Uint8Array(1 + this.#below(10_000)));
    edu.fn.dma.mapSg(views, 'bidirectional').unmap();
  }

  get #undisturbed(): boolean {
    return this.#machine.injector.total === this.#before;
  }

  #refused(what: number | string, error: unknown): void {
    if (!(error instanceof DmaError) || this.#undisturbed || !CODES.includes(error.code)) throw error;
    this.seen.add(error.code);
    this.trace.update(`${what} ${error.message} `);
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }
}

const worlds: readonly (readonly [string, number, SimulateOptions])[] = [
  ['an IOMMU', 10_000, {}],
  ['no IOMMU', 4000, { iommu: false }],
  ['an incoherent device', 4000, { coherent: false }],
];

describe.each(worlds)('with %s', (_name, operations, options) => {
  it(`${operations} operations end in success or a DmaError, and leave nothing`, async () => {
    const seed = Number(process.env.USERDMA_TEST_SEED ?? randomInt(2 ** 32));
    const run = new RandomRun(seed, options);
    try {
      for (let i = 0; i < operations; i++) await run.step();
      run.close();
    } catch (error) {
      throw new Error(`USERDMA_TEST_SEED=${seed} repeats it; ${run.log}`, { cause: error });
    }
    expect(run.compared).toBeGreaterThan(operations / 80);
    // Without an IOMMU the IOMMU has no limits, and only the few vectors that are armed may be too many.
    const sure = (code: string) => options.iommu !== false || code !== 'ENOSPC';
    expect([...run.seen].filter(sure).sort()).toEqual(CODES.filter(sure).sort());
  });
});

it('a seed repeats the run', async () => {
  const traces = [];
  for (const seed of [11, 11, 12]) {
    const run = new RandomRun(seed, {});
    for (let i = 0; i < 500; i++) await run.step();
    run.close();
    traces.push([run.trace.digest('hex'), run.log]);
  }
  expect(traces[1]).toEqual(traces[0]);
  expect(traces[2]![0]).not.toBe(traces[0]![0]);
});
