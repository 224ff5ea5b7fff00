/**
 * What is armed on one function, by vector. A Map would keep the key of a vector that was disarmed in its hash chain until
 * it is rehashed, so that arming and disarming one vector again and again took longer, the more others are armed.
 */

/** An object for each armed vector of one kind. */
export class Vectors<T> {
  readonly #slots: (T | undefined)[] = [];
  #size = 0;

  /** The number of armed vectors. */
  get size(): number {
    return this.#size;
  }

  /** The armed vectors, in ascending order. */
  get numbers(): readonly number[] {
    return [...this.#slots.keys()].filter((vector) => this.has(vector));
  }

  /** Their objects, in the same order. */
  get values(): readonly T[] {
    return this.#slots.filter((value) => value !== undefined);
  }

  get(vector: number): T | undefined {
    return this.#slots[vector];
  }

  has(vector: number): boolean {
    return this.#slots[vector] !== undefined;
  }

  /** Enter a vector that is not armed. */
  set(vector: number, value: T): void {
    // An array without holes is faster, and there are 2,048 vectors at most.
    while (this.#slots.length <= vector) this.#slots.push(undefined);
    this.#slots[vector] = value;
    this.#size++;
  }

  delete(vector: number): void {
    if (!this.has(vector)) return;
    this.#slots[vector] = undefined;
    this.#size--;
  }
}
