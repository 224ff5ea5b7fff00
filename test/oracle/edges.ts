/** Requests that fill all addresses under a mask with pages, and one page more. */
import type { Request } from './protocol.ts';

const PAGE = 4096;

/** @param bits 13 or more: the first page is never used, so a mask of 12 bits has none */
export function fillMask(bits: number, slots: number): Request[] {
  const pages = Math.min(slots, 2 ** bits / PAGE);
  const requests: Request[] = [{ op: 'setMask', value: (1n << BigInt(bits)) - 1n }];
  for (let slot = 0; slot < pages; slot++) {
    requests.push({ op: 'map', slot, buffer: slot % 8, offset: PAGE * (slot >> 3), size: PAGE, dir: 0 });
  }
  for (let slot = 0; slot < pages; slot++) requests.push({ op: 'unmap', slot });
  return requests;
}
