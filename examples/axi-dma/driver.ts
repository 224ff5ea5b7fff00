/**
 * A driver for the AXI DMA (PG021), in direct register mode or with its scatter-gather engine, whichever the core was
 * built with. It is given registers, interrupts and a DmaDevice: parts of a PCI function (an FPGA card), of a UIO
 * device with u-dma-buf memory (a SoC), or of a simulation. Nothing in it knows which.
 *
 *      await Promise.all([axi.s2mm.receive(into), axi.mm2s.send(from)]);
 */
import { type DmaDevice, DmaError, dmaBitMask, type Interrupt } from '../../lib/index.ts';
import type { Channel, ChannelOwner, Registers, TransferOptions } from './channel.ts';
import { DirectChannel } from './direct-channel.ts';
import { CHANNEL, CONTROL, REGISTER, STATUS } from './registers.ts';
import { RingChannel } from './ring-channel.ts';
import { type AxiDmaOptions, checkSettings } from './settings.ts';
import type { Lent, Payload, Transfer } from './transfer.ts';

export type { AxiDmaOptions } from './settings.ts';

/** What the driver stands on; it stays the caller's, who closes the driver first. */
export interface AxiDmaParts {
  readonly registers: Registers;
  /** One for each channel, or the same for both. */
  readonly interrupts: { readonly mm2s: AxiDmaInterrupt; readonly s2mm: AxiDmaInterrupt };
  readonly dma: DmaDevice;
}

export type AxiDmaInterrupt = Pick<Interrupt, 'wait' | 'unmask'>;

/** Memory to stream. */
export interface SendChannel {
  /**
   * Send one packet; a list is one packet. Resolves when the core has read the memory, which is the caller's again.
   * @throws DmaError what `DmaDevice.mapSingle` or `mapSg` throw · EINVAL alignment, or too long for the core ·
   *   EFAULT, EIO an error of the core · ECANCELED reset or closed meanwhile, or after an error of another packet ·
   *   ENODEV closed
   */
  send(payload: Payload, options?: TransferOptions): Promise<void>;
}

/** Stream to memory. */
export interface ReceiveChannel {
  /**
   * Receive one packet; a list takes one packet, which fills all its views but the last. Resolves with the bytes
   * received.
   *
   * With the scatter-gather engine a packet that is longer than the memory waits for more, and the core does not
   * interrupt: EOVERFLOW comes when a later `receive` lets the packet end.
   * @throws DmaError as `send` · EOVERFLOW the packet was longer than the memory · EIO it ended before the last view,
   *   or the core says that it wrote more bytes than it was given
   */
  receive(into: Payload, options?: TransferOptions): Promise<number>;
}

/** Reads of DMACR until a reset that does not end is given up; it takes some tens of clocks. */
const RESET_READS = 100_000;

/** The reason with which waits for an interrupt that will not come are ended. */
const RESTARTED = new DmaError('ECANCELED', 'the core was reset');

/** One interrupt and the channels it may be for. */
interface Line {
  readonly interrupt: AxiDmaInterrupt;
  readonly channels: Channel[];
  stop: AbortController;
  waiting: boolean;
}

export class AxiDma {
  readonly mm2s: SendChannel;
  readonly s2mm: ReceiveChannel;
  /** Whether the core has the scatter-gather engine. */
  readonly scatterGather: boolean;

  readonly #registers: Registers;
  readonly #dma: DmaDevice;
  readonly #channels: readonly Channel[];
  readonly #lines: readonly Line[];
  /** Why nothing can be transferred any more. */
  #dead: DmaError | undefined;
  #closed = false;
  /** Closed, and the device can reach nothing of the driver's memory. */
  #freed = false;
  /** Failed, but the core did not come out of reset: their memory is mapped until it does. */
  #stranded: Transfer[] = [];

  /**
   * Reset the core and set both channels going.
   * @throws DmaError EINVAL options · EIO no address fits under the mask · ENODEV no AXI DMA at these registers, or it
   *   lacks a channel · ETIMEDOUT it does not come out of reset · ENOMEM, ENOSPC no memory for the rings
   */
  constructor({ registers, interrupts, dma }: AxiDmaParts, options: AxiDmaOptions = {}) {
    const settings = checkSettings(options);
    this.#registers = registers;
    this.#dma = dma;
    this.#reset();
    dma.setMaskAndCoherent(dmaBitMask(settings.addressBits));
    // The driver cuts segments into descriptors itself: the longer they are, the fewer descriptors are needed.
    dma.limits.maxSegmentSize = 2 ** 32 - 1;
    const owner: ChannelOwner = {
      registers,
      settings,
      lend: (payload, direction) => this.lend(payload, direction),
      watch: (channel) => this.#watch(channel),
      abandon: (error, culprit) => this.#abandon(error, culprit),
    };
    this.scatterGather = hasScatterGather(registers);
    const [mm2s, s2mm] = this.scatterGather
      ? newRings(owner, dma)
      : [new DirectChannel(owner, 'mm2s'), new DirectChannel(owner, 's2mm')];
    this.#channels = [mm2s, s2mm];
    this.#lines = lines([
      [interrupts.mm2s, mm2s],
      [interrupts.s2mm, s2mm],
    ]);
    this.mm2s = {
      send: async (payload, transferOptions = {}) => {
        this.#checkAlive();
        await mm2s.transfer(payload, transferOptions);
      },
    };
    this.s2mm = {
      receive: async (into, transferOptions = {}) => {
        this.#checkAlive();
        return s2mm.transfer(into, transferOptions);
      },
    };
    for (const channel of this.#channels) channel.start();
  }

  /**
   * Reset the core. Every packet under way is rejected with ECANCELED, and its memory is the caller's again. A core
   * that did not come out of reset before may do so now.
   * @throws DmaError ENODEV closed, or no AXI DMA of that mode is at these registers · ETIMEDOUT the core does not come
   *   out of reset
   */
  reset(): void {
    if (this.#closed) this.#checkAlive();
    this.#dead = undefined;
    this.#abandon(canceled('the core was reset'));
    this.#checkAlive();
  }

  /**
   * Stop the core, take back its memory, reject what was under way with ECANCELED. A core that does not come out of
   * reset may still use memory, which stays mapped: call this again when it does, or close the function. Harmless to
   * call twice.
   */
  close(): void {
    if (this.#freed) return;
    this.#closed = true;
    const failure = this.#stop(canceled('the driver was closed'));
    this.#freed = !mayTouchMemory(failure);
    if (this.#freed) for (const channel of this.#channels) channel.free();
    this.#dead = new DmaError('ENODEV', 'the driver is closed', { remedy: 'open the device again' });
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Give memory to the device, until it is unmapped. */
  protected lend(payload: Payload, direction: 'to-device' | 'from-device'): Lent {
    return isView(payload) ? this.#dma.mapSingle(payload, direction) : this.#dma.mapSg(payload, direction);
  }

  #abandon(error: unknown, culprit?: Transfer): void {
    if (this.#stop(error, culprit) !== undefined) return;
    for (const channel of this.#channels) channel.start();
  }

  /** In this order: no DMA may be under way when memory is given back. @returns why the core cannot be used again */
  #stop(error: unknown, culprit?: Transfer): DmaError | undefined {
    const failure = attempt(() => {
      this.#reset();
      this.#checkMode();
    });
    this.#dead ??= failure;
    const released = !mayTouchMemory(failure);
    const others = culprit === undefined ? error : canceled('another packet failed', error);
    for (const channel of this.#channels) {
      const left = channel.drop((transfer) => (transfer === culprit ? error : others), released);
      this.#stranded.push(...left);
    }
    if (released) for (const transfer of this.#stranded.splice(0)) transfer.takeBack();
    for (const line of this.#lines) {
      line.stop.abort(RESTARTED);
      line.stop = new AbortController();
    }
    return failure;
  }

  /** PG021, "MM2S_DMACR", Reset: both channels, after what was committed to the bus has ended. */
  #reset(): void {
    this.#registers.write32(REGISTER.control, CONTROL.reset);
    for (let reads = 0; reads < RESET_READS; reads++) {
      if ((this.#registers.read32(REGISTER.control) & CONTROL.reset) === 0) return;
    }
    throw new DmaError('ETIMEDOUT', 'the core does not come out of reset', {
      remedy: 'check that all its clocks run, and that its registers are where you say',
    });
  }

  /** A core that says something else of itself than at first would never end a transfer. @throws DmaError ENODEV */
  #checkMode(): void {
    if (hasScatterGather(this.#registers) === this.scatterGather) return;
    throw new DmaError('ENODEV', 'the core is in another mode than when it was opened', {
      remedy: 'check its registers, and open it again',
    });
  }

  #watch(channel: Channel): void {
    const line = this.#lines.find(({ channels }) => channels.includes(channel));
    if (line === undefined || line.waiting) return;
    line.waiting = true;
    void this.#serve(line);
  }

  /** As long as something is under way; interrupts that come later are kept for the next time. */
  async #serve(line: Line): Promise<void> {
    const { interrupt, channels } = line;
    while (channels.some(({ busy }) => busy)) {
      try {
        await interrupt.wait({ signal: line.stop.signal });
        for (const channel of channels) channel.service();
        interrupt.unmask();
      } catch (error) {
        // Whatever keeps us from hearing of the device: the vector closed, or registers that do not answer.
        if (error !== RESTARTED) this.#abandon(error);
      }
    }
    line.waiting = false;
  }

  #checkAlive(): void {
    if (this.#dead !== undefined) throw this.#dead;
  }
}

/** @throws DmaError ENODEV */
function hasScatterGather(registers: Registers): boolean {
  const status = Object.values(CHANNEL).map((base) => registers.read32(base + REGISTER.status));
  if (status.every((bits) => bits & STATUS.halted))
    return status.every((bits) => bits & STATUS.scatterGather);
  throw new DmaError('ENODEV', 'no AXI DMA with both channels at these registers', {
    remedy: 'check the base address in the block design, and that MM2S and S2MM are enabled',
  });
}

function newRings(owner: ChannelOwner, dma: DmaDevice): readonly [Channel, Channel] {
  const mm2s = new RingChannel(owner, 'mm2s', dma);
  try {
    return [mm2s, new RingChannel(owner, 's2mm', dma)];
  } catch (error) {
    mm2s.free();
    throw error;
  }
}

function lines(pairs: readonly (readonly [AxiDmaInterrupt, Channel])[]): Line[] {
  const byInterrupt = new Map<AxiDmaInterrupt, Line>();
  for (const [interrupt, channel] of pairs) {
    const line = byInterrupt.get(interrupt);
    if (line !== undefined) line.channels.push(channel);
    else
      byInterrupt.set(interrupt, {
        interrupt,
        channels: [channel],
        stop: new AbortController(),
        waiting: false,
      });
  }
  return [...byInterrupt.values()];
}

function isView(payload: Payload): payload is ArrayBufferView {
  return !Array.isArray(payload);
}

function canceled(message: string, cause?: unknown): DmaError {
  return new DmaError('ECANCELED', message, { remedy: 'transfer it again', cause });
}

/** A function that is closed or gone does no DMA; a core that could not be reset may: its memory stays mapped. */
function mayTouchMemory(failure: DmaError | undefined): boolean {
  return failure !== undefined && failure.code !== 'ENODEV';
}

/** The error of a step that failed because of the device; anything else is a mistake in this program. */
function attempt(step: () => void): DmaError | undefined {
  try {
    step();
    return undefined;
  } catch (error) {
    if (error instanceof DmaError) return error;
    throw error;
  }
}
