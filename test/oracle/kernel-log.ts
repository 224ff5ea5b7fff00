/** What the kernel's dma-debug reports, by the names that the library's has for the same mistakes. */
import { closeSync, constants, openSync, readSync, writeFileSync } from 'node:fs';

/** The words of kernel/dma/debug.c, and the kinds of docs/dma-debug.md. */
const kinds: readonly (readonly [RegExp, string])[] = [
  [/tries to free DMA memory it has not allocated/, 'released-twice'],
  [/tries to sync DMA memory it has not allocated/, 'used-after-release'],
  [/syncs DMA memory outside allocated range/, 'sync-out-of-range'],
  [/mapping sg segment longer than device claims/, 'segment-too-long'],
  [/mapping sg segment across boundary/, 'segment-crosses-boundary'],
  [/overlapping mappings aren't supported/, 'overlapping-mappings'],
  [/frees DMA memory with different attributes/, 'other-attributes'],
  [/has pending DMA allocations while released/, 'pending-at-close'],
];

export class KernelLog {
  readonly #fd: number;

  /** Reports are read from here on. */
  constructor() {
    writeFileSync('/sys/kernel/debug/dma-api/all_errors', '1');
    this.#fd = openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK);
    this.reports();
  }

  /** The kinds of the reports since the last call. */
  reports(): string[] {
    const found: string[] = [];
    for (let line = this.#line(); line !== undefined; line = this.#line()) {
      if (!line.includes('DMA-API: ')) continue;
      const kind = kinds.find(([words]) => words.test(line!));
      found.push(kind?.[1] ?? line);
    }
    return found;
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** Each read returns one line. */
  #line(): string | undefined {
    const bytes = Buffer.alloc(8192);
    for (;;) {
      try {
        return bytes.toString('utf8', 0, readSync(this.#fd, bytes));
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EAGAIN') return undefined;
        // The ring buffer overwrote what was to be read next.
        if (code !== 'EPIPE') throw error;
      }
    }
  }
}
