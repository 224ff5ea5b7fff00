/** Functions of a driver that are called when something happens to its device. */
import { checkListener } from '../arguments.ts';

/** The listeners for one event. */
export class Listeners<Listener extends (...event: never[]) => unknown> {
  readonly #all = new Set<Listener>();

  /** Returns a function that ends it: the listener is not called any more. @throws DmaError EINVAL no function */
  add(listener: Listener): () => void {
    checkListener(listener);
    this.#all.add(listener);
    return () => void this.#all.delete(listener);
  }

  /**
   * Call all, once whoever asks has returned. Each by itself: what one throws is an uncaught exception, as from a timer,
   * and the others are told all the same. Who has ended it by then is not.
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

  /** Nobody is told anything any more. */
  clear(): void {
    this.#all.clear();
  }
}
