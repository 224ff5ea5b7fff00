/** Starting and stopping a controller by its registers (NVM Express Base 2.0, 3.5 and 3.6). */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bar, DmaError, type PciFunction } from '../../lib/index.ts';
import type { QueuePair } from './queue-pair.ts';
import { type Capabilities, CONFIGURATION, REGISTER, readCapabilities, STATUS } from './registers.ts';

const ALL_ONES = 0xffff_ffff;
/** Bytes of a page when the controller lets us choose: those of PRP entries everywhere. */
const PAGE = 4096;
/** Milliseconds, for a controller that does not say how long its shutdown takes. */
const SHUTDOWN = 5000;

export class ControllerRegisters {
  readonly capabilities: Capabilities;
  /** Bytes of a page of memory, for the controller (CC.MPS). */
  readonly pageSize: number;
  readonly #fn: PciFunction;
  readonly #bar: Bar;

  /** @throws DmaError EOPNOTSUPP not a controller of NVM namespaces · ENODEV it does not answer */
  constructor(fn: PciFunction) {
    this.#fn = fn;
    this.#bar = fn.bar(0);
    this.#readStatus();
    this.capabilities = readCapabilities(this.#bar);
    const { nvm, minPageSize, maxPageSize } = this.capabilities;
    if (!nvm) {
      throw new DmaError('EOPNOTSUPP', `${fn.address} does not speak the NVM command set`, {
        remedy: 'open a controller with NVM namespaces',
      });
    }
    this.pageSize = Math.min(Math.max(PAGE, minPageSize), maxPageSize);
  }

  /**
   * Stop it: it forgets all queues but the admin queue, and does no DMA afterwards (3.6.2).
   * @throws DmaError ETIMEDOUT it does not stop · ENODEV it does not answer
   */
  async disable(): Promise<void> {
    const configuration = this.#bar.read32(REGISTER.configuration);
    const { shutdownMask, enable } = CONFIGURATION;
    this.#bar.write32(REGISTER.configuration, configuration & ~(enable | shutdownMask));
    await this.#until('stop', this.capabilities.timeout, (status) => (status & STATUS.ready) === 0);
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
   * @throws DmaError EIO it reports a fatal error · ETIMEDOUT it does not start · ENODEV it does not answer
   */
  async enable({ depth, submissions, completions }: QueuePair): Promise<void> {
    const bar = this.#bar;
    bar.write32(REGISTER.adminQueueAttributes, depth | (depth << 16));
    bar.write64LoHi(REGISTER.adminSubmissionQueue, submissions.dmaAddress);
    bar.write64LoHi(REGISTER.adminCompletionQueue, completions.dmaAddress);
    const page = (Math.log2(this.pageSize) - 12) << CONFIGURATION.pageSizeShift;
    bar.write32(REGISTER.configuration, CONFIGURATION.enable | CONFIGURATION.entrySizes | page);
    await this.#until('start', this.capabilities.timeout, (status) => {
      if ((status & STATUS.fatal) !== 0) throw this.#fatal();
      return (status & STATUS.ready) !== 0;
    });
  }

  /** Tell it that power may go: everything is written to its media (3.6.1). @throws DmaError ETIMEDOUT, ENODEV */
  async shutDown(milliseconds: number): Promise<void> {
    const configuration = this.#bar.read32(REGISTER.configuration) & ~CONFIGURATION.shutdownMask;
    this.#bar.write32(REGISTER.configuration, configuration | CONFIGURATION.normalShutdown);
    await this.#until(
      'shut down',
      milliseconds || SHUTDOWN,
      (status) => (status & STATUS.shutdownMask) === STATUS.shutdownComplete,
    );
  }

  async #until(what: string, timeout: number, done: (status: number) => boolean): Promise<void> {
    const deadline = performance.now() + timeout;
    while (!done(this.#readStatus())) {
      if (performance.now() > deadline) {
        throw new DmaError('ETIMEDOUT', `${this.#fn.address} did not ${what} in ${timeout} ms`, {
          remedy: 'reset the function',
        });
      }
      await sleep(1);
    }
  }

  #readStatus(): number {
    const status = this.#bar.read32(REGISTER.status);
    if (status !== ALL_ONES) return status;
    // From here on everything fails with what it aborts with.
    if (!this.#fn.isPresent()) throw this.#fn.gone.reason;
    throw new DmaError('EIO', `${this.#fn.address} answers all ones`, { remedy: 'reset the function' });
  }

  #fatal(): DmaError {
    return new DmaError('EIO', `${this.#fn.address} reports a fatal error (CSTS.CFS)`, {
      remedy: 'reset the function',
    });
  }
}
