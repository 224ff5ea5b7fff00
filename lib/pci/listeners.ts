/** Listeners: functions of a driver that the library calls when an event of its device happens. */
import { checkListener } from '../arguments.ts';

/** The listeners for one event. */
export class Listeners<Listener extends (...event: never[]) => unknown> {
  readonly #all = new Set<Listener>();

  /** Returns a function that removes the listener. @throws DmaError EINVAL `listener` is not a function */
  add(listener: Listener): () => void {
    checkListener(listener);
    this.#all.add(listener);
    return () => void this.#all.delete(listener);
  }

  /**
   * Call all listeners, after the caller of this function has returned. Listeners are independent: an error of
   * one becomes an uncaught exception, as from a timer, and the others are called nevertheless. A listener that
   * was removed in the meantime is not called.
   */
  tell(...event: Parameters<Listener>): void {
    for (const listener of this.#all) {
      queueMicrotask(() => {
        if (this.#all.has(listener)) listener(...event);
      });
    }
  }

  [Symbol.iterator](): IterableIterator<Listener> {
    return this.#all.values();
  }

  /** Remove all listeners. */
  clear(): void {
    this.#all.clear();
  }
}
