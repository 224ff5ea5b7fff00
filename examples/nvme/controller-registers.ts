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
/** The page size, if the controller lets us choose. PRP entries have this size everywhere. */
const PAGE = 4096;
/** The largest page of any host. A controller that only takes larger ones has to be refused, as Linux does. */
const LARGEST_PAGE = 65_536;
/**
 * Milliseconds that a shutdown may take. It gets at least the first value, as the kernel's driver gives
 * (nvme_core.shutdown_timeout). It gets at most the second, although a controller may ask for more (RTD3E goes up to
 * 71 minutes).
 */
const SHORTEST_SHUTDOWN = 5000;
const LONGEST_SHUTDOWN = 50_000;
/**
 * Milliseconds within which the registers must answer before the driver has read the controller's own limit: the
 * shortest CAP.TO.
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
   * @param patience milliseconds that starting, stopping and shutting down may take, even if the controller asks for
   *   more
   * @throws DmaError EOPNOTSUPP not a controller of NVM namespaces, or its pages are larger than those of any host ·
   *   EIO its own description is impossible, or its registers answer all ones · ENODEV it is gone
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

  /** Waits until the registers of a function answer. The function may have been reset a moment ago. */
  static async answer(fn: PciFunction): Promise<void> {
    const bar = fn.bar(0);
    const deadline = performance.now() + FIRST_ANSWER;
    while (bar.read32(REGISTER.status) === ALL_ONES && fn.isPresent() && performance.now() < deadline) {
      await sleep(1);
    }
  }

  /** The number of I/O queue pairs whose doorbells are inside the BAR. */
  get queueLimit(): number {
    const { doorbellStride } = this.capabilities;
    const pairs = (this.#bar.info.size - tailDoorbell(0, doorbellStride)) / (2 * doorbellStride);
    return Math.floor(pairs) - 1;
  }

  /**
   * Stops the controller. It forgets all queues but the admin queue, and does no DMA afterwards (3.6.2).
   * @throws DmaError ETIMEDOUT it does not stop · EIO its registers answer all ones · ENODEV it is gone
   */
  async disable(): Promise<void> {
    const configuration = await this.#configuration();
    const { shutdownMask, enable } = CONFIGURATION;
    this.#bar.write32(REGISTER.configuration, configuration & ~(enable | shutdownMask));
    await this.#until('stop', this.#transitionTime, (status) => (status & STATUS.ready) === 0);
  }

  /** Asks the controller to stop, without waiting. It is no error if the controller does not answer. */
  giveUp(): void {
    try {
      this.#bar.write32(REGISTER.configuration, 0);
    } catch (error) {
      if (!(error instanceof DmaError)) throw error;
    }
  }

  /**
   * Starts the controller with this admin queue (3.5.1). It was disabled before.
   * @throws DmaError EIO it reports a fatal error, or its registers answer all ones · ETIMEDOUT it does not start ·
   *   ENODEV it is gone
   */
  async enable({ depth, submissions, completions }: QueuePair): Promise<void> {
    const bar = this.#bar;
    const page = (Math.log2(this.pageSize) - 12) << CONFIGURATION.pageSizeShift;
    bar
      .sequence([
        ['write32', REGISTER.adminQueueAttributes, depth | (depth << 16)],
        ['write32', REGISTER.adminSubmissionQueue, submissions.low],
        ['write32', REGISTER.adminSubmissionQueue + 4, submissions.high],
        ['write32', REGISTER.adminCompletionQueue, completions.low],
        ['write32', REGISTER.adminCompletionQueue + 4, completions.high],
        ['write32', REGISTER.configuration, CONFIGURATION.enable | CONFIGURATION.entrySizes | page],
      ])
      .run();
    await this.#until('start', this.#transitionTime, (status) => {
      if ((status & STATUS.fatal) !== 0) throw this.#fatal();
      return (status & STATUS.ready) !== 0;
    });
  }

  /**
   * Tells the controller that power may go: it writes all data to its media (3.6.1).
   * @param milliseconds the time that the controller asks for (RTD3E). It gets more than the kernel's shortest time
   *   only if it reports that its shutdown is under way (CSTS.SHST).
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

  /** CAP.TO, limited by the driver's patience. */
  get #transitionTime(): number {
    return Math.min(this.capabilities.timeout, this.#patience);
  }

  /** CC. All ones is not a valid value: it means that the registers do not answer yet. */
  async #configuration(): Promise<number> {
    await this.#until('answer', this.#transitionTime, () => true);
    const configuration = this.#bar.read32(REGISTER.configuration);
    return configuration === ALL_ONES ? 0 : configuration;
  }

  /**
   * Waits for a status. Some controllers answer all ones for some milliseconds when CC.EN changes. As long as
   * configuration space answers, the driver continues to wait.
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
    // From here on every call throws the reason of this abort.
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
