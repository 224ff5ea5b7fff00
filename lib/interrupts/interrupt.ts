/** Interrupt vectors of a function: awaited, iterated or listened to. */
import { DmaError } from '../errors.ts';
import type { InterruptAccess, InterruptKind } from './access.ts';

interface Waiter {
  resolve(count: number): void;
  reject(error: unknown): void;
}

/**
 * One armed vector. Interrupts that arrive while nobody waits are counted and handed to the next `wait`, so that
 * *arm, start the device, wait* loses none. The process stays alive for it only while somebody waits or listens.
 */
export class Interrupt {
  readonly kind: InterruptKind;
  readonly vector: number;

  readonly #access: InterruptAccess;
  readonly #onClose: (interrupt: Interrupt) => void;
  readonly #waiters = new Set<Waiter>();
  readonly #listeners = new Set<(count: number) => void>();
  #count = 0;
  #pending = 0;
  #closed = false;
  #failure: DmaError | undefined;

  constructor(
    access: InterruptAccess,
    kind: InterruptKind,
    vector: number,
    onClose: (interrupt: Interrupt) => void,
  ) {
    this.kind = kind;
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

  /** Interrupts since the vector was armed. */
  get count(): number {
    return this.#count;
  }

  /**
   * The next interrupt; resolves with how many came since the last `wait` (they coalesce). Resolves at once when
   * some are already there. Rejects with `signal.reason` when aborted, DmaError ENODEV when the vector is closed or the
   * device is gone.
   */
  wait({ signal }: { signal?: AbortSignal } = {}): Promise<number> {
    if (this.#closed) return Promise.reject(this.#closedError());
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#pending > 0) {
      const count = this.#pending;
      this.#pending = 0;
      return Promise.resolve(count);
    }
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        signal?.removeEventListener('abort', onAbort);
        this.#waiters.delete(waiter);
        this.#updateRef();
      };
      const onAbort = (): void => waiter.reject(signal?.reason);
      const waiter: Waiter = {
        resolve: (count) => {
          settle();
          resolve(count);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort);
      this.#waiters.add(waiter);
      this.#updateRef();
    });
  }

  /** Counts as from `wait`, until the vector is closed. @throws DmaError ENODEV the device is gone */
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
   * Call `listener` with the count at each delivery; returns a function that stops it. It is not told when the device
   * goes: an access or a wait is. @throws DmaError ENODEV closed, or the device is gone
   */
  listen(listener: (count: number) => void): () => void {
    if (this.#closed) throw this.#closedError();
    if (this.#failure !== undefined) throw this.#failure;
    this.#listeners.add(listener);
    this.#updateRef();
    return () => {
      this.#listeners.delete(listener);
      this.#updateRef();
    };
  }

  /** INTx only: let the line fire again once the device has been serviced. Nothing to do for MSI and MSI-X. */
  unmask(): void {
    if (this.#closed) throw this.#closedError();
    if (this.kind === 'intx') this.#access.unmaskIntx();
  }

  /** Disarm. Pending waits reject with ENODEV, iterations end. Harmless to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#access.disable(this.kind, this.vector);
    this.#listeners.clear();
    for (const waiter of [...this.#waiters]) waiter.reject(this.#closedError());
    this.#onClose(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #deliver(count: number): void {
    if (this.#closed) return;
    this.#count += count;
    if (this.#waiters.size === 0) this.#pending += count;
    for (const waiter of [...this.#waiters]) waiter.resolve(count);
    for (const listener of [...this.#listeners]) listener(count);
  }

  /** No interrupt will come any more. */
  #fail(error: DmaError): void {
    this.#failure = error;
    this.#listeners.clear();
    for (const waiter of [...this.#waiters]) waiter.reject(error);
    this.#updateRef();
  }

  #updateRef(): void {
    if (this.#closed) return;
    this.#access.setRef(this.kind, this.vector, this.#waiters.size > 0 || this.#listeners.size > 0);
  }

  #closedError(): DmaError {
    return new DmaError('ENODEV', `${this.kind} vector ${this.vector} is closed`, {
      remedy: 'arm it again on an open function',
    });
  }
}

/** The vectors of one function. Only one kind can be armed at a time. */
export class Interrupts {
  readonly #access: InterruptAccess;
  readonly #armed = new Map<string, Interrupt>();

  constructor(access: InterruptAccess) {
    this.#access = access;
  }

  /** Vectors the function offers of this kind; 0 when it has none. */
  limit(kind: InterruptKind): number {
    return this.#access.limit(kind);
  }

  /** The legacy line, armed on first use. It masks itself at each interrupt: call `unmask` after servicing. */
  intx(): Interrupt {
    return this.#arm('intx', 0);
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

  /** Disarm all. */
  close(): void {
    for (const interrupt of [...this.#armed.values()]) interrupt.close();
  }

  #arm(kind: InterruptKind, vector: number): Interrupt {
    const key = `${kind} ${vector}`;
    const armed = this.#armed.get(key);
    if (armed !== undefined) return armed;
    const limit = this.limit(kind);
    if (!Number.isInteger(vector) || vector < 0 || vector >= limit) {
      throw new DmaError('EINVAL', `no ${kind} vector ${String(vector)}`, {
        remedy: limit === 0 ? `the function has no ${kind}` : `it has vectors 0 to ${limit - 1}`,
      });
    }
    const interrupt = new Interrupt(this.#access, kind, vector, () => this.#armed.delete(key));
    this.#armed.set(key, interrupt);
    return interrupt;
  }
}
