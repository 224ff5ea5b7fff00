/**
 * A list whose elements are mapped one by one, each as `mapSingle` would map it (iommu_dma_map_sg_swiotlb,
 * dma_direct_map_sg).
 */

import type { SegmentLimits } from '../placement/segments.ts';
import type { MappingRecord } from '../streaming/mapping.ts';
import type { Streaming } from '../streaming/streaming.ts';
import { DMA_ATTR } from '../words/attributes.ts';
import { syncAtOnce } from './batch.ts';
import { chainEnd, type Starts } from './chains.ts';
import { sgError } from './errors.ts';
import type { SgRecord } from './mapping.ts';

/**
 * Map all elements or none. Each element is a segment. Elements that are copied side by side are one segment
 * together.
 * @param starts given where there is an IOMMU, so that segments merge
 * @throws DmaError EINVAL, ENOMEM, EIO as dma_map_sgtable · ENODEV
 */
export function mapParts(
  streaming: Streaming,
  record: SgRecord,
  views: readonly ArrayBufferView[],
  starts: Starts | undefined,
  limits: SegmentLimits,
): void {
  const parts: MappingRecord[] = [];
  record.way = 'arithmetic';
  record.size = 0;
  try {
    for (let i = 0; i < views.length; ) {
      const most = streaming.bounce.maxMapping;
      const end = starts === undefined ? i + 1 : chainEnd(views, starts, i, limits, most);
      const before = record.size;
      const first = parts.length;
      if (end === i + 1) parts.push(streaming.mapElement(views[i]!, record.bits, record.attributes));
      else
        parts.push(...streaming.mapChain(views.slice(i, end), starts![i]!, record.bits, record.attributes));
      for (let at = first; at < parts.length; at++) record.size += parts[at]!.size;
      const { address, way } = parts[first]!;
      record.segments.pushAlone(address, record.size - before);
      if (way === 'bounced' || record.way === 'arithmetic') record.way = way;
      i = end;
    }
  } catch (error) {
    for (const part of parts.reverse()) {
      // The driver never told the device this address, so there is nothing to copy back.
      part.attributes |= DMA_ATTR.SKIP_CPU_SYNC;
      streaming.unmap(part);
    }
    throw sgError(error);
  }
  record.parts = parts;
}

/** Unmap all elements, even if one of them throws. The result is the first error, if any. */
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

/** Sync all elements for the CPU in one pass, each of them whole. Errors are as in `unmapParts`. */
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

/** Sync all elements for the device in one pass, each of them whole. Errors are as in `unmapParts`. */
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
