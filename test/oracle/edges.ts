/** Requests that use all addresses under a mask, up to the last one. */
import type { Request } from './protocol.ts';

const PAGE = 4096;
/** The first page is never used. */
const LEAST_BITS = 13;
const MOST_BITS = 19;

/** Maps pages under a mask, and unmaps them. */
function mapPages(bits: number, pages: number): Request[] {
  const slots = Array.from({ length: pages }, (_, slot) => slot);
  const place = (slot: number) => ({ buffer: slot % 8, offset: PAGE * (slot >> 3), size: PAGE });
  return [
    { op: 'setMask', value: (1n << BigInt(bits)) - 1n },
    ...slots.map((slot): Request => ({ op: 'map', slot, ...place(slot), dir: 0, attrs: 0 })),
    ...slots.map((slot): Request => ({ op: 'unmap', slot })),
  ];
}

/** As many pages as there are addresses for: all of them are mapped. */
export function fillMasks(): Request[] {
  const masks = Array.from({ length: MOST_BITS - LEAST_BITS + 1 }, (_, i) => LEAST_BITS + i);
  return masks.flatMap((bits) => mapPages(bits, 2 ** bits / PAGE - 1));
}

/**
 * One page more. The kernel then takes all addresses below 4 GiB to be in use, until its caches of addresses overflow
 * (max32_alloc_size of drivers/iommu/iova.c), so nothing can be compared after it.
 */
export function overfillMask(): Request[] {
  return mapPages(MOST_BITS, 2 ** MOST_BITS / PAGE);
}
