/** The physical addresses of this process's memory: /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
import { closeSync, openSync, readSync } from 'node:fs';
import { DmaError } from '../errors.ts';

/** The size of an entry in bytes, one entry for each page; and the bits of an entry. */
const ENTRY = 8;
const PRESENT = 1n << 63n;
const FRAME = (1n << 55n) - 1n;

/**
 * The physical addresses of the `pages` pages that begin at address `virtual` of this process, at this moment.
 * @param virtual a multiple of `pageSize`
 * @param pageSize of the CPU
 * @throws DmaError EPERM the kernel hides them · EFAULT a page is not present
 */
export function physicalAddresses(virtual: number, pages: number, pageSize: number): number[] {
  const bytes = readEntries((virtual / pageSize) * ENTRY, pages * ENTRY);
  return Array.from({ length: pages }, (_, page) => {
    const entry = bytes.readBigUInt64LE(page * ENTRY);
    if ((entry & PRESENT) === 0n) {
      const where = `0x${(virtual + page * pageSize).toString(16)}`;
      throw new DmaError('EFAULT', `no page is present at ${where} of this process`, {
        remedy: 'only populated memory that is not swapped out has an address',
      });
    }
    const frame = Number(entry & FRAME);
    if (frame === 0) throw hidden();
    return frame * pageSize;
  });
}

/** Reads entries. An entry beyond the end of the file is zero: no page is present there. */
function readEntries(position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  try {
    const fd = openSync('/proc/self/pagemap', 'r');
    try {
      readSync(fd, bytes, 0, length, position);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    throw hidden(cause);
  }
  return bytes;
}

function hidden(cause?: unknown): DmaError {
  return new DmaError('EPERM', 'this process is not told physical addresses', {
    syscall: 'read',
    remedy: 'run as root, or with CAP_SYS_ADMIN (/proc/self/pagemap shows zeros otherwise)',
    cause,
  });
}
