/** Starting and stopping a controller by its registers (NVM Express Base 2.0, 3.5 and 3.6). */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bar, DmaError, type PciFunction } from '../../lib/index.ts';
import type { QueuePair } from './queue-pair.ts';
import {
  type Capabilities,
  CONFIGURATION,
  REGISTER,
  readCapabilities,
  STATUS,
  tailDoorbell,
} from './registers.ts';

const ALL_ONES = 0xffff_ffff;
/** Bytes of a page when the controller lets us choose: those of PRP entries everywhere. */
const PAGE = 4096;
/** The largest page of a host that there is: a controller that takes none as small has to be refused, as Linux does. */
const LARGEST_PAGE = 65_536;
/**
 * Milliseconds that a shutdown may take: at least the first, as the kernel's driver gives (nvme_core.shutdown_timeout),
 * and at most the second, whatever the controller asks for (RTD3E goes to 71 minutes).
 */
const SHORTEST_SHUTDOWN = 5000;
const LONGEST_SHUTDOWN = 50_000;
/**
 * Milliseconds in which the registers have to answer before the controller has said how long it takes: the shortest
 * CAP.TO.
 */
const FIRST_ANSWER = 500;

export class ControllerRegisters {
  readonly capabilities: Capabilities;
  /** Bytes of a page of memory, for the controller (CC.MPS). */
  readonly pageSize: number;
  readonly #fn: PciFunction;
  readonly #bar: Bar;
  readonly #patience: number;

  /**
   * @param patience milliseconds that starting, stopping and shutting down may take, whatever the controller asks for
   * @throws DmaError EOPNOTSUPP not a controller of NVM namespaces, or its pages are larger than those of any host ·
   *   EIO what it says of itself is impossible, or its registers answer all ones · ENODEV it is gone
   */
  constructor(fn: PciFunction, patience: number) {
    this.#fn = fn;
    this.#bar = fn.bar(0);
    this.#patience = patience;
    if (this.#readStatus() === undefined) throw this.#silent();
    this.capabilities = readCapabilities(this.#bar);
    const { nvm, minPageSize, maxPageSize, maxEntries } = this.capabilities;
    if (!nvm) {
      throw new DmaError('EOPNOTSUPP', `${fn.address} does not speak the NVM command set`, {
        remedy: 'open a controller with NVM namespaces',
      });
    }
    if (maxEntries < 2) throw this.#impossible(`queues of ${maxEntries} entry (CAP.MQES)`);
    if (minPageSize > maxPageSize) {
      throw this.#impossible(`pages of ${minPageSize} to ${maxPageSize} bytes (CAP.MPSMIN, CAP.MPSMAX)`);
    }
    if (minPageSize > LARGEST_PAGE) {
      throw new DmaError('EOPNOTSUPP', `${fn.address} takes no pages below ${minPageSize} bytes`, {
        remedy: `open a controller that takes pages of up to ${LARGEST_PAGE} bytes (CAP.MPSMIN)`,
      });
    }
    this.pageSize = Math.min(Math.max(PAGE, minPageSize), maxPageSize);
    if (this.queueLimit < 1) throw this.#impossible('doorbells outside its BAR (CAP.DSTRD)');
  }

  /** Wait until the registers of a function answer, which was reset a moment ago, perhaps. */
  static async answer(fn: PciFunction): Promise<void> {
    const bar = fn.bar(0);
    const deadline = performance.now() + FIRST_ANSWER;
    while (bar.read32(REGISTER.status) === ALL_ONES && fn.isPresent() && performance.now() < deadline) {
      await sleep(1);
    }
  }

  /** I/O queue pairs that have their doorbells in the BAR. */
  get queueLimit(): number {
    const { doorbellStride } = this.capabilities;
    const pairs = (this.#bar.info.size - tailDoorbell(0, doorbellStride)) / (2 * doorbellStride);
    return Math.floor(pairs) - 1;
  }

  /**
   * Stop it: it forgets all queues but the admin queue, and does no DMA afterwards (3.6.2).
   * @throws DmaError ETIMEDOUT it does not stop · EIO its registers answer all ones · ENODEV it is gone
   */
  async disable(): Promise<void> {
    const configuration = await this.#configuration();
    const { shutdownMask, enable } = CONFIGURATION;
    this.#bar.write32(REGISTER.configuration, configuration & ~(enable | shutdownMask));
    await this.#until('stop', this.#transitionTime, (status) => (status & STATUS.ready) === 0);
  }

  /** Have it stop, without waiting for that, nor minding when it does not answer. */
  giveUp(): void {
    try {
      this.#bar.write32(REGISTER.configuration, 0);
    } catch (error) {
      if (!(error instanceof DmaError)) throw error;
    }
  }

  /**
   * Start it with this admin queue (3.5.1); it was disabled before.
   * @throws DmaError EIO it reports a fatal error, or its registers answer all ones · ETIMEDOUT it does not start ·
   *   ENODEV it is gone
   */
  async enable({ depth, submissions, completions }: QueuePair): Promise<void> {
    const bar = this.#bar;
    bar.write32(REGISTER.adminQueueAttributes, depth | (depth << 16));
    bar.write64LoHi(REGISTER.adminSubmissionQueue, submissions.dmaAddress);
    bar.write64LoHi(REGISTER.adminCompletionQueue, completions.dmaAddress);
    const page = (Math.log2(this.pageSize) - 12) << CONFIGURATION.pageSizeShift;
    bar.write32(REGISTER.configuration, CONFIGURATION.enable | CONFIGURATION.entrySizes | page);
    await this.#until('start', this.#transitionTime, (status) => {
      if ((status & STATUS.fatal) !== 0) throw this.#fatal();
      return (status & STATUS.ready) !== 0;
    });
  }

  /**
   * Tell it that power may go: everything is written to its media (3.6.1).
   * @param milliseconds what the controller asks for (RTD3E); it gets no more than the kernel's shortest time unless it
   *   says that its shutdown is under way (CSTS.SHST)
   * @throws DmaError ETIMEDOUT, EIO, ENODEV as `disable`
   */
  async shutDown(milliseconds: number): Promise<void> {
    const configuration = (await this.#configuration()) & ~CONFIGURATION.shutdownMask;
    this.#bar.write32(REGISTER.configuration, configuration | CONFIGURATION.normalShutdown);
    const longest = Math.min(Math.max(milliseconds, SHORTEST_SHUTDOWN), LONGEST_SHUTDOWN, this.#patience);
    const shortest = Math.min(SHORTEST_SHUTDOWN, this.#patience);
    const start = performance.now();
    await this.#until('shut down', longest, (status) => {
      const state = status & STATUS.shutdownMask;
      const idle = state === 0 && performance.now() - start > shortest;
      if (idle) throw this.#late('begin to shut down', shortest);
      return state === STATUS.shutdownComplete;
    });
  }

  /** CAP.TO, within the driver's patience. */
  get #transitionTime(): number {
    return Math.min(this.capabilities.timeout, this.#patience);
  }

  /** CC: all ones is no value of it, and means that the registers do not answer yet. */
  async #configuration(): Promise<number> {
    await this.#until('answer', this.#transitionTime, () => true);
    const configuration = this.#bar.read32(REGISTER.configuration);
    return configuration === ALL_ONES ? 0 : configuration;
  }

  /**
   * Wait for a status. Controllers answer all ones for some milliseconds when CC.EN changes: as long as configuration
   * space answers, that is a wait like any other.
   */
  async #until(what: string, timeout: number, done: (status: number) => boolean): Promise<void> {
    const deadline = performance.now() + timeout;
    for (;;) {
      const status = this.#readStatus();
      if (status !== undefined && done(status)) return;
      if (performance.now() > deadline)
        throw status === undefined ? this.#silent() : this.#late(what, timeout);
      await sleep(1);
    }
  }

  /** CSTS; undefined while the registers answer all ones. @throws DmaError ENODEV the function is gone */
  #readStatus(): number | undefined {
    const status = this.#bar.read32(REGISTER.status);
    if (status !== ALL_ONES) return status;
    // From here on everything fails with what it aborts with.
    if (!this.#fn.isPresent()) throw this.#fn.gone.reason;
    return undefined;
  }

  #late(what: string, milliseconds: number): DmaError {
    return new DmaError('ETIMEDOUT', `${this.#fn.address} did not ${what} in ${milliseconds} ms`, {
      remedy: 'reset the function',
    });
  }

  #silent(): DmaError {
    return new DmaError('EIO', `${this.#fn.address} answers all ones`, { remedy: 'reset the function' });
  }

  #impossible(what: string): DmaError {
    return new DmaError('EIO', `${this.#fn.address} says that it has ${what}`, {
      remedy: 'reset the function: no controller is like that',
    });
  }

  #fatal(): DmaError {
    return new DmaError('EIO', `${this.#fn.address} reports a fatal error (CSTS.CFS)`, {
      remedy: 'reset the function',
    });
  }
}
