/**
 * A driver for NVMe controllers on PCI Express (NVM Express Base 2.0 or 1.4c, NVMe over PCIe Transport 1.0). It is
 * written against PciFunction and DmaDevice, so the same code drives a disk through VFIO, or a simulated one.
 *
 *      await using nvme = await NvmeController.open(await openPci('0000:01:00.0'));
 *      const [disk] = await nvme.namespaces();
 *      await disk.read(0, bytes);
 *
 *      NvmeController   registers, admin queue, start and end
 *        Namespace      blocks, by promises: cuts transfers into commands, maps and unmaps memory
 *          CommandQueue   one queue pair with promises, interrupts and a queue of waiting commands
 *            QueuePair      rings and doorbells; no promises, no garbage: fast programs use it directly
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DmaError, dmaBitMask, type Interrupt, type PciFunction } from '../../lib/index.ts';
import { AdminCommands } from './admin.ts';
import { CommandQueue } from './command-queue.ts';
import { ControllerRegisters } from './controller-registers.ts';
import type { ControllerIdentity } from './identify.ts';
import { TransferMemory } from './memory.ts';
import { Namespace } from './namespace.ts';
import { QueuePair } from './queue-pair.ts';
import { Watch } from './watch.ts';

/** Options of the driver. */
export interface NvmeOptions {
  /** The number of I/O queue pairs. There are fewer if the controller grants fewer. Default 1. */
  readonly queues?: number;
  /** Commands under way at once in each I/O queue; fewer if the controller's queues are shorter. Default 127. */
  readonly depth?: number;
  /**
   * How all I/O queues, or each of them, notice completions. Default: by interrupt, or by polling if there is no
   * MSI-X.
   */
  readonly completions?: CompletionMode | readonly CompletionMode[];
  /** Milliseconds after which a command is aborted. Default 30,000, as the kernel's io_timeout. */
  readonly timeout?: number;
  /**
   * Milliseconds that the controller may take to start, to stop or to shut down, even if it asks for more. Default:
   * the time that it asks for, which is at most 128 s to start or stop; a shutdown gets 5 to 50 s.
   */
  readonly patience?: number;
  /** The most bytes of one command, a multiple of 4,096; fewer if the controller takes fewer. Default 2 MiB. */
  readonly maxTransfer?: number;
  /** True to use SGLs if the controller supports them. Default true. */
  readonly sgl?: boolean;
}

/** How a queue learns that commands are done. */
export type CompletionMode = 'interrupt' | 'poll';

/** 'live', or the reason why the controller takes no commands now. */
export type NvmeState = 'live' | 'resetting' | 'dead' | 'closed';

const CLASS_NVME = 0x010802;
const ADMIN_ENTRIES = 32;
const DEFAULT_DEPTH = 127;
const DEFAULT_TIMEOUT = 30_000;
const DEFAULT_TRANSFER = 2 * 2 ** 20;
/** Transfers are multiples of this. No block is longer. */
const TRANSFER_UNIT = 4096;
/** Milliseconds that commands under way have to end by themselves, when the controller is closed. */
const DRAIN = 1000;

/** An NVMe controller: start, queues, namespaces, reset and shutdown. */
export class NvmeController {
  readonly fn: PciFunction;
  readonly memory: TransferMemory;
  readonly admin: AdminCommands;

  readonly #options: NvmeOptions;
  readonly #registers: ControllerRegisters;
  readonly #watch: Watch;
  readonly #adminQueue: CommandQueue;
  /** Functions that remove this driver's listeners from the function. */
  readonly #endings: readonly (() => void)[];
  #identity: ControllerIdentity | undefined;
  readonly #queues: CommandQueue[] = [];
  #next = 0;
  #state: NvmeState = 'resetting';
  /** Why every call fails from here on. */
  #error: DmaError | undefined;
  #reset: Promise<void> | undefined;
  #close: Promise<void> | undefined;

  /**
   * Takes over an opened function, which `close` closes. If this fails, the caller keeps owning the function.
   * @throws DmaError ENODEV not an NVMe controller, or it does not answer · EOPNOTSUPP no NVM command set · EINVAL
   *   options · EIO, ETIMEDOUT it does not start · ENOMEM, ENOSPC no memory · NvmeError it refuses a command of the
   *   start
   */
  static async open(fn: PciFunction, options: NvmeOptions = {}): Promise<NvmeController> {
    checkClass(fn);
    await ControllerRegisters.answer(fn);
    const controller = new NvmeController(fn, options);
    try {
      await controller.#start();
      return controller;
    } catch (error) {
      controller.#release();
      throw error;
    }
  }

  /** Use `open`. */
  private constructor(fn: PciFunction, options: NvmeOptions) {
    const { timeout = DEFAULT_TIMEOUT } = options;
    checkCount('queues', options.queues ?? 1, 65_535);
    checkCount('depth', options.depth ?? DEFAULT_DEPTH, 65_535);
    checkCount('timeout', timeout, 2 ** 31 - 1);
    const { patience = 2 ** 31 - 1 } = options;
    checkCount('patience', patience, 2 ** 31 - 1);
    checkCount('maxTransfer', (options.maxTransfer ?? DEFAULT_TRANSFER) / TRANSFER_UNIT, 2 ** 20);
    this.fn = fn;
    this.#options = options;
    this.#registers = new ControllerRegisters(fn, patience);
    fn.dma.setMaskAndCoherent(dmaBitMask(64));
    this.memory = new TransferMemory(fn.dma, this.#registers.pageSize);
    try {
      this.#adminQueue = this.#newQueue(0, ADMIN_ENTRIES, this.#interrupt(0));
    } catch (error) {
      this.memory.close();
      throw error;
    }
    this.admin = new AdminCommands(this.#adminQueue, this.memory);
    this.#watch = new Watch(
      {
        fn,
        queues: () => (this.#state === 'live' ? [this.#adminQueue, ...this.#queues] : [this.#adminQueue]),
        mayAbort: () => this.#adminQueue.waiting === 0 && this.#adminQueue.pair.room > 0,
        abort: (queue, command) => this.admin.abort(queue, command),
        recover: (error) => this.#recover(error),
      },
      timeout,
    );
    this.#endings = this.#hear();
  }

  /** The controller's own description. */
  get identity(): ControllerIdentity {
    return this.#identity!;
  }

  /** What the controller is doing. */
  get state(): NvmeState {
    return this.#state;
  }

  /** The I/O queues. `queues[i].pair` is the interface without promises. */
  get queues(): readonly CommandQueue[] {
    return this.#queues;
  }

  /** Bytes that one command may transfer (MDTS). */
  get maxTransfer(): number {
    const { maxTransferExponent } = this.identity;
    const { maxTransfer = DEFAULT_TRANSFER } = this.#options;
    if (maxTransferExponent === 0) return maxTransfer;
    return Math.min(maxTransfer, this.#registers.capabilities.minPageSize * 2 ** maxTransferExponent);
  }

  /** Commands that had to be aborted, and completions whose interrupt never came. */
  get mishaps(): { readonly aborts: number; readonly lostInterrupts: number } {
    const { aborts, lostInterrupts } = this.#watch;
    return { aborts, lostInterrupts };
  }

  /** The existing namespaces, in the order of their identifiers. @throws as `namespace`, of any of them */
  async namespaces(): Promise<Namespace[]> {
    const ids = await this.admin.activeNamespaces();
    return Promise.all(ids.map((id) => this.namespace(id)));
  }

  /** @throws NvmeError the identifier is not valid · DmaError as `new Namespace` */
  async namespace(id: number): Promise<Namespace> {
    return new Namespace(this, id, await this.admin.identifyNamespace(id));
  }

  /** The I/O queue that the next command goes to: they take turns. */
  nextQueue(): CommandQueue {
    this.#next = (this.#next + 1) % this.#queues.length;
    return this.#queues[this.#next]!;
  }

  /**
   * Resets the controller, and the function if that is possible, and starts again with the same queues. Commands
   * under way end with ECANCELED. Those that wait for their turn are executed afterwards. If the reset fails, the
   * controller is dead.
   * @throws DmaError as `open`, or the error that made it dead
   */
  reset(): Promise<void> {
    return this.#restart(canceled(`${this.fn.address} was reset`));
  }

  /**
   * Closes the controller. Commands under way may end; others fail with ENODEV. Then the controller is shut down, and
   * the function closed. Calling it twice is harmless.
   * @throws DmaError the controller does not shut down; everything is released nevertheless
   */
  close(): Promise<void> {
    this.#close ??= this.#shutDown();
    return this.#close;
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Listens for three events: the device goes, the system saw an error of it, or the system wants it back. In the
   * last case the controller is shut down first.
   */
  #hear(): (() => void)[] {
    const { fn } = this;
    const { gone } = fn;
    const onGone = (): void => this.#die(gone.reason);
    gone.addEventListener('abort', onGone);
    const failed = `the system saw an error of ${fn.address} that it could not correct`;
    return [
      () => gone.removeEventListener('abort', onGone),
      fn.onError(() => this.#recover(new DmaError('EIO', failed, { remedy: 'issue the command again' }))),
      // It is closed even if it does not shut down. The caller of `close` gets the error.
      fn.onReleaseRequest(() => this.close().catch(() => {})),
    ];
  }

  /** Brings the controller from any state to one in which all queues work. */
  async #start(): Promise<void> {
    const { fn } = this;
    await this.#registers.disable();
    this.#checkAlive();
    fn.setMaster();
    const admin = this.#adminQueue;
    admin.pair.reset();
    await this.#registers.enable(admin.pair);
    admin.resume();
    this.#identity = await this.admin.identifyController();
    if (this.#options.sgl !== false) this.memory.useSgl(this.#identity.sgl);
    const wanted = this.#options.queues ?? 1;
    const granted = await this.admin.setNumberOfQueues(wanted);
    if (this.#queues.length === 0) this.#makeQueues(granted);
    for (const { pair, interrupt } of this.#queues) {
      pair.reset();
      await this.admin.createQueues(pair, interrupt);
    }
    this.#checkAlive();
    this.#state = 'live';
    // A failure from here on, even before the promise of this reset has settled, starts another reset.
    this.#reset = undefined;
    for (const queue of this.#queues) queue.resume();
  }

  /**
   * Each queue is stored when it is made. If there is no memory for the next one, `#release` frees those that exist.
   */
  #makeQueues(count: number): void {
    const { depth = DEFAULT_DEPTH, completions = 'interrupt' } = this.#options;
    const { capabilities, queueLimit } = this.#registers;
    const entries = Math.min(depth + 1, capabilities.maxEntries);
    for (let id = 1; id <= Math.min(count, queueLimit); id++) {
      const mode = typeof completions === 'string' ? completions : (completions[id - 1] ?? 'interrupt');
      this.#queues.push(this.#newQueue(id, entries, mode === 'poll' ? undefined : this.#interrupt(id)));
    }
  }

  #newQueue(id: number, entries: number, interrupt: Interrupt | undefined): CommandQueue {
    const { fn } = this;
    const { capabilities, pageSize } = this.#registers;
    const { doorbellStride } = capabilities;
    const place = { dma: fn.dma, registers: fn.bar(0), doorbellStride, pageSize };
    const pair = new QueuePair({ ...place, id, entries });
    return new CommandQueue(pair, interrupt, (error) => this.#recover(error));
  }

  /**
   * Each queue gets a vector of its own as long as there are some, and then the first one. Undefined: there are no
   * vectors.
   */
  #interrupt(queue: number): Interrupt | undefined {
    const { interrupts } = this.fn;
    const limit = interrupts.limit('msix');
    if (limit === 0) return undefined;
    try {
      return interrupts.msix(queue < limit ? queue : 0);
    } catch (error) {
      if (error instanceof DmaError && error.code === 'ENOSPC' && queue > 0) return interrupts.msix(0);
      throw error;
    }
  }

  /** Starts the controller again, unless the start itself failed, or the controller is being closed. */
  #recover(error: DmaError): void {
    const mayRestart = this.#state === 'live' && this.#error === undefined;
    // The waiting commands get the error; if the restart fails, the controller is dead.
    if (mayRestart) this.#restart(canceled(`${this.fn.address} was reset`, error)).catch(() => {});
    else this.#die(error);
  }

  #restart(error: DmaError): Promise<void> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    this.#reset ??= this.#startAgain(error);
    return this.#reset;
  }

  async #startAgain(error: DmaError): Promise<void> {
    this.#state = 'resetting';
    const queues = [this.#adminQueue, ...this.#queues];
    try {
      for (const queue of queues) queue.pause();
      await this.#halt();
      // The controller does no DMA any more, so the memory can be freed now.
      for (const { pair } of queues) pair.abandon(error);
      await this.#start();
    } catch (failure) {
      this.#die(failure instanceof DmaError ? failure : broken(this.fn, failure));
      throw this.#error;
    }
  }

  /** After this the controller does no DMA, even if it does not answer. @throws DmaError ENODEV */
  async #halt(): Promise<void> {
    try {
      await this.#registers.disable();
    } catch (error) {
      if (isGone(error)) throw error;
      this.fn.clearMaster();
    }
    try {
      this.fn.reset();
    } catch (error) {
      if (!(error instanceof DmaError && error.code === 'EOPNOTSUPP')) throw error;
    }
  }

  async #shutDown(): Promise<void> {
    const closed = new DmaError('ENODEV', `${this.fn.address} is closed`, { remedy: 'open it again' });
    const { fn } = this;
    const alive = this.#state === 'live';
    for (const queue of this.#queues) queue.refuse(closed);
    this.#error ??= closed;
    try {
      if (alive) {
        await this.#drain();
        // The remaining commands fail with this error, and not because their queue is deleted.
        for (const queue of this.#queues) queue.pause();
        for (const { pair } of this.#queues) await this.admin.deleteQueues(pair);
        await this.#registers.shutDown(this.identity.shutdownTime).catch((error) => {
          throw notShutDown(fn, error);
        });
        await this.#registers.disable();
      }
    } finally {
      this.#state = 'closed';
      this.#release();
      this.fn.close();
    }
  }

  /** Waits until no command is under way, but not longer than allowed. */
  async #drain(): Promise<void> {
    const deadline = performance.now() + DRAIN;
    const busy = () => this.#queues.some(({ pair }) => pair.busy > 0);
    while (busy() && performance.now() < deadline) await sleep(1);
  }

  /** The device is gone, or cannot be recovered: all present and future calls fail with this error. */
  #die(error: DmaError): void {
    if (this.#state === 'dead' || this.#state === 'closed') return;
    this.#state = 'dead';
    this.#error ??= error;
    this.#abandon(error);
  }

  /** Frees everything that was allocated from the function, which stays open. */
  #release(): void {
    this.#watch.stop();
    for (const end of this.#endings) end();
    this.#abandon(this.#error ?? canceled(`${this.fn.address} did not start`));
    for (const queue of [this.#adminQueue, ...this.#queues]) queue.close();
    this.memory.close();
  }

  /** All commands fail, waiting or under way. The controller must not do DMA when memory is freed. */
  #abandon(error: DmaError): void {
    if (!this.fn.closed) {
      this.#registers.giveUp();
      this.fn.clearMaster();
    }
    for (const queue of [this.#adminQueue, ...this.#queues]) queue.abandon(error);
  }

  #checkAlive(): void {
    if (this.#error !== undefined) throw this.#error;
  }
}

/** PCI class 01h mass storage, 08h non-volatile memory, 02h NVM Express (PCIe Transport 1.0, 3.8.1). */
function checkClass(fn: PciFunction): void {
  const { classCode } = fn.config;
  if (classCode === CLASS_NVME) return;
  throw new DmaError(
    'ENODEV',
    `${fn.address} is of class ${classCode.toString(16)}, not an NVMe controller`,
    {
      remedy: 'open a function of class 010802',
    },
  );
}

function checkCount(name: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= most) return;
  throw new DmaError('EINVAL', `${name} is ${String(value)}`, { remedy: `pass 1 to ${most}` });
}

function canceled(message: string, cause?: unknown): DmaError {
  return new DmaError('ECANCELED', message, { remedy: 'issue the command again', cause });
}

function isGone(error: unknown): boolean {
  return error instanceof DmaError && error.code === 'ENODEV';
}

function notShutDown({ address }: PciFunction, cause: unknown): unknown {
  if (!(cause instanceof DmaError) || cause.code === 'ENODEV') return cause;
  return new DmaError(cause.code, `${address} was closed, but not shut down`, {
    remedy: 'see the cause; what was written since the last flush may be lost with the power',
    cause,
  });
}

function broken({ address }: PciFunction, cause: unknown): DmaError {
  return new DmaError('EIO', `${address} was not reset`, {
    remedy: 'see the cause, and open it again',
    cause,
  });
}
