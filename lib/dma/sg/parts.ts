/** A list whose elements are mapped one by one, each as by itself (iommu_dma_map_sg_swiotlb, dma_direct_map_sg). */

import type { MappingRecord } from '../streaming/mapping.ts';
import type { Streaming } from '../streaming/streaming.ts';
import { DMA_ATTR } from '../words/attributes.ts';
import { syncAtOnce } from './batch.ts';
import { sgError } from './errors.ts';
import type { SgRecord } from './mapping.ts';

/**
 * Map all of them, a segment each, or none.
 * @throws DmaError EINVAL, ENOMEM, EIO as dma_map_sgtable · ENODEV
 */
export function mapParts(streaming: Streaming, record: SgRecord, views: readonly ArrayBufferView[]): void {
  const parts: MappingRecord[] = [];
  record.way = 'arithmetic';
  record.size = 0;
  try {
    for (const view of views) {
      const part = streaming.mapElement(view, record.bits, record.attributes);
      parts.push(part);
      record.segments.pushAlone(part.address, part.size);
      record.size += part.size;
      if (part.way === 'bounced' || record.way === 'arithmetic') record.way = part.way;
    }
  } catch (error) {
    for (const part of parts.reverse()) {
      // The device was never told of it: there is nothing to copy back.
      part.attributes |= DMA_ATTR.SKIP_CPU_SYNC;
      streaming.unmap(part);
    }
    throw sgError(error);
  }
  record.parts = parts;
}

/** Unmap all of them, whatever one of them throws; the first error, if any. */
export function unmapParts(streaming: Streaming, parts: readonly MappingRecord[]): unknown {
  let failure: unknown;
  for (let i = 0; i < parts.length; i++) {
    try {
      streaming.unmap(parts[i]!);
    } catch (error) {
      failure ??= error;
    }
  }
  return failure;
}

/** All of them whole, in one pass; as `unmapParts`. */
export function syncPartsForCpu(streaming: Streaming, record: SgRecord): unknown {
  if (syncAtOnce(streaming, record, false)) return undefined;
  const { parts } = record;
  let failure: unknown;
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!;
    try {
      streaming.syncForCpu(part, 0, part.size);
    } catch (error) {
      failure ??= error;
    }
  }
  return failure;
}

/** All of them whole, in one pass; as `unmapParts`. */
export function syncPartsForDevice(streaming: Streaming, record: SgRecord): unknown {
  if (syncAtOnce(streaming, record, true)) return undefined;
  const { parts } = record;
  let failure: unknown;
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!;
    try {
      streaming.syncForDevice(part, 0, part.size);
    } catch (error) {
      failure ??= error;
    }
  }
  return failure;
}
