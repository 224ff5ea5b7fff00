/**
 * A driver for AMD's (Xilinx's) XDMA core in memory-mapped mode: DMA between memory of the program and addresses on the
 * AXI bus of a PCIe card (PG195). Written against PciFunction: nothing in it knows whether the card is real or simulated.
 *
 *      await using xdma = await Xdma.open(await openPci('0000:01:00.0'));
 *      await xdma.write(0x0, bytes);                 // to address 0 of the card
 *      await xdma.read(0x1000, [header, payload]);   // a list of views is one run of the card's addresses
 *      const changed = xdma.userInterrupt(0);        // usr_irq_req[0] of the design
 *
 * A channel that does not stop may still use memory. So the card then loses bus mastering, which gives all memory back;
 * every transfer fails, and so does every later one until `reset`.
 */
import { type Bar, DmaError, dmaBitMask, type Interrupt, type PciFunction } from '../../lib/index.ts';
import { type Alignment, Channel, type Memory } from './channel.ts';
import { Engine, type Way } from './engine.ts';
import {
  CHANNEL,
  CHANNEL_STRIDE,
  IDENTIFIER,
  INTERRUPTS,
  IS_STREAM,
  LENGTH_BITS,
  MAX_CHANNELS,
  REGISTER_BYTES,
  TARGET,
  USER_INTERRUPTS,
} from './registers.ts';

/** Options of the driver. */
export interface XdmaOptions {
  /** How the end of a transfer is noticed: by interrupt, or by polling a word in memory. Default 'interrupt'. */
  readonly completions?: 'interrupt' | 'poll';
  /** Milliseconds that 128 descriptors may take. Default 10,000. */
  readonly timeout?: number;
}

/** Options of one transfer. */
export interface TransferOptions {
  /** The channel, from 0. Transfers of one channel take place in order. Default 0. */
  readonly channel?: number;
}

/** A multiple of a page, so that lists are cut where alignments allow it. */
const LONGEST_SEGMENT = 2 ** LENGTH_BITS - 4096;

/** An XDMA core: channels from host to card and from card to host, and the interrupts of the design behind it. */
export class Xdma {
  readonly fn: PciFunction;
  readonly #options: Required<XdmaOptions>;
  #registers!: Bar;
  #h2c: readonly Channel[] = [];
  #c2h: readonly Channel[] = [];
  #interrupts: Interrupt[] = [];
  #userInterrupts = new Map<number, Interrupt>();
  #endReleaseRequests = (): void => {};
  #resetting: Promise<void> | undefined;
  /** Why nothing works any more. */
  #failure: DmaError | undefined;
  #closed = false;

  private constructor(fn: PciFunction, options: Required<XdmaOptions>) {
    this.fn = fn;
    this.#options = options;
  }

  /**
   * Take over an opened function and start it. On failure the function is closed.
   * @throws DmaError EINVAL options · ENODEV no BAR has the registers of an XDMA core · EOPNOTSUPP its channels are
   *   streams · EIO a channel does not stop, or says what cannot be · ENOMEM no memory · ENOSPC no interrupt vector
   */
  static async open(fn: PciFunction, options: XdmaOptions = {}): Promise<Xdma> {
    try {
      const { completions = 'interrupt', timeout = 10_000 } = options;
      checkOptions(completions, timeout);
      const xdma = new Xdma(fn, { completions, timeout });
      await xdma.#begin();
      return xdma;
    } catch (error) {
      fn.close();
      throw error;
    }
  }

  /** Channels from host to card. */
  get h2c(): readonly Channel[] {
    return this.#h2c;
  }

  /** Channels from card to host. */
  get c2h(): readonly Channel[] {
    return this.#c2h;
  }

  /**
   * Read from the card into memory.
   * @param card address on the card's AXI bus
   * @throws DmaError EINVAL address, lengths or channel · EIO the card answered with an error · ETIMEDOUT it did not
   *   answer · ECANCELED it was reset · ENODEV closed, or gone · ENOMEM no memory to lend
   */
  async read(card: number, into: Memory, options: TransferOptions = {}): Promise<void> {
    await this.#channel(this.#c2h, 'c2h', options).transfer(card, into);
  }

  /** Write memory to the card. As `read`. */
  async write(card: number, from: Memory, options: TransferOptions = {}): Promise<void> {
    await this.#channel(this.#h2c, 'h2c', options).transfer(card, from);
  }

  /**
   * An interrupt of the design (usr_irq_req), armed. It ends with `reset`, and has to be asked for again then.
   * @param index 0 to 15
   * @throws DmaError EINVAL index · EOPNOTSUPP the function has no MSI-X · ENOSPC no vector is left · ENODEV closed
   */
  userInterrupt(index: number): Interrupt {
    this.#checkOpen();
    if (!Number.isInteger(index) || index < 0 || index >= USER_INTERRUPTS) {
      throw new DmaError('EINVAL', `there is no user interrupt ${String(index)}`, { remedy: 'pass 0 to 15' });
    }
    const known = this.#userInterrupts.get(index);
    if (known !== undefined) return known;
    const { interrupts } = this.fn;
    if (interrupts.limit('msix') === 0) {
      throw new DmaError('EOPNOTSUPP', `${this.fn.address} has no MSI-X`, {
        remedy: 'read the registers of the design',
      });
    }
    const vector = this.#h2c.length + this.#c2h.length + index;
    const interrupt = interrupts.msix(vector);
    this.#setVector(INTERRUPTS.userVectors, index, vector);
    this.#registers.write32(TARGET.interrupts + INTERRUPTS.userEnableSet, 1 << index);
    this.#userInterrupts.set(index, interrupt);
    return interrupt;
  }

  /**
   * Reset the card, which ends every transfer with ECANCELED, and start it again, whatever state it was in.
   * @throws DmaError as `open`; EIO: a channel does not stop
   */
  reset(): Promise<void> {
    this.#resetting ??= this.#startAgain().finally(() => {
      this.#resetting = undefined;
    });
    return this.#resetting;
  }

  /** Stop the card, end every transfer with ENODEV, release the function. Harmless to call twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (!this.fn.closed) {
        await this.#stop(closed(this.fn));
        this.#release();
      }
    } finally {
      this.fn.close();
    }
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #begin(): Promise<void> {
    const { fn } = this;
    this.#registers = findRegisters(fn);
    const found = [...this.#find('h2c'), ...this.#find('c2h')];
    if (found.length === 0) {
      throw new DmaError('EOPNOTSUPP', `${fn.address} has no channel that is memory-mapped`, {
        remedy: 'build the core with "DMA Interface Option: AXI Memory Mapped"',
      });
    }
    const alignments = found.map(({ alignment }) => alignment);
    fn.dma.setMaskAndCoherent(dmaBitMask(Math.min(...alignments.map(({ addressBits }) => addressBits))));
    fn.dma.limits.dmaAlignment = Math.max(...alignments.map(({ address }) => address)) - 1;
    fn.dma.limits.maxSegmentSize = LONGEST_SEGMENT;
    try {
      const channels: Channel[] = [];
      this.#h2c = [];
      this.#c2h = [];
      for (const { way, index, alignment } of found) {
        const polls = this.#options.completions === 'poll';
        const engine = new Engine(this.#registers, fn.dma, way, index, polls);
        const { timeout } = this.#options;
        const channel = new Channel(engine, fn.dma, alignment, { timeout, polls }, (error) =>
          this.#giveUp(error),
        );
        channels.push(channel);
        if (way === 'h2c') this.#h2c = [...this.#h2c, channel];
        else this.#c2h = [...this.#c2h, channel];
        // An earlier driver may have left it running. Bus mastering is off, so that it cannot reach memory.
        if (!(await engine.halt())) {
          throw new DmaError('EIO', `${engine.name} does not stop`, { remedy: 'reset the function' });
        }
      }
      this.#arm(channels);
      fn.setMaster();
      this.#failure = undefined;
    } catch (error) {
      this.#release();
      throw error;
    }
    fn.gone.addEventListener('abort', this.#onGone, { once: true });
    this.#endReleaseRequests = fn.onReleaseRequest(() => this.close());
  }

  /** The memory-mapped channels of one way. @throws DmaError EIO */
  #find(way: Way): { way: Way; index: number; alignment: Alignment }[] {
    const found: { way: Way; index: number; alignment: Alignment }[] = [];
    for (let index = 0; index < MAX_CHANNELS; index++) {
      const at = TARGET[way] + index * CHANNEL_STRIDE;
      const identifier = this.#registers.read32(at + CHANNEL.identifier);
      if (identifier >>> 16 !== IDENTIFIER[way]) break;
      if ((identifier & IS_STREAM) !== 0) continue;
      found.push({ way, index, alignment: alignmentOf(this.#registers.read32(at + CHANNEL.alignments)) });
    }
    return found;
  }

  /** A vector for each channel if the system grants as many, else one for all. */
  #arm(channels: readonly Channel[]): void {
    if (this.#options.completions === 'poll') return;
    const { interrupts } = this.fn;
    const kind = (['msix', 'msi'] as const).find((one) => interrupts.limit(one) > 0);
    if (kind === undefined) {
      this.#interrupts = [interrupts.intx({ autoUnmask: true })];
    } else {
      this.#interrupts = [interrupts[kind](0)];
      const wanted = Math.min(channels.length, interrupts.limit(kind));
      try {
        while (wanted === channels.length && this.#interrupts.length < wanted) {
          this.#interrupts.push(interrupts[kind](this.#interrupts.length));
        }
      } catch (error) {
        if (!(error instanceof DmaError && error.code === 'ENOSPC')) throw error;
      }
    }
    const shared = this.#interrupts.length < channels.length;
    for (const [i, channel] of channels.entries()) {
      const interrupt = this.#interrupts[shared ? 0 : i]!;
      interrupt.listen(() => channel.interrupted());
      this.#setVector(INTERRUPTS.channelVectors, i, interrupt.vector);
    }
    this.#registers.write32(TARGET.interrupts + INTERRUPTS.channelEnable, 2 ** channels.length - 1);
  }

  /** Eight bits of one of the registers with vectors. */
  #setVector(registers: number, index: number, vector: number): void {
    const at = TARGET.interrupts + registers + 4 * (index >> 2);
    const shift = 8 * (index & 3);
    const others = this.#registers.read32(at) & ~(0xff << shift);
    this.#registers.write32(at, (others | (vector << shift)) >>> 0);
  }

  async #startAgain(): Promise<void> {
    if (this.#closed) throw closed(this.fn);
    await this.#stop(new DmaError('ECANCELED', 'the card was reset', { remedy: 'try again' }));
    this.#release();
    try {
      this.fn.reset();
    } catch (error) {
      // Without a reset of its own it is enough that all engines stop: `begin` sees to that.
      if (!(error instanceof DmaError && error.code === 'EOPNOTSUPP')) throw error;
    }
    try {
      await this.#begin();
    } catch (error) {
      if (error instanceof DmaError) this.#failure = error;
      throw error;
    }
  }

  /** Every transfer has ended, and the card can do no DMA, when it settles. */
  async #stop(error: DmaError): Promise<void> {
    this.#failure ??= error;
    await Promise.all([...this.#h2c, ...this.#c2h].map((channel) => channel.fail(error)));
    this.#silence();
  }

  /** A channel does not stop: all memory comes back because the card may not reach any. */
  #giveUp(error: DmaError): void {
    this.#silence();
    this.#failure ??= error;
    for (const channel of [...this.#h2c, ...this.#c2h]) void channel.fail(error);
  }

  #silence(): void {
    if (!this.fn.closed && !this.fn.gone.aborted) this.fn.clearMaster();
  }

  readonly #onGone = (): void => {
    const error = this.fn.gone.reason as DmaError;
    this.#failure = error;
    for (const channel of [...this.#h2c, ...this.#c2h]) void channel.fail(error);
  };

  /** Gives back what `begin` took. */
  #release(): void {
    this.fn.gone.removeEventListener('abort', this.#onGone);
    this.#endReleaseRequests();
    for (const interrupt of [...this.#interrupts, ...this.#userInterrupts.values()]) interrupt.close();
    this.#interrupts = [];
    this.#userInterrupts.clear();
    for (const channel of [...this.#h2c, ...this.#c2h]) channel.free();
    this.#h2c = [];
    this.#c2h = [];
  }

  #channel(channels: readonly Channel[], way: Way, { channel = 0 }: TransferOptions): Channel {
    this.#checkOpen();
    const found = channels[channel];
    if (found !== undefined) return found;
    throw new DmaError('EINVAL', `there is no channel ${way}${String(channel)}`, {
      remedy: `the core has ${channels.length} of them`,
    });
  }

  #checkOpen(): void {
    if (this.#closed) throw closed(this.fn);
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** The BAR in which PG195's registers are; the others belong to the design. @throws DmaError ENODEV */
function findRegisters(fn: PciFunction): Bar {
  for (let index = 0; index < 6; index++) {
    const bar = barOf(fn, index);
    if (bar === undefined || bar.info.kind !== 'memory' || bar.size < REGISTER_BYTES / 2) continue;
    const is = (target: 'interrupts' | 'config') => bar.read32(TARGET[target]) >>> 16 === IDENTIFIER[target];
    if (is('interrupts') && is('config')) return bar;
  }
  throw new DmaError('ENODEV', `no BAR of ${fn.address} has the registers of an XDMA core`, {
    remedy: 'look at the BARs: `userdma show ADDRESS`',
  });
}

function barOf(fn: PciFunction, index: number): Bar | undefined {
  try {
    return fn.bar(index);
  } catch (error) {
    if (error instanceof DmaError && error.code === 'EINVAL') return undefined;
    throw error;
  }
}

/** @throws DmaError EIO what no core says */
function alignmentOf(register: number): Alignment {
  const alignment = {
    address: (register >>> 16) & 0xff || 1,
    length: (register >>> 8) & 0xff || 1,
    addressBits: register & 0xff,
  };
  const isPower = (value: number) => (value & (value - 1)) === 0;
  const { address, length, addressBits } = alignment;
  if (isPower(address) && isPower(length) && addressBits >= 1 && addressBits <= 64) return alignment;
  throw new DmaError('EIO', `the alignments of a channel are 0x${register.toString(16)}`, {
    remedy: 'reset the function',
  });
}

function checkOptions(completions: unknown, timeout: unknown): void {
  if (completions !== 'interrupt' && completions !== 'poll') {
    throw new DmaError('EINVAL', `completions is ${String(completions)}`, {
      remedy: "pass 'interrupt' or 'poll'",
    });
  }
  if (typeof timeout !== 'number' || !(timeout >= 1 && timeout < 2 ** 31)) {
    throw new DmaError('EINVAL', `timeout is ${String(timeout)}`, { remedy: 'pass milliseconds from 1 on' });
  }
}

function closed(fn: PciFunction): DmaError {
  return new DmaError('ENODEV', `the card at ${fn.address} is closed`, { remedy: 'open it again' });
}
