/**
 * The records that are out of use, kept to be used again. The oldest record is used first, and only after many others
 * were used.
 */

/**
 * The number of records that wait before one is used again, so that a second unmap still finds a record that is out
 * of use.
 */
const MINIMUM = 1024;
/** The number of places, a power of two. The garbage collector gets the records that do not fit. */
const SIZE = 2048;

/** A ring of records that wait to be used again. */
export class RecordRing<T> {
  /** Filled from the first place on: most devices are closed before all SIZE of them were used. */
  private readonly places: T[] = [];
  private first = 0;
  private waiting = 0;

  /** The oldest record. It is undefined while too few wait. */
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
