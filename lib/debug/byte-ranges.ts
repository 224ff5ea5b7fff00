/**
 * A set of bytes, as ranges of offsets. Examples: the bytes of a mapping that the CPU owns now, and those that the
 * device wrote.
 */

/** Ranges [start, end), ascending. No range touches the next. */
export class ByteRanges {
  /** start, end, start, end ... */
  readonly #edges: number[] = [];

  get empty(): boolean {
    return this.#edges.length === 0;
  }

  add(start: number, end: number): void {
    const edges = this.#edges;
    if (edges.length === 0 && start < end) {
      edges.push(start, end);
    } else if (edges.length === 2 && start <= edges[1]! && end >= edges[0]! && start < end) {
      // The usual case: there is one range, and it stays one. This path makes no arrays.
      if (start < edges[0]!) edges[0] = start;
      if (end > edges[1]!) edges[1] = end;
    } else {
      this.#splice(start, end, true);
    }
  }

  remove(start: number, end: number): void {
    const edges = this.#edges;
    if (edges.length === 0) return;
    if (edges.length === 2 && start <= edges[0]! && end >= edges[1]!) this.clear();
    else this.#splice(start, end, false);
  }

  clear(): void {
    // Removed one by one, because an array keeps its memory then. It would not after setting its length to 0.
    while (this.#edges.length > 0) this.#edges.pop();
  }

  /** True if a byte of [start, end) is in the set. */
  meets(start: number, end: number): boolean {
    const edges = this.#edges;
    for (let i = 0; i < edges.length; i += 2) {
      if (start < edges[i + 1]! && edges[i]! < end && start < end) return true;
    }
    return false;
  }

  /** The first part of [start, end) that is in the set; undefined if there is none. */
  firstIn(start: number, end: number): { readonly start: number; readonly end: number } | undefined {
    const edges = this.#edges;
    for (let i = 0; i < edges.length; i += 2) {
      const from = Math.max(start, edges[i]!);
      const to = Math.min(end, edges[i + 1]!);
      if (from < to) return { start: from, end: to };
    }
    return undefined;
  }

  /** Call `visit` with each part of [start, end) that is not in the set, ascending. */
  eachGap(start: number, end: number, visit: (start: number, end: number) => void): void {
    let at = start;
    for (let next = this.firstIn(at, end); next !== undefined; next = this.firstIn(at, end)) {
      if (next.start > at) visit(at, next.start);
      at = next.end;
    }
    if (at < end) visit(at, end);
  }

  /** Call `visit` with each part of [start, end) that is in the set, ascending. */
  eachIn(start: number, end: number, visit: (start: number, end: number) => void): void {
    for (let next = this.firstIn(start, end); next !== undefined; next = this.firstIn(next.end, end)) {
      visit(next.start, next.end);
    }
  }

  /**
   * Removes the edges inside [start, end]. `start` and `end` become edges if they now separate bytes in the set from
   * others.
   */
  #splice(start: number, end: number, inside: boolean): void {
    if (start >= end) return;
    const edges = this.#edges;
    let first = 0;
    while (first < edges.length && edges[first]! < start) first++;
    let last = first;
    while (last < edges.length && edges[last]! <= end) last++;
    const replacement: number[] = [];
    if ((first % 2 === 0) === inside) replacement.push(start);
    if ((last % 2 === 0) === inside) replacement.push(end);
    edges.splice(first, last - first, ...replacement);
  }
}
