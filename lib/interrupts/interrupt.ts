/** Interrupt vectors of a function: awaited, iterated or listened to. */
import { argumentError, checkBoolean, checkListener, checkOptions, describe } from '../arguments.ts';
import { DmaError, throwUncaught } from '../errors.ts';
import type { InterruptAccess, InterruptKind } from './access.ts';
import { Vectors } from './vectors.ts';
import { nameOf, refuseWait, timedOut, Waiter, type WaitOptions } from './wait.ts';

/** Its `then` is a microtask that is cheaper than one of `queueMicrotask`, for which Node.js makes an AsyncResource. */
const SETTLED = Promise.resolve();

/** Options of `intx`. */
export interface IntxOptions {
  /**
   * Unmask the line automatically after each interrupt: in the turn of the event loop after a listener or a wait got
   * it. By then listeners have returned, and code that waited has come to its next wait. If the device still holds
   * the line up then, it interrupts again. Default false: the driver calls `unmask`.
   */
  readonly autoUnmask?: boolean;
}

/**
 * One armed vector. Interrupts that arrive while no call waits are counted, and the next `wait` returns them. So the
 * order *arm, start the device, wait* loses no interrupt. It keeps the process alive only while a wait or a listener
 * is active.
 */
export class Interrupt {
  readonly kind: InterruptKind;
  readonly vector: number;

  readonly #access: InterruptAccess;
  readonly #autoUnmask: boolean;
  readonly #onClose: (interrupt: Interrupt) => void;
  /** Undefined if no call waits. */
  #waiters: Set<Waiter> | undefined;
  /** Copied when it changes, so that a delivery goes through those that there were when it began. */
  #listeners: readonly ((count: number) => void)[] = [];
  #count = 0;
  #deliveries = 0;
  #pending = 0;
  #unmasking: NodeJS.Immediate | undefined;
  #closed = false;
  /** What the system was told last. */
  #ref = false;
  readonly #tellRef = (): void => this.#updateRef();
  #failure: DmaError | undefined;

  /** @internal */
  constructor(
    access: InterruptAccess,
    kind: InterruptKind,
    vector: number,
    onClose: (interrupt: Interrupt) => void,
    { autoUnmask = false }: IntxOptions = {},
  ) {
    this.kind = kind;
    this.#autoUnmask = autoUnmask;
    this.vector = vector;
    this.#access = access;
    this.#onClose = onClose;
    access.enable(
      kind,
      vector,
      (count) => this.#deliver(count),
      (error) => this.#fail(error),
    );
    access.setRef(kind, vector, false);
  }

  /**
   * Interrupts since the vector was armed. Those that come within one turn of the event loop are counted together.
   */
  get count(): number {
    return this.#count;
  }

  /**
   * How often this program was told of interrupts since the vector was armed. It is less than `count` if interrupts
   * coalesced.
   */
  get deliveries(): number {
    return this.#deliveries;
  }

  /**
   * The next interrupt. Resolves with the number of interrupts since the last `wait` (they coalesce), and at once if
   * there were any. Rejects with `signal.reason` after an abort, and with DmaError EINVAL for bad options, ETIMEDOUT
   * after `timeout` milliseconds, and ENODEV if the vector is closed or the device is gone.
   */
  wait(options: WaitOptions = {}): Promise<number> {
    const refusal = refuseWait(options);
    if (refusal !== undefined) return Promise.reject(refusal);
    const { signal, timeout } = options;
    if (this.#closed) return Promise.reject(this.#closedError());
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#pending > 0) {
      const count = this.#pending;
      this.#pending = 0;
      this.#told();
      return Promise.resolve(count);
    }
    return new Promise((resolve, reject) => {
      const waiter = new Waiter({
        resolve,
        reject,
        signal,
        timeout,
        lateError: (after) => timedOut(this, after, this.#access.explainSilence?.()),
        onEnd: () => {
          if (this.#waiters?.delete(waiter) && this.#waiters.size === 0) this.#waiters = undefined;
          // Code that awaits the promise runs first. If it waits again, as a driver does in its loop, the vector
          // still keeps the process alive, and there is nothing to tell the system.
          void SETTLED.then(this.#tellRef);
          if (this.#waiters === undefined) this.#access.setWaiting?.(this.kind, this.vector, false);
        },
      });
      this.#waiters ??= new Set();
      this.#waiters.add(waiter);
      this.#updateRef();
      this.#access.setWaiting?.(this.kind, this.vector, true);
    });
  }

  /** Yields the counts that `wait` returns, until the vector is closed. @throws DmaError ENODEV the device is gone */
  async *[Symbol.asyncIterator](): AsyncGenerator<number, void, undefined> {
    while (!this.#closed) {
      try {
        yield await this.wait();
      } catch (error) {
        if (this.#closed) return;
        throw error;
      }
    }
  }

  /**
   * Call `listener` with the count at each delivery. Returns a function that removes the listener. The listener is
   * not told when the device goes; an access or a wait fails then. An error that it throws is an uncaught exception.
   * @throws DmaError EINVAL not a function · ENODEV closed, or the device is gone
   */
  listen(listener: (count: number) => void): () => void {
    if (this.#closed) throw this.#closedError();
    if (this.#failure !== undefined) throw this.#failure;
    checkListener(listener);
    // An interrupt that neither a listener nor a wait received has left the line masked. Unmask it, so that the
    // device can interrupt again.
    if (this.#pending > 0) this.#told();
    if (!this.#listeners.includes(listener)) this.#listeners = [...this.#listeners, listener];
    this.#updateRef();
    return () => {
      this.#listeners = this.#listeners.filter((other) => other !== listener);
      this.#updateRef();
    };
  }

  /**
   * INTx only: let the line fire again after the driver has serviced the device. Does nothing for MSI and MSI-X.
   * @throws DmaError ENODEV closed, or the device is gone
   */
  unmask(): void {
    if (this.#closed) throw this.#closedError();
    if (this.#failure !== undefined) throw this.#failure;
    if (this.kind === 'intx') this.#access.unmaskIntx();
  }

  /**
   * Raise the interrupt without the device (a loopback test). Waits and listeners get it from the event loop.
   * @throws DmaError ENODEV closed, or the device is gone · EOPNOTSUPP UIO
   */
  trigger(): void {
    if (this.#closed) throw this.#closedError();
    if (this.#failure !== undefined) throw this.#failure;
    this.#access.trigger(this.kind, this.vector);
  }

  /** Disarm. Pending waits reject with ENODEV, and iterations end. Calling it twice is harmless. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearImmediate(this.#unmasking);
    this.#access.disable(this.kind, this.vector);
    this.#listeners = [];
    for (const waiter of this.#takeWaiters()) waiter.reject(this.#closedError());
    this.#onClose(this);
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  get #isHeard(): boolean {
    return this.#waiters !== undefined || this.#listeners.length > 0;
  }

  /** The waits that end now. A wait that begins meanwhile is for the next interrupt. */
  #takeWaiters(): Iterable<Waiter> {
    const waiters = this.#waiters ?? [];
    this.#waiters = undefined;
    return waiters;
  }

  #deliver(count: number): void {
    if (this.#closed) return;
    this.#count += count;
    this.#deliveries++;
    const listeners = this.#listeners;
    if (this.#isHeard) this.#told();
    if (this.#waiters === undefined) this.#pending += count;
    else for (const waiter of this.#takeWaiters()) waiter.resolve(count);
    // Each listener is independent: if one throws, the others are still called. A listener that another one removed
    // is not called.
    for (const listener of listeners) {
      if (this.#listeners !== listeners && !this.#listeners.includes(listener)) continue;
      try {
        listener(count);
      } catch (error) {
        throwUncaught(error);
      }
    }
  }

  /** The driver services the device now: listeners at once, and code that waited before the loop turns. */
  #told(): void {
    if (!this.#autoUnmask || this.#unmasking !== undefined) return;
    this.#unmasking = setImmediate(() => {
      this.#unmasking = undefined;
      if (this.#failure !== undefined) return;
      try {
        this.#access.unmaskIntx();
      } catch (error) {
        // If the device has just gone, the waits reject with its error.
        if (!(error instanceof DmaError && error.code === 'ENODEV')) throw error;
      }
    });
  }

  /** No interrupt will come any more. */
  #fail(error: DmaError): void {
    this.#failure = error;
    this.#listeners = [];
    for (const waiter of this.#takeWaiters()) waiter.reject(error);
    this.#updateRef();
  }

  #updateRef(): void {
    const ref = this.#isHeard;
    if (this.#closed || ref === this.#ref) return;
    this.#ref = ref;
    this.#access.setRef(this.kind, this.vector, ref);
  }

  #closedError(): DmaError {
    return new DmaError('ENODEV', `${nameOf(this)} is closed`, {
      remedy: 'arm it again on an open function',
    });
  }
}

const KINDS: readonly InterruptKind[] = ['intx', 'msi', 'msix'];

/** The vectors of one function. Only one kind can be armed at a time. */
export class Interrupts {
  readonly #access: InterruptAccess;
  readonly #armed: Readonly<Record<InterruptKind, Vectors<Interrupt>>> = {
    intx: new Vectors(),
    msi: new Vectors(),
    msix: new Vectors(),
  };

  /** @internal */
  constructor(access: InterruptAccess) {
    this.#access = access;
  }

  /** The number of vectors of this kind that the function offers; 0 if it has none. */
  limit(kind: InterruptKind): number {
    if (KINDS.includes(kind)) return this.#access.limit(kind);
    throw argumentError('the kind of interrupt', kind, `pass 'intx', 'msi' or 'msix'`);
  }

  /** The vectors that are armed, in ascending order. */
  get armed(): readonly Interrupt[] {
    return KINDS.flatMap((kind) => this.#armed[kind].values);
  }

  /**
   * The legacy line, armed on first use. It masks itself at each interrupt: call `unmask` after servicing, or set
   * `autoUnmask`. Options take effect when the line is armed.
   */
  intx(options: IntxOptions = {}): Interrupt {
    checkOptions<IntxOptions>(options, 'intx', { autoUnmask: checkBoolean });
    return this.#arm('intx', 0, options);
  }

  /**
   * An MSI vector, armed on first use; later calls return the same object.
   * @throws DmaError EINVAL the function has no such vector · EBUSY another kind is armed · ENOSPC the system
   *   granted fewer vectors · ENODEV function closed
   */
  msi(vector = 0): Interrupt {
    return this.#arm('msi', vector);
  }

  /** An MSI-X vector; as `msi`. */
  msix(vector = 0): Interrupt {
    return this.#arm('msix', vector);
  }

  /** Disarm all vectors. */
  close(): void {
    for (const interrupt of this.armed) interrupt.close();
  }

  #arm(kind: InterruptKind, vector: number, options: IntxOptions = {}): Interrupt {
    if (typeof vector !== 'number') throw argumentError('the vector', vector, 'pass a number');
    const armed = this.#armed[kind];
    const found = armed.get(vector);
    if (found !== undefined) return found;
    const limit = this.limit(kind);
    if (!Number.isInteger(vector) || vector < 0 || vector >= limit) {
      throw new DmaError('EINVAL', `no ${kind} vector ${describe(vector)}`, {
        remedy: limit === 0 ? `the function has no ${kind}` : `it has vectors 0 to ${limit - 1}`,
      });
    }
    const forget = (): void => armed.delete(vector);
    const interrupt = new Interrupt(this.#access, kind, vector, forget, options);
    armed.set(vector, interrupt);
    return interrupt;
  }
}
