/** The kernel's side: requests go through the module to the DMA API of the running kernel. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { decode, encode, mostBytes, type Request, type Response } from './protocol.ts';

export class Kernel {
  readonly #fd: number;

  /** Loads the module, which takes the device. @param module path of the module */
  constructor(module: string) {
    execFileSync('busybox', ['insmod', module]);
    this.#fd = openSync('/dev/userdma_oracle', 'r+');
  }

  run(requests: readonly Request[]): Response[] {
    writeSync(this.#fd, encode(requests));
    const bytes = Buffer.alloc(mostBytes(requests));
    return decode(bytes.subarray(0, readSync(this.#fd, bytes)));
  }

  /** Unloads the module. Mappings that are left are a mistake, which dma-debug reports. */
  close(): void {
    closeSync(this.#fd);
    execFileSync('busybox', ['rmmod', 'userdma_oracle']);
  }
}

/** The memory of this machine, ascending, both ends inclusive. */
export function memoryRanges(): { readonly start: number; readonly end: number }[] {
  const lines = readFileSync('/proc/iomem', 'utf8').split('\n');
  return lines.flatMap((line) => {
    const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) : System RAM$/.exec(line) ?? [];
    return start === undefined ? [] : [{ start: Number.parseInt(start, 16), end: Number.parseInt(end!, 16) }];
  });
}
