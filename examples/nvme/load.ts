/** A load for measurements: a constant number of commands under way, through the interface without promises. */
import { setImmediate as turn } from 'node:timers/promises';
import { type CoherentBuffer, DmaError } from '../../lib/index.ts';
import type { CommandQueue } from './command-queue.ts';
import { IO } from './commands.ts';
import type { NvmeController } from './controller.ts';
import type { Lent } from './memory.ts';
import type { Namespace } from './namespace.ts';
import type { Completion } from './queue-pair.ts';
import { NvmeError } from './status.ts';

export interface LoadOptions {
  /** The number of commands under way at once. */
  readonly depth: number;
  /** Bytes of each command. */
  readonly size: number;
  readonly write: boolean;
  /** True: at random places. False: one after the other. */
  readonly random: boolean;
  readonly seconds: number;
}

export interface LoadResult {
  readonly commands: number;
  readonly seconds: number;
  /** The latency in microseconds that so many percent of the commands stayed below. */
  percentile(percent: number): number;
}

/** The number of latencies to keep: the newest ones. */
const KEPT = 2 ** 20;
/** Looks at a polled queue between two turns of the event loop. */
const LOOKS = 64;

/** The state that all lanes share. */
class Run {
  readonly latencies = new Float64Array(KEPT);
  /** Resolves when the last lane has ended. */
  readonly done: Promise<void>;
  commands = 0;
  active = 0;
  error: DmaError | undefined;
  readonly end: number;
  #rest!: () => void;
  readonly #options: LoadOptions;
  readonly #places: number;
  #next = 0;
  /** The state of a linear congruential generator. */
  #state = 1;

  constructor(options: LoadOptions, places: number) {
    this.#options = options;
    this.#places = places;
    this.end = performance.now() + options.seconds * 1000;
    this.done = new Promise((resolve) => {
      this.#rest = resolve;
    });
  }

  /** A lane has ended. */
  leave(): void {
    if (--this.active === 0) this.#rest();
  }

  /** The place of the next command, in units of its size. */
  place(): number {
    if (!this.#options.random) {
      this.#next = (this.#next + 1) % this.#places;
      return this.#next;
    }
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) | 0;
    return Math.floor(((this.#state >>> 1) / 2 ** 31) * this.#places);
  }
}

/** One of the commands under way. When it ends, the lane starts the next one. */
class Lane implements Completion {
  readonly #run: Run;
  readonly #queue: CommandQueue;
  readonly #data: Lent;
  readonly #opcode: number;
  readonly #namespace: number;
  readonly #blocks: number;
  #started = 0.5;

  constructor(run: Run, queue: CommandQueue, data: Lent, disk: Namespace, { size, write }: LoadOptions) {
    this.#run = run;
    this.#queue = queue;
    this.#data = data;
    this.#opcode = write ? IO.write : IO.read;
    this.#namespace = disk.id;
    this.#blocks = size / disk.blockSize;
    run.active++;
  }

  /**
   * @param now the time. It is the one look at the clock of a command: a look costs as much as the rest of a command
   *   where the clock is emulated, so the end of a command is the begin of the next one.
   */
  begin(now: number): void {
    this.#started = now;
    this.#queue.pair.submitIo(
      this.#opcode,
      this.#namespace,
      this.#run.place() * this.#blocks,
      this.#blocks - 1,
      this.#data.pointer,
      this,
    );
  }

  complete(status: number): void {
    const now = performance.now();
    const run = this.#run;
    run.latencies[run.commands++ % KEPT] = now - this.#started;
    if (status !== 0) run.error ??= new NvmeError(status, 'the load');
    if (now < run.end && run.error === undefined) this.begin(now);
    else run.leave();
  }

  abandon(error: DmaError): void {
    this.#run.error ??= error;
    this.#run.leave();
  }
}

/**
 * Puts the load on a queue that has no other user.
 * @throws NvmeError a command fails · DmaError EINVAL a load that the queue cannot have · ENOMEM, or the device does
 *   not answer
 */
export async function measure(
  nvme: NvmeController,
  disk: Namespace,
  queue: CommandQueue,
  options: LoadOptions,
): Promise<LoadResult> {
  const { depth, size } = options;
  const { dma } = nvme.fn;
  const possible = Number.isInteger(depth) && depth >= 1 && depth <= queue.pair.depth;
  if (!possible || !(size > 0 && size % disk.blockSize === 0 && size <= nvme.maxTransfer)) {
    throw new DmaError('EINVAL', `a load of ${depth} times ${size} bytes`, {
      remedy: `use 1 to ${queue.pair.depth} of up to ${nvme.maxTransfer} bytes, whole blocks of ${disk.blockSize}`,
    });
  }
  const run = new Run(options, Math.floor((disk.blocks * disk.blockSize) / size));
  const buffers: CoherentBuffer[] = Array.from({ length: depth }, () => dma.allocCoherent(size));
  const lent = buffers.map(({ bytes }) => nvme.memory.lend(bytes, 'bidirectional'));
  try {
    const started = performance.now();
    const lanes = lent.map((data) => new Lane(run, queue, data, disk, options));
    for (const lane of lanes) lane.begin(started);
    queue.pair.ring();
    // The event loop delivers an interrupt; a polled queue must be polled again and again.
    for (; queue.interrupt === undefined && run.active > 0; await turn()) {
      for (let i = 0; i < LOOKS; i++) queue.poll();
    }
    await run.done;
    const seconds = (performance.now() - started) / 1000;
    if (run.error !== undefined) throw run.error;
    const sorted = run.latencies.slice(0, Math.min(run.commands, KEPT)).sort();
    return {
      commands: run.commands,
      seconds,
      percentile: (percent) => sorted[Math.floor(((sorted.length - 1) * percent) / 100)]! * 1000,
    };
  } finally {
    for (const data of lent) data.release();
    for (const buffer of buffers) buffer.free();
  }
}
