/**
 * One DMA engine of the core: a page of descriptors, and a word that the device writes in poll mode.
 *
 *      start    descriptors, then their address, then Run: the engine fetches and executes them
 *      look     the status, which reading clears, and the number of completed descriptors
 *      halt     Run off, and wait until the engine is idle: only then memory may be taken from it
 *
 * The device is not believed: an end counts if the status says so, without an error, and all descriptors are completed.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type ArrayOf,
  type Bar,
  type CoherentBuffer,
  type Column,
  type DmaDevice,
  DmaError,
  type RegisterSequence,
  type RegisterStep,
} from '../../lib/index.ts';
import {
  CHANNEL,
  CHANNEL_STRIDE,
  CONTROL,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_FLAG,
  DESCRIPTOR_MAGIC,
  DESCRIPTOR_PAGE,
  DESCRIPTORS,
  Descriptor,
  MAX_ADJACENT,
  POLL,
  PollWord,
  STATUS,
  STATUS_ERRORS,
  STATUS_NOTED,
  TARGET,
} from './registers.ts';

/** From host to card, or from card to host. */
export type Way = 'h2c' | 'c2h';

/** A run of bytes of the host and one of the card, both contiguous. */
export interface Run {
  readonly low: number;
  readonly high: number;
  readonly length: number;
  /** Address on the card's AXI bus. */
  readonly card: number;
}

/** Descriptors of an engine: a page of them. */
export const DESCRIPTOR_COUNT = DESCRIPTOR_PAGE / DESCRIPTOR_BYTES;
/** Milliseconds that an engine has to become idle; it finishes the descriptor it is at. */
const HALT_TIME = 500;
/** The step of `#stepsOfStart` whose value differs from transfer to transfer. */
const ADJACENT_STEP = 0;

export class Engine {
  readonly way: Way;
  readonly name: string;
  readonly #registers: Bar;
  readonly #at: number;
  readonly #descriptorsAt: number;
  readonly #memory: CoherentBuffer;
  readonly #descriptors: ArrayOf<typeof Descriptor>;
  readonly #poll: Column;
  readonly #polls: boolean;
  /** The accesses that start a transfer. They differ in one value alone. */
  #starting: RegisterSequence | undefined;
  #started = 0;
  /** What the status has had since the start. */
  #status = 0;

  /** @throws DmaError ENOMEM */
  constructor(registers: Bar, dma: DmaDevice, way: Way, index: number, polls: boolean) {
    this.way = way;
    this.name = `${way}${index}`;
    this.#registers = registers;
    this.#at = TARGET[way] + index * CHANNEL_STRIDE;
    this.#descriptorsAt =
      (way === 'h2c' ? TARGET.h2cDescriptors : TARGET.c2hDescriptors) + index * CHANNEL_STRIDE;
    this.#polls = polls;
    this.#memory = dma.allocCoherent(DESCRIPTOR_PAGE + 4);
    this.#descriptors = Descriptor.over(this.#memory.bytes.subarray(0, DESCRIPTOR_PAGE));
    this.#poll = PollWord.over(this.#memory.bytes.subarray(DESCRIPTOR_PAGE, DESCRIPTOR_PAGE + 4)).value;
  }

  /** Descriptors that the running transfer has. */
  get started(): number {
    return this.#started;
  }

  /** Program descriptors for these runs, and start. @param runs 1 to DESCRIPTOR_COUNT */
  start(runs: readonly Run[]): void {
    const { low, high } = this.#memory;
    for (const [i, { low: hostLow, high: hostHigh, length, card }] of runs.entries()) {
      const last = i === runs.length - 1;
      // How many lie behind the next one.
      const adjacent = last ? 0 : Math.min(runs.length - i - 2, MAX_ADJACENT);
      const flags = last ? DESCRIPTOR_FLAG.stop | DESCRIPTOR_FLAG.completed : 0;
      this.#descriptors.control.set(i, ((DESCRIPTOR_MAGIC << 16) | (adjacent << 8) | flags) >>> 0);
      this.#descriptors.length.set(i, length);
      const [source, destination] =
        this.way === 'h2c'
          ? [this.#descriptors.destination, this.#descriptors.source]
          : [this.#descriptors.source, this.#descriptors.destination];
      source.setParts(i, card >>> 0, Math.floor(card / 2 ** 32));
      destination.setParts(i, hostLow, hostHigh);
      // The page is contiguous and does not cross 4 GiB, so that only the low half changes.
      this.#descriptors.next.setParts(i, last ? 0 : low + (i + 1) * DESCRIPTOR_BYTES, last ? 0 : high);
    }
    this.#started = runs.length;
    this.#status = 0;
    this.#poll.store(0, 0);
    this.#starting ??= this.#registers.sequence(this.#stepsOfStart());
    this.#starting.set(ADJACENT_STEP, Math.min(runs.length - 1, MAX_ADJACENT));
    this.#starting.run();
  }

  #stepsOfStart(): RegisterStep[] {
    const at = this.#at;
    const { low, high, dmaAddress } = this.#memory;
    const word = dmaAddress + BigInt(DESCRIPTOR_PAGE);
    const polling: readonly RegisterStep[] = [
      ['write32', at + CHANNEL.pollLow, Number(word & 0xffff_ffffn)],
      ['write32', at + CHANNEL.pollHigh, Number(word >> 32n)],
    ];
    return [
      ['write32', this.#descriptorsAt + DESCRIPTORS.adjacent],
      // What an earlier transfer left must not end this one.
      ['read32', at + CHANNEL.statusReadClear],
      ['write32', this.#descriptorsAt + DESCRIPTORS.low, low],
      ['write32', this.#descriptorsAt + DESCRIPTORS.high, high],
      ...(this.#polls ? polling : []),
      ['write32', at + CHANNEL.interruptEnable, this.#polls ? 0 : STATUS_NOTED],
      [
        'write32',
        at + CHANNEL.control,
        CONTROL.run | STATUS_NOTED | (this.#polls ? CONTROL.pollWriteback : 0),
      ],
    ];
  }

  /** Whether the word in memory says that the device may be done: in poll mode, without a register access. */
  get maybeDone(): boolean {
    const value = this.#poll.load(0);
    return (value & POLL.error) !== 0 || (value & POLL.count) >= this.#started;
  }

  /** Whether all is transferred. @throws DmaError EIO the device says that it failed */
  look(): boolean {
    this.#status |= this.#registers.read32(this.#at + CHANNEL.statusReadClear);
    if ((this.#status & STATUS_ERRORS) !== 0) throw this.#failed();
    if ((this.#status & STATUS.descriptorStopped) === 0) return false;
    const completed = this.#registers.read32(this.#at + CHANNEL.completedDescriptors);
    if (completed === this.#started) return true;
    throw new DmaError('EIO', `${this.name} stopped after ${completed} of ${this.#started} descriptors`, {
      remedy: 'call reset()',
    });
  }

  /** Stop the engine. @returns whether it is idle; otherwise it may still use memory @throws DmaError ENODEV, EIO */
  async halt(): Promise<boolean> {
    this.#registers.write32(this.#at + CHANNEL.interruptEnable, 0);
    this.#registers.write32(this.#at + CHANNEL.controlClear, CONTROL.run);
    const end = performance.now() + HALT_TIME;
    while ((this.#registers.read32(this.#at + CHANNEL.status) & STATUS.busy) !== 0) {
      if (performance.now() > end) return false;
      await nextTurn();
    }
    return true;
  }

  /** Called when the engine is idle, or can do no DMA any more. */
  free(): void {
    this.#memory.free();
  }

  #failed(): DmaError {
    const errors: [bits: number, text: string][] = [
      [STATUS.alignMismatch, 'an address or a length that is not aligned as the core needs it'],
      [STATUS.magicStopped, 'a descriptor without its magic number'],
      [STATUS.invalidLength, 'a length that it does not take'],
      [STATUS.readErrors, `an error of a read ${this.way === 'h2c' ? 'of memory' : 'on the card'}`],
      [STATUS.writeErrors, 'an error of a write on the card'],
      [STATUS.descriptorErrors, 'an error of a read of a descriptor'],
    ];
    const found = errors.filter(([bits]) => (this.#status & bits) !== 0).map(([, text]) => text);
    const status = (this.#status >>> 0).toString(16);
    return new DmaError('EIO', `${this.name} stopped at ${found.join(', ')} (status 0x${status})`, {
      remedy: 'look whether the card has memory at the address',
    });
  }
}
