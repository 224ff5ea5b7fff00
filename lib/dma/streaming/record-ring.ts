/** Records whose life is over, kept for reuse: the oldest first, and none before many others have had their turn. */

/** Records that are kept before one is used again, so that a second unmap still meets a record that is out of use. */
const MINIMUM = 1024;
/** Places; what does not fit is left to the garbage collector. A power of two. */
const SIZE = 2048;

/** A ring of records that wait to be used again. */
export class RecordRing<T> {
  private readonly places: (T | undefined)[] = new Array(SIZE).fill(undefined);
  private first = 0;
  private waiting = 0;

  /** The oldest record; undefined while too few wait. */
  take(): T | undefined {
    if (this.waiting <= MINIMUM) return undefined;
    const record = this.places[this.first];
    this.first = (this.first + 1) & (SIZE - 1);
    this.waiting--;
    return record;
  }

  give(record: T): void {
    if (this.waiting === SIZE) return;
    this.places[(this.first + this.waiting) & (SIZE - 1)] = record;
    this.waiting++;
  }
}
