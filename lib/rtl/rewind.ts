/**
 * A simulator that can show what is over: from time to time it copies its whole state, and keeps what came from outside
 * since. A waveform of a past window is made by running a second simulator from the nearest copy.
 *
 *      state . . calls and answers . . state . . calls and answers . . now
 *        '------> the same again, with a waveform of the window
 *
 * A design that has the same state and the same inputs does the same: what memory answered is kept, and is not read again.
 */
import { DmaError } from '../errors.ts';
import type { Pages } from './pages.ts';
import type { Design, DesignDescription, Simulator, SimulatorHost, WaveWindow } from './simulator.ts';

/** Copies that are kept: waveforms go back one fewer times the distance between two, as a rule. */
const COPIES = 8;
/** Bytes that were read from memory or pushed to streams, and calls, since the last copy, before there is another one. */
const MOST_BYTES = 1 << 24;
const MOST_CALLS = 1 << 16;

/** What memory answered to one access. */
interface Answer {
  readonly address: bigint;
  readonly response: number;
  /** Of a read; of a write nothing. */
  readonly bytes: Uint8Array | undefined;
  readonly note: string;
}

/** From one copy of the state to the next. */
interface Stretch {
  readonly clock: number;
  readonly state: Pages;
  readonly calls: ((simulator: Simulator) => void)[];
  readonly answers: Answer[];
  bytes: number;
}

/** A design whose simulators can show what is over. @param every clocks between two copies of the state */
export function rewindable(
  design: Design,
  every: number,
): Omit<Design, 'open'> & { open(host: SimulatorHost): Rewindable } {
  return { name: design.name, open: (host) => new Rewindable(design, host, every) };
}

/** One of its simulators. */
export class Rewindable implements Simulator {
  readonly description: DesignDescription;
  readonly #design: Design;
  readonly #simulator: Simulator;
  readonly #every: number;
  /** Oldest first. */
  #stretches: Stretch[] = [];
  /** The answer that the design waits for its note of. */
  #unanswered: Omit<Answer, 'note'> | undefined;

  constructor(design: Design, host: SimulatorHost, every: number) {
    this.#design = design;
    this.#every = every;
    this.#simulator = design.open({
      ...forward(host),
      dmaRead: (address, into) => {
        const response = host.dmaRead(address, into);
        this.#unanswered = { address, response, bytes: into.slice() };
        return response;
      },
      dmaWrite: (address, from) => {
        const response = host.dmaWrite(address, from);
        this.#unanswered = { address, response, bytes: undefined };
        return response;
      },
      note: () => this.#keepAnswer(host.note()),
    });
    this.description = this.#simulator.description;
    if (this.#simulator.snapshot !== undefined) return;
    this.#simulator.close();
    throw new DmaError('EOPNOTSUPP', `the state of ${design.name} cannot be copied`, {
      remedy: 'build it as WebAssembly, or leave out the option rewind',
    });
  }

  get clock(): number {
    return this.#simulator.clock;
  }

  get moving(): boolean {
    return this.#simulator.moving;
  }

  get low(): number {
    return this.#simulator.low;
  }

  get high(): number {
    return this.#simulator.high;
  }

  read(address: number, width: number): number {
    return this.#call((simulator) => simulator.read(address, width));
  }

  write(address: number, width: number, low: number, high: number): number {
    return this.#call((simulator) => simulator.write(address, width, low, high));
  }

  run(clocks: number): void {
    this.#call((simulator) => simulator.run(clocks));
  }

  reset(): void {
    this.#call((simulator) => simulator.reset());
  }

  push(stream: number, bytes: Uint8Array, last: boolean): void {
    const copy = bytes.slice();
    this.#call((simulator) => simulator.push(stream, copy, last), copy.length);
  }

  set(name: string, value: number): boolean {
    return this.#call((simulator) => simulator.set(name, value));
  }

  mark(text: string): void {
    this.#call((simulator) => simulator.mark(text));
  }

  waves(file: string, window: WaveWindow): boolean {
    return this.#simulator.waves(file, window);
  }

  snapshot(): Pages {
    return this.#simulator.snapshot!();
  }

  restore(state: Pages): void {
    // What was kept leads to another state than this one.
    this.#stretches = [];
    this.#simulator.restore!(state);
  }

  close(): void {
    this.#stretches = [];
    this.#simulator.close();
  }

  /** The first clock that can still be shown. */
  get oldest(): number {
    return this.#stretches[0]?.clock ?? this.clock;
  }

  /**
   * Write the waveform of clocks that are over.
   * @throws DmaError ERANGE the window starts before what is kept · EIO the file cannot be written, or the design did
   *   something else than before
   */
  replay(file: string, window: WaveWindow): void {
    const first = this.#stretches.findLastIndex(({ clock }) => clock <= window.from);
    if (first < 0) {
      throw new DmaError(
        'ERANGE',
        `clock ${window.from} is too long ago: clocks from ${this.oldest} on are kept`,
        { remedy: 'ask for a later window, or copy the state less often: a larger `rewind`' },
      );
    }
    const stretches = this.#stretches.slice(first);
    const answers = stretches.flatMap((stretch) => stretch.answers);
    const host = new Answers(this.#design.name, answers);
    const again = this.#design.open(host);
    try {
      again.restore!(stretches[0]!.state);
      if (!again.waves(file, window)) throw noWaveFile(file);
      for (const { calls } of stretches) {
        for (const call of calls) if (again.clock <= window.to) call(again);
      }
      again.waves('', window);
      if (host.lost !== undefined) throw host.lost;
    } finally {
      again.close();
    }
  }

  /** @param bytes that are kept with the call */
  #call<Result>(call: (simulator: Simulator) => Result, bytes = 0): Result {
    this.#copyIfDue();
    const stretch = this.#stretches.at(-1)!;
    stretch.calls.push(call);
    stretch.bytes += bytes;
    return call(this.#simulator);
  }

  #copyIfDue(): void {
    const { clock } = this.#simulator;
    const last = this.#stretches.at(-1);
    const full = last === undefined || last.bytes >= MOST_BYTES || last.calls.length >= MOST_CALLS;
    if (!full && clock - last.clock < this.#every) return;
    if (this.#stretches.length === COPIES) this.#stretches.shift();
    this.#stretches.push({ clock, state: this.#simulator.snapshot!(), calls: [], answers: [], bytes: 0 });
  }

  #keepAnswer(note: string): string {
    const answer = this.#unanswered;
    const stretch = this.#stretches.at(-1);
    this.#unanswered = undefined;
    if (answer === undefined || stretch === undefined) return note;
    stretch.answers.push({ ...answer, note });
    stretch.bytes += answer.bytes?.length ?? 0;
    return note;
  }
}

/** Gives the answers of the first time again. */
class Answers implements SimulatorHost {
  readonly #name: string;
  readonly #answers: readonly Answer[];
  /** Why the waveform has no end. */
  lost: DmaError | undefined;
  #next = 0;

  constructor(name: string, answers: readonly Answer[]) {
    this.#name = name;
    this.#answers = answers;
  }

  dmaRead(address: bigint, into: Uint8Array): number {
    const { response, bytes } = this.#answerTo(address);
    into.set(bytes ?? []);
    return response;
  }

  dmaWrite(address: bigint): number {
    return this.#answerTo(address).response;
  }

  note(): string {
    return this.#answers[this.#next - 1]?.note ?? '';
  }

  burst(): void {}
  interrupt(): void {}
  report(): void {}
  streamed(): void {}

  waveLost(error: DmaError): void {
    this.lost = error;
  }

  #answerTo(address: bigint): Answer {
    const answer = this.#answers[this.#next++];
    if (answer !== undefined && answer.address === address) return answer;
    throw new DmaError('EIO', `${this.#name} does not do the same twice`, {
      remedy: 'look for something in it that depends on more than its inputs',
    });
  }
}

/** The methods of a host, for one that does some of them itself. */
function forward(host: SimulatorHost): SimulatorHost {
  return {
    dmaRead: (address, into) => host.dmaRead(address, into),
    dmaWrite: (address, from) => host.dmaWrite(address, from),
    burst: (burst) => host.burst(burst),
    note: () => host.note(),
    interrupt: (wire, level) => host.interrupt(wire, level),
    report: (text) => host.report(text),
    streamed: (stream, bytes, last) => host.streamed(stream, bytes, last),
    waveLost: (error) => host.waveLost(error),
  };
}

export function noWaveFile(file: string): DmaError {
  return new DmaError('EIO', `no waveform can be written to ${file}`, {
    remedy: 'check the folder and its rights',
  });
}
