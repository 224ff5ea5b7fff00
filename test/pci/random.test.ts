/**
 * Functions of several groups and domains, opened, used, reset, put to sleep, asked back and closed in any order, also from
 * inside their own listeners: whatever happens is a DmaError, nothing waits for ever, and nothing is left behind.
 */
import { spawn } from 'node:child_process';
import { setTimeout as sleep, setImmediate as tick } from 'node:timers/promises';
import { DmaError, type OpenPciOptions, openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { afterAll, assert, beforeAll, describe, it } from '../harness.ts';
import { holdings } from '../vm/holdings.ts';
import { nvmeLike } from './models.ts';

interface Slot {
  open(options: OpenPciOptions): Promise<PciFunction>;
  /** The system wants the function back, and gives it to whoever opens it next. */
  ask(): Promise<unknown>;
}

const { USERDMA_TEST_EDU_BRIDGED: bridged, USERDMA_TEST_EDU_NEIGHBOUR: neighbour } = process.env;
const { USERDMA_TEST_NVME: nvme, USERDMA_TEST_EDU: edu, USERDMA_TEST_EDU_TWIN: twin } = process.env;
const real = nvme !== undefined;
const addresses = [bridged, neighbour, nvme, edu, twin].filter((address) => address !== undefined);
const slots = real ? addresses.map(onBus) : simulated();
const RUNS = real ? 25 : 300;
const STEPS = 40;
/** Milliseconds after which what has not ended never will. */
const PATIENCE = 20_000;
const SEED = Number(process.env.USERDMA_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));

function onBus(address: string): Slot {
  const driver = '/sys/bus/pci/drivers/vfio-pci';
  const command = `echo ${address} > ${driver}/unbind; echo ${address} > /sys/bus/pci/drivers_probe`;
  return {
    open: (options) => openPci(address, options),
    // The kernel waits for the file to be closed: not in this thread.
    ask: () =>
      new Promise((resolve) => {
        spawn('/bin/sh', ['-c', command], { stdio: 'ignore' }).on('exit', resolve);
      }),
  };
}

/** Two groups of two and one of one. */
function simulated(): Slot[] {
  const plug = (address: string, options: SimulateOptions = {}) =>
    simulate(new EduModel(), { address, ...options });
  const first = plug('0000:05:01.0');
  const third = plug('0000:00:10.0');
  const sources = [
    first,
    plug('0000:05:02.0', { group: first.group }),
    simulate(nvmeLike(), { address: '0000:01:00.0' }),
    third,
    plug('0000:00:10.1', { group: third.group }),
  ];
  return sources.map((source) => ({
    open: (options) => openPci(source, options),
    ask: async () => source.requestRelease(),
  }));
}

/** Numbers below a limit, the same for the same seed (xorshift32). */
function generator(seed: number): (limit: number) => number {
  let state = Math.imul(seed, 0x9e37_79b1) >>> 0 || 1;
  return (limit) => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % limit;
  };
}

/** One sequence. What it does not wait for at once is waited for at its end. */
class Run {
  readonly trail: string[] = [];
  readonly unexpected: unknown[] = [];
  readonly #open: (PciFunction | undefined)[] = [];
  readonly #later: Promise<unknown>[] = [];
  readonly #below: (limit: number) => number;

  constructor(seed: number) {
    this.#below = generator(seed);
  }

  async step(): Promise<void> {
    const slot = this.#below(slots.length);
    const fn = this.#open[slot];
    const [name, act] = this.#actions[this.#below(this.#actions.length)]!;
    this.trail.push(`${name} ${slot}`);
    await this.#expect(async () => act(slot, fn));
  }

  async end(): Promise<void> {
    const domains = this.#open.map((fn) => fn?.domain);
    for (const fn of this.#open) await this.#expect(async () => fn?.close());
    const all = Promise.allSettled(this.#later).then(() => 'ended');
    assert.equal(await Promise.race([all, sleep(PATIENCE, 'waits for ever', { ref: false })]), 'ended');
    for (const domain of domains) assert.ok(domain === undefined || domain.closed, 'a domain is open');
  }

  readonly #actions: readonly [string, (slot: number, fn: PciFunction | undefined) => unknown][] = [
    ['open', (slot) => this.#reopen(slot)],
    ['open', (slot) => this.#reopen(slot)],
    ['open', (slot) => this.#reopen(slot)],
    ['close', (_, fn) => fn?.close()],
    ['reset', (_, fn) => fn?.reset()],
    ['hot reset', (_, fn) => this.#below(3) === 0 && fn?.hotReset()],
    ['allocate', (_, fn) => fn?.dma.allocCoherent(4096)],
    ['map', (_, fn) => fn?.dma.mapSingle(new Uint8Array(100 + this.#below(100_000)), 'to-device')],
    ['wait', (_, fn) => fn && this.#await(this.#vector(fn).wait({ signal: fn.gone }))],
    ['trigger', (_, fn) => fn?.interrupts.armed.map((one) => one.trigger())],
    ['disarm', (_, fn) => fn?.interrupts.armed[0]?.close()],
    ['power', (_, fn) => fn && this.#await(fn.setPowerState(this.#below(2) === 0 ? 'D0' : 'D3hot'))],
    ['present', (_, fn) => fn?.isPresent()],
    ['register', (_, fn) => fn?.bar(0).read32(0)],
    ['intx', (_, fn) => fn?.interrupts.intx({ autoUnmask: true }).listen(() => {})],
    ['pause', () => sleep(this.#below(20))],
    ['ask', (slot) => this.#below(2) === 0 && this.#later.push(slots[slot]!.ask())],
  ];

  async #reopen(slot: number): Promise<void> {
    const other = this.#open[this.#below(slots.length)];
    const shared = this.#below(2) === 0 && other?.domain ? { domain: other.domain } : {};
    const fn = await slots[slot]!.open({ releaseGrace: 1 + this.#below(30), ...shared });
    this.#open[slot]?.close();
    this.#open[slot] = fn;
    fn.onReset(() => {
      if (this.#below(8) === 0) fn.close();
    });
    if (this.#below(2) === 0) return;
    fn.onReleaseRequest(async () => {
      await tick();
      if (this.#below(2) === 0) fn.close();
    });
  }

  #vector({ interrupts }: PciFunction) {
    return interrupts.limit('msix') > 0 ? interrupts.msix(this.#below(3)) : interrupts.msi(0);
  }

  #await(promise: Promise<unknown>): void {
    this.#later.push(this.#expect(() => promise));
  }

  async #expect(action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof DmaError)) this.unexpected.push(error);
    }
  }
}

describe('functions in any order', () => {
  const uncaught: unknown[] = [];
  const note = (error: unknown): void => void uncaught.push(error);
  beforeAll(() => void process.on('uncaughtException', note).on('unhandledRejection', note));
  afterAll(() => void process.off('uncaughtException', note).off('unhandledRejection', note));

  it(`fail with DmaErrors only and leave nothing behind, ${RUNS} times from seed ${SEED}`, async () => {
    // The first opening loads and measures what later ones find.
    for (const slot of slots) (await slot.open({})).close();
    const before = real ? holdings() : undefined;
    for (let seed = SEED; seed < SEED + RUNS; seed++) {
      const run = new Run(seed);
      for (let step = 0; step < STEPS; step++) await run.step();
      await run.end();
      await sleep(5);
      assert.deepEqual([...run.unexpected, ...uncaught], [], `seed ${seed}: ${run.trail.join(', ')}`);
      if (real) assert.deepEqual(holdings(), before, `seed ${seed}: ${run.trail.join(', ')}`);
    }
  }, 240_000);
});
