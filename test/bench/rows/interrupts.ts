/** From the signal of an eventfd, as VFIO sends it for an interrupt, to the driver's code. */
import type { Interrupt } from '../../../lib/index.ts';
import type { InterruptAccess } from '../../../lib/interrupts/access.ts';
import { Interrupts } from '../../../lib/interrupts/interrupt.ts';
import { loadAddon } from '../../../lib/native/load.ts';
import { comparators } from '../comparators.ts';
import { QUICK } from '../measure.ts';
import type { Outcome, Row } from '../row.ts';

const SIGNALS = QUICK ? 500 : 4000;
/** Until the code is optimised. */
const WARM_UP = SIGNALS / 4;

/** The vectors of a function whose device is the program: each is an eventfd of the addon. */
class Eventfds implements InterruptAccess {
  readonly #native = loadAddon();
  handle = 0;

  limit(): number {
    return 1;
  }
  enable(_kind: unknown, _vector: number, deliver: (count: number) => void): void {
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

/** Calls `came` with the number of interrupts, until `signal.aborted`. */
type Receive = (
  interrupt: Interrupt,
  came: (count: number) => void,
  signal: AbortSignal,
) => Promise<void> | void;

/** @param receive how the driver gets its interrupts */
async function latencies(receive: Receive): Promise<Float64Array> {
  const access = new Eventfds();
  const interrupt = new Interrupts(access).msi(0);
  const times = new Float64Array(SIGNALS);
  const end = new AbortController();
  let done = 0;
  const all = new Promise<void>((resolve) => {
    const came = (count: number): void => {
      times.fill(Number(process.hrtime.bigint()), done, done + count);
      done += count;
      if (done === SIGNALS) resolve();
    };
    void receive(interrupt, came, end.signal);
  });
  const sent = comparators().signals(access.fd, SIGNALS);
  await all;
  end.abort();
  interrupt.close();
  const starts = sent();
  return times.map((time, i) => time - starts[i]!);
}

function row(name: string, receive: Receive): Row {
  return {
    name: `interrupts: eventfd to ${name}`,
    targets: [{ ratio: 2 }],
    async run(): Promise<Outcome> {
      const ours = (await latencies(receive)).subarray(WARM_UP);
      const theirs = comparators().wakeups(SIGNALS).subarray(WARM_UP);
      const p99 = (of: Float64Array) => of.slice().sort()[Math.floor(0.99 * of.length)]! / 1000;
      return {
        ours: { label: name, rounds: [...ours] },
        theirs: { label: 'C thread in read()', rounds: [...theirs] },
        counts: { 'p99, us': p99(ours), 'p99 of C, us': p99(theirs) },
      };
    },
  };
}

export const interruptRows: readonly Row[] = [
  row('listener', (interrupt, came) => void interrupt.listen(came)),
  row('wait', async (interrupt, came, signal) => {
    while (!signal.aborted) {
      const count = await interrupt.wait().catch(() => 0);
      if (!signal.aborted) came(count);
    }
  }),
];
