/**
 * The live entries of one owner, newest first. Each entry carries its own links, so that adding and removing one takes
 * the same time for any number of entries. A Map or Set keyed by addresses cannot do that: V8 keeps a deleted key in
 * its hash chain until the table is rehashed, and an allocator returns the same address again and again.
 *
 *      newest <-> ... <-> ... <-> oldest
 */

/** An object that can be in one LiveList. */
export class LiveEntry {
  newer: this | undefined = undefined;
  older: this | undefined = undefined;
}

/** A list of live entries. */
export class LiveList<T extends LiveEntry> {
  private newest: T | undefined = undefined;
  private length = 0;

  /** The number of entries. */
  get count(): number {
    return this.length;
  }

  /** Add an entry that is in no list. */
  add(entry: T): void {
    const newest = this.newest;
    entry.older = newest;
    if (newest !== undefined) newest.newer = entry;
    this.newest = entry;
    this.length++;
  }

  /** Remove an entry that is in this list. */
  remove(entry: T): void {
    const { newer, older } = entry;
    if (newer === undefined) this.newest = older;
    else newer.older = older;
    if (older !== undefined) older.newer = newer;
    entry.newer = undefined;
    entry.older = undefined;
    this.length--;
  }

  /** The entries, newest first. The caller must not remove entries while it iterates. */
  *[Symbol.iterator](): Generator<T> {
    for (let entry = this.newest; entry !== undefined; entry = entry.older) yield entry;
  }
}
