/**
 * A driver for NVMe controllers on PCI Express (NVM Express Base 2.0 or 1.4c, NVMe over PCIe Transport 1.0). Written
 * once against PciFunction and DmaDevice: it drives a disk through VFIO, or a simulated one.
 *
 *      await using nvme = await NvmeController.open(await openPci('0000:01:00.0'));
 *      const [disk] = await nvme.namespaces();
 *      await disk.read(0, bytes);
 *
 *      NvmeController   registers, admin queue, life and death
 *        Namespace      blocks, by promises: cut into commands, memory lent and taken back
 *          CommandQueue   one queue pair with promises, interrupts and turns to wait for
 *            QueuePair      rings and doorbells; no promise, no garbage: programs that are in a hurry use it directly
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

export interface NvmeOptions {
  /** I/O queue pairs; there are fewer when the controller grants fewer. Default 1. */
  readonly queues?: number;
  /** Commands under way at once, of each I/O queue; fewer when the controller's queues are shorter. Default 127. */
  readonly depth?: number;
  /** How I/O queues learn of completions, or each of them. Default by interrupt; without MSI-X they are polled. */
  readonly completions?: CompletionMode | readonly CompletionMode[];
  /** Milliseconds a command may take until it is aborted. Default 30,000, as the kernel's io_timeout. */
  readonly timeout?: number;
  /**
   * Milliseconds that the controller may take to start, to stop or to shut down, whatever it asks for. Default: what it
   * asks for, which is at most 128 s to start or stop; a shutdown gets 5 to 50 s.
   */
  readonly patience?: number;
  /** Bytes of one command, a multiple of 4,096; fewer when the controller takes fewer. Default 2 MiB. */
  readonly maxTransfer?: number;
  /** Whether SGLs are used where the controller takes them. Default true. */
  readonly sgl?: boolean;
}

export type CompletionMode = 'interrupt' | 'poll';

/** 'live', or why it takes no commands now. */
export type NvmeState = 'live' | 'resetting' | 'dead' | 'closed';

const CLASS_NVME = 0x010802;
const ADMIN_ENTRIES = 32;
const DEFAULT_DEPTH = 127;
const DEFAULT_TIMEOUT = 30_000;
const DEFAULT_TRANSFER = 2 * 2 ** 20;
/** What a transfer is a multiple of: no block is longer. */
const TRANSFER_UNIT = 4096;
/** Milliseconds that commands under way have to end by themselves when the controller is closed. */
const DRAIN = 1000;

export class NvmeController {
  readonly fn: PciFunction;
  readonly memory: TransferMemory;
  readonly admin: AdminCommands;

  readonly #options: NvmeOptions;
  readonly #registers: ControllerRegisters;
  readonly #watch: Watch;
  readonly #adminQueue: CommandQueue;
  /** What ends hearing of what happens to the function. */
  readonly #endings: readonly (() => void)[];
  #identity: ControllerIdentity | undefined;
  readonly #queues: CommandQueue[] = [];
  #next = 0;
  #state: NvmeState = 'resetting';
  /** Why everything fails from here on. */
  #error: DmaError | undefined;
  #reset: Promise<void> | undefined;
  #close: Promise<void> | undefined;

  /**
   * Take over an opened function, which `close` closes; when this fails it is left to the caller.
   * @throws DmaError ENODEV not an NVMe controller, or it does not answer · EOPNOTSUPP no NVM command set · EINVAL
   *   options · EIO, ETIMEDOUT it does not start · ENOMEM, ENOSPC no memory · NvmeError it refuses what it has to offer
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

  /** What the controller says of itself. */
  get identity(): ControllerIdentity {
    return this.#identity!;
  }

  get state(): NvmeState {
    return this.#state;
  }

  /** I/O queues; `queues[i].pair` is the way without promises. */
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

  /** The namespaces there are, in the order of their identifiers. @throws as `namespace`, of any of them */
  async namespaces(): Promise<Namespace[]> {
    const ids = await this.admin.activeNamespaces();
    return Promise.all(ids.map((id) => this.namespace(id)));
  }

  /** @throws NvmeError no identifier of the controller's · DmaError as `new Namespace` */
  async namespace(id: number): Promise<Namespace> {
    return new Namespace(this, id, await this.admin.identifyNamespace(id));
  }

  nextQueue(): CommandQueue {
    this.#next = (this.#next + 1) % this.#queues.length;
    return this.#queues[this.#next]!;
  }

  /**
   * Reset the controller, and the function where that is possible, and begin anew with the same queues. Commands under
   * way end with ECANCELED; those that wait for their turn are done afterwards. When it fails the controller is dead.
   * @throws DmaError as `open`, or the error that it is dead of
   */
  reset(): Promise<void> {
    return this.#restart(canceled(`${this.fn.address} was reset`));
  }

  /**
   * Commands under way may end, others fail with ENODEV; then the controller is shut down, and the function closed.
   * Harmless to call twice. @throws DmaError of a controller that does not shut down; everything is released all the
   * same
   */
  close(): Promise<void> {
    this.#close ??= this.#shutDown();
    return this.#close;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The device goes, the system saw an error of it, or wants it back: then it is shut down first. */
  #hear(): (() => void)[] {
    const { fn } = this;
    const { gone } = fn;
    const onGone = (): void => this.#die(gone.reason);
    gone.addEventListener('abort', onGone);
    const failed = `the system saw an error of ${fn.address} that it could not correct`;
    return [
      () => gone.removeEventListener('abort', onGone),
      fn.onError(() => this.#recover(new DmaError('EIO', failed, { remedy: 'issue the command again' }))),
      // It is closed whether it shuts down or not; the caller of `close` gets the error.
      fn.onReleaseRequest(() => this.close().catch(() => {})),
    ];
  }

  /** From a controller in whatever state to one whose queues all work. */
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
    // What fails from here on, even before the promise of this reset has settled, is for the next one.
    this.#reset = undefined;
    for (const queue of this.#queues) queue.resume();
  }

  /** Each is kept as it is made: `#release` gives back those there are when there is no memory for the next. */
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

  /** A vector of its own for each queue as long as there are some, then the first. Undefined: there are none at all. */
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

  /** Begin anew, unless that is what failed, or the end was near anyway. */
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
      // It does no DMA any more: now the memory can go back.
      for (const { pair } of queues) pair.abandon(error);
      await this.#start();
    } catch (failure) {
      this.#die(failure instanceof DmaError ? failure : broken(this.fn, failure));
      throw this.#error;
    }
  }

  /** No DMA is done from here on, however the controller feels about it. @throws DmaError ENODEV */
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
        // What is left fails because of this, not because its queue is deleted.
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

  /** Until nothing is under way, or for as long as one can wait. */
  async #drain(): Promise<void> {
    const deadline = performance.now() + DRAIN;
    const busy = () => this.#queues.some(({ pair }) => pair.busy > 0);
    while (busy() && performance.now() < deadline) await sleep(1);
  }

  /** The device is gone, or past help: all there is and will be fails with this error. */
  #die(error: DmaError): void {
    if (this.#state === 'dead' || this.#state === 'closed') return;
    this.#state = 'dead';
    this.#error ??= error;
    this.#abandon(error);
  }

  /** Give back what was taken from the function, which stays open. */
  #release(): void {
    this.#watch.stop();
    for (const end of this.#endings) end();
    this.#abandon(this.#error ?? canceled(`${this.fn.address} did not start`));
    for (const queue of [this.#adminQueue, ...this.#queues]) queue.close();
    this.memory.close();
  }

  /** Everything fails, waiting or under way. No DMA may be under way when memory goes back. */
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
