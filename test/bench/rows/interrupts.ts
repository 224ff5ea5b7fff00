/**
 * From the signal of an eventfd to the driver's code. Each round has some signals to this side and some to a thread in C,
 * and its figure is their median. Sender and receiver are on one processor, as an interrupt is handled where it arrives.
 * A processor that sleeps in between has to wake up, and comes back with cold caches. So each row is measured on one that
 * sleeps, and on one that another thread keeps awake. In the virtual machine VFIO sends the signals.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { type Interrupt, openPci, type PciFunction } from '../../../lib/index.ts';
import type { InterruptAccess } from '../../../lib/interrupts/access.ts';
import { Interrupts } from '../../../lib/interrupts/interrupt.ts';
import { loadAddon } from '../../../lib/native/load.ts';
import { VFIO_IRQ } from '../../../lib/native/vfio.ts';
import { comparators, type Source } from '../comparators.ts';
import { QUICK } from '../measure.ts';
import type { Outcome, Row, Target } from '../row.ts';

const ROUNDS = QUICK ? 3 : 20;
const SIGNALS = 200;
/** Rounds that are not counted: until the code is optimised. */
const WARM_UP = QUICK ? 1 : 5;
const EVENTFD: Source = [SIGNALS, 300];

type Came = (count: number) => void;

/** The vectors of a function whose device is the program: each is an eventfd of the addon. */
class Eventfds implements InterruptAccess {
  readonly #native = loadAddon();
  handle = 0;

  limit(): number {
    return 1;
  }
  enable(_kind: unknown, _vector: number, deliver: Came): void {
    this.handle = this.#native.interruptCreate(deliver);
  }
  disable(): void {
    this.#native.interruptClose(this.handle);
  }
  unmaskIntx(): void {}
  trigger(): void {}
  setRef(_kind: unknown, _vector: number, ref: boolean): void {
    this.#native.interruptRef(this.handle, ref);
  }
  get fd(): number {
    return this.#native.interruptFd(this.handle);
  }
}

/** The two ways in which a driver gets interrupts. They end when the interrupt is closed. */
const WAYS = {
  listener: (interrupt: Interrupt, came: Came) => void interrupt.listen(came),
  wait: async (interrupt: Interrupt, came: Came) => {
    try {
      for (;;) came(await interrupt.wait());
    } catch {
      // The row closed the interrupt.
    }
  },
} as const;
type Way = keyof typeof WAYS;

/** The times at which the signals of a round came. */
class Arrivals {
  readonly #times = new Float64Array(SIGNALS);
  #done = 0;
  #end = (): void => {};
  readonly came: Came = (count) => {
    this.#times.fill(Number(process.hrtime.bigint()), this.#done, this.#done + count);
    this.#done += count;
    if (this.#done === SIGNALS) this.#end();
  };

  /** One round: nanoseconds from each signal. @param fd the eventfd, where this process signals it */
  async round(source: Source, fd = -1): Promise<Float64Array> {
    this.#done = 0;
    const all = new Promise<void>((resolve) => {
      this.#end = resolve;
    });
    const sent = comparators().signals(fd, ...source);
    await all;
    const starts = sent();
    return this.#times.map((time, i) => time - starts[i]!);
  }
}

const at = (of: readonly number[], share: number): number =>
  of.toSorted((a, b) => a - b)[Math.floor(share * (of.length - 1))]!;

async function inTurns(
  label: string,
  source: Source,
  ours: () => Float64Array | Promise<Float64Array>,
): Promise<Outcome> {
  const own: number[][] = [];
  const theirs: number[][] = [];
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const mine = [...(await ours())];
    const others = [...comparators().wakeups(...source)];
    if (round < 0) continue;
    own.push(mine);
    theirs.push(others);
  }
  const medians = (of: number[][]) => of.map((round) => at(round, 0.5));
  const microseconds = (of: number[][], share: number) => at(of.flat(), share) / 1000;
  return {
    ours: { label, rounds: medians(own) },
    theirs: { label: 'C thread in read()', rounds: medians(theirs) },
    counts: {
      'p10, us': microseconds(own, 0.1),
      'p10 of C, us': microseconds(theirs, 0.1),
      'p99, us': microseconds(own, 0.99),
      'p99 of C, us': microseconds(theirs, 0.99),
    },
  };
}

async function toWay(way: Way): Promise<Outcome> {
  const access = new Eventfds();
  using interrupt = new Interrupts(access).msi(0);
  const arrivals = new Arrivals();
  WAYS[way](interrupt, arrivals.came);
  return await inTurns(way, EVENTFD, () => arrivals.round(EVENTFD, access.fd));
}

/** What Node.js takes without the library's own part. */
async function toCallback(): Promise<Outcome> {
  const access = new Eventfds();
  const arrivals = new Arrivals();
  access.enable(undefined, 0, arrivals.came);
  try {
    return await inTurns('callback', EVENTFD, () => arrivals.round(EVENTFD, access.fd));
  } finally {
    access.disable();
  }
}

const toLibuv = (source: Source): Promise<Outcome> =>
  inTurns('libuv alone', source, () => comparators().loopWakeups(...source));

function rowOf(awake: boolean, to: string, targets: readonly Target[], measure: () => Promise<Outcome>): Row {
  return {
    name: `interrupts: eventfd to ${to}, ${awake ? 'awake' : 'asleep'}`,
    targets,
    run: () => {
      comparators().keepTo(awake);
      return measure();
    },
  };
}

/** The descriptor of the function that is open. */
function deviceFd(): number {
  const fd = readdirSync('/proc/self/fd').find((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`) === 'anon_inode:[vfio-device]';
    } catch {
      return false; // the descriptor of the listing itself
    }
  });
  if (fd === undefined) throw new Error('no function is open through VFIO');
  return Number(fd);
}

/** @param to what is measured, of the function and of signals by VFIO */
async function byVfio(to: (fn: PciFunction, source: Source) => Promise<Outcome>): Promise<Outcome> {
  const address = process.env.USERDMA_TEST_EDU;
  if (address === undefined) throw new Error('no function: run it with `npm run vm`');
  await using fn = await openPci(address);
  // On an emulated processor a wake takes longer than the pause of the other rows.
  return await to(fn, [SIGNALS, 1500, deviceFd(), VFIO_IRQ.msi]);
}

const vfioRow = (name: string, targets: readonly Target[], to: Parameters<typeof byVfio>[0]): Row => ({
  name: `vfio: interrupt to ${name}`,
  world: 'vm',
  targets,
  run: () => byVfio(to),
});

const vfioRowOf = (way: Way): Row =>
  vfioRow(way, [{ ratio: 2 }], (fn, source) =>
    // A vector signals one eventfd, so the two sides arm it in turn.
    inTurns(way, source, async () => {
      using interrupt = fn.interrupts.msi(0);
      const arrivals = new Arrivals();
      WAYS[way](interrupt, arrivals.came);
      return await arrivals.round(source);
    }),
  );

export const interruptRows: readonly Row[] = [
  ...[true, false].flatMap((awake) => [
    rowOf(awake, 'listener', [{ ratio: 2 }], () => toWay('listener')),
    rowOf(awake, 'wait', [{ ratio: 2 }], () => toWay('wait')),
    rowOf(awake, 'callback of the addon', [], toCallback),
    rowOf(awake, 'libuv alone', [], () => toLibuv(EVENTFD)),
  ]),
  vfioRowOf('listener'),
  vfioRowOf('wait'),
  vfioRow('libuv alone', [], (_, source) => toLibuv(source)),
];
