/** Functions of a driver that are called when something happens to its device. */
import { checkListener } from '../arguments.ts';

/** The listeners for one event. */
export class Listeners<Listener extends (...event: never[]) => unknown> {
  readonly #all = new Set<Listener>();

  /** Returns a function that removes the listener. @throws DmaError EINVAL no function */
  add(listener: Listener): () => void {
    checkListener(listener);
    this.#all.add(listener);
    return () => void this.#all.delete(listener);
  }

  /**
   * Call all listeners, after the caller of this function has returned. Each runs by itself: an error of one is an
   * uncaught exception, as from a timer, and the others are called nevertheless. One that was removed by then is not
   * called.
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
