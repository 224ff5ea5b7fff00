/**
 * A driver for the AXI DMA (PG021). It uses direct register mode or the scatter-gather engine, as the core was built.
 * The caller passes registers, interrupts and a DmaDevice. They may be parts of a PCI function (an FPGA card), of a
 * UIO device with u-dma-buf memory (a SoC), or of a simulation. The driver does not know which.
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

/** The parts that the driver uses. The caller keeps owning them, and closes the driver first. */
export interface AxiDmaParts {
  readonly registers: Registers;
  /** One interrupt for each channel, or the same one for both. */
  readonly interrupts: { readonly mm2s: AxiDmaInterrupt; readonly s2mm: AxiDmaInterrupt };
  readonly dma: DmaDevice;
}

/** What the driver needs of an interrupt: of a PCI function, or of a UIO device. */
export type AxiDmaInterrupt = Pick<Interrupt, 'wait' | 'unmask'>;

/** The channel from memory to the stream. */
export interface SendChannel {
  /**
   * Send one packet; a list is one packet. Resolves when the core has read the memory, which is the caller's again.
   * @throws DmaError what `DmaDevice.mapSingle` or `mapSg` throw · EINVAL alignment, or too long for the core ·
   *   EFAULT, EIO an error of the core · ECANCELED reset or closed meanwhile, or after an error of another packet ·
   *   ENODEV closed
   */
  send(payload: Payload, options?: TransferOptions): Promise<void>;
}

/** The channel from the stream to memory. */
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

/** The number of reads of DMACR before the driver gives up a reset. A reset takes some tens of clocks. */
const RESET_READS = 100_000;

/** The reason that ends waits for an interrupt that will not come. */
const RESTARTED = new DmaError('ECANCELED', 'the core was reset');

/** One interrupt, and the channels that use it. */
interface Line {
  readonly interrupt: AxiDmaInterrupt;
  readonly channels: Channel[];
  stop: AbortController;
  waiting: boolean;
}

/** A driver of Xilinx's AXI DMA: a channel from memory to the stream, and one from the stream to memory. */
export class AxiDma {
  readonly mm2s: SendChannel;
  readonly s2mm: ReceiveChannel;
  /** True if the core has the scatter-gather engine. */
  readonly scatterGather: boolean;

  readonly #registers: Registers;
  readonly #dma: DmaDevice;
  readonly #channels: readonly Channel[];
  readonly #lines: readonly Line[];
  /** Why no transfer is possible any more. */
  #dead: DmaError | undefined;
  #closed = false;
  /** The driver is closed, and the device can reach none of its memory. */
  #freed = false;
  /** Failed transfers of a core that did not come out of reset. Their memory stays mapped until it does. */
  #stranded: Transfer[] = [];

  /**
   * Resets the core and starts both channels.
   * @throws DmaError EINVAL options · EIO no address is under the mask · ENODEV no AXI DMA at these registers, or it
   *   lacks a channel · ETIMEDOUT it does not come out of reset · ENOMEM, ENOSPC no memory for the rings
   */
  constructor({ registers, interrupts, dma }: AxiDmaParts, options: AxiDmaOptions = {}) {
    const settings = checkSettings(options);
    this.#registers = registers;
    this.#dma = dma;
    this.#reset();
    dma.setMaskAndCoherent(dmaBitMask(settings.addressBits));
    // The driver itself cuts segments into descriptors. Longer segments need fewer descriptors.
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
   * Resets the core. Every packet under way rejects with ECANCELED, and its memory belongs to the caller again. This
   * may also recover a core that did not come out of reset before.
   * @throws DmaError ENODEV closed, or the registers are not those of an AXI DMA in that mode · ETIMEDOUT the core
   *   does not come out of reset
   */
  reset(): void {
    if (this.#closed) this.#checkAlive();
    this.#dead = undefined;
    this.#abandon(canceled('the core was reset'));
    this.#checkAlive();
  }

  /**
   * Stops the core, frees its memory, and rejects the transfers under way with ECANCELED. If the core does not come
   * out of reset, it may still use memory, which stays mapped. Call this again when it does, or close the function.
   * Calling it twice is harmless.
   */
  close(): void {
    if (this.#freed) return;
    this.#closed = true;
    const failure = this.#stop(canceled('the driver was closed'));
    this.#freed = !mayTouchMemory(failure);
    if (this.#freed) for (const channel of this.#channels) channel.free();
    this.#dead = new DmaError('ENODEV', 'the driver is closed', { remedy: 'open the device again' });
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Maps memory for the device. */
  protected lend(payload: Payload, direction: 'to-device' | 'from-device'): Lent {
    return isView(payload) ? this.#dma.mapSingle(payload, direction) : this.#dma.mapSg(payload, direction);
  }

  #abandon(error: unknown, culprit?: Transfer): void {
    if (this.#stop(error, culprit) !== undefined) return;
    for (const channel of this.#channels) channel.start();
  }

  /** The order matters: DMA must be over before memory is unmapped. @returns why the core cannot be used again */
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

  /**
   * PG021, "MM2S_DMACR", Reset: it resets both channels, after the accesses that were begun on the bus have ended.
   */
  #reset(): void {
    this.#registers.write32(REGISTER.control, CONTROL.reset);
    for (let reads = 0; reads < RESET_READS; reads++) {
      if ((this.#registers.read32(REGISTER.control) & CONTROL.reset) === 0) return;
    }
    throw new DmaError('ETIMEDOUT', 'the core does not come out of reset', {
      remedy: 'check that all its clocks run, and that its registers are where you say',
    });
  }

  /** If the core is in another mode than at first, no transfer would ever end. @throws DmaError ENODEV */
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

  /** Runs as long as a transfer is under way. Interrupts that come later are kept for the next run. */
  async #serve(line: Line): Promise<void> {
    const { interrupt, channels } = line;
    while (channels.some(({ busy }) => busy)) {
      try {
        await interrupt.wait({ signal: line.stop.signal });
        for (const channel of channels) channel.service();
        interrupt.unmask();
      } catch (error) {
        // The driver cannot hear of the device any more: the vector is closed, or the registers do not answer.
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

/**
 * A function that is closed or gone does no DMA. A core that could not be reset may do DMA, so its memory stays
 * mapped.
 */
function mayTouchMemory(failure: DmaError | undefined): boolean {
  return failure !== undefined && failure.code !== 'ENODEV';
}

/** The error of a step that failed because of the device. Any other error is a mistake in this program. */
function attempt(step: () => void): DmaError | undefined {
  try {
    step();
    return undefined;
  } catch (error) {
    if (error instanceof DmaError) return error;
    throw error;
  }
}
