/** Parts of buffers that are one run of bytes to a device. */
import type { Part } from './protocol.ts';

/** Bytes [offset, offset + size) of parts that lie one after the other. */
export function cut(parts: readonly Part[], { offset, size }: { offset: number; size: number }): Part[] {
  const pieces: Part[] = [];
  let start = 0;
  for (const part of parts) {
    const from = Math.max(offset, start);
    const to = Math.min(offset + size, start + part.size);
    if (from < to) pieces.push({ buffer: part.buffer, offset: part.offset + from - start, size: to - from });
    start += part.size;
  }
  return pieces;
}
