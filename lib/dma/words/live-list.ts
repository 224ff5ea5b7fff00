/**
 * The live entries, in the order in which they were added. Each entry carries its own links, so that adding and
 * removing one takes the same time for any number of entries. A Map or Set keyed by addresses cannot do that: V8
 * keeps a deleted key in its hash chain until the table is rehashed, and an allocator returns the same address again
 * and again.
 *
 *      oldest <-> ... <-> ... <-> newest
 */

/** An object that can be in one LiveList. */
export class LiveEntry {
  older: this | undefined = undefined;
  newer: this | undefined = undefined;
}

/** A list of live entries. */
export class LiveList<T extends LiveEntry> {
  #oldest: T | undefined = undefined;
  #newest: T | undefined = undefined;

  /** Add an entry that is in no list. */
  add(entry: T): void {
    const newest = this.#newest;
    entry.older = newest;
    if (newest === undefined) this.#oldest = entry;
    else newest.newer = entry;
    this.#newest = entry;
  }

  /** Remove an entry that is in this list. */
  remove(entry: T): void {
    const { older, newer } = entry;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    entry.older = undefined;
    entry.newer = undefined;
  }

  /** All entries of this moment, oldest first. */
  all(): T[] {
    const entries: T[] = [];
    for (let entry = this.#oldest; entry !== undefined; entry = entry.newer) entries.push(entry);
    return entries;
  }

  /** Remove every entry. */
  clear(): void {
    for (const entry of this.all()) this.remove(entry);
  }
}
