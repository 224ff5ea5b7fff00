/**
 * The elements of a list that are copied side by side, so that they are one segment for the device. The rule is that
 * of __finalise_sg, applied before there are addresses.
 *
 *      elements       [  a 4 KiB  ][  b 4 KiB  ][ c 100 ]    [ d ]       b and c start, a and b end, with a granule
 *      bounce slots   |     a     |     b     |c........|    |d...|      one chain, and one element by itself
 */
import { roundUp, type SegmentLimits } from '../placement/segments.ts';

/** The offset of each element in its granule. It is NO_COPY for an element that is not copied, or not in this way. */
export type Starts = Float64Array;
export const NO_COPY = -1;

/**
 * The end, exclusive, of the chain that begins with element `first`. It is `first` + 1 if the element is by itself.
 * @param most the most bytes of one chain
 */
export function chainEnd(
  views: readonly ArrayBufferView[],
  starts: Starts,
  first: number,
  { granule, maxSegmentSize, segmentBoundary }: SegmentLimits,
  most: number,
): number {
  let next = first + 1;
  if (starts[first] === NO_COPY) return next;
  let end = starts[first]! + views[first]!.byteLength;
  for (; next < views.length && starts[next] === 0 && end % granule === 0; next++) {
    const longer = end + views[next]!.byteLength;
    if (longer - starts[first]! > maxSegmentSize) break;
    // A run is aligned to its size rounded up, so no boundary longer than that lies inside it.
    if (roundUp(longer, granule) > Math.min(most, segmentBoundary + 1)) break;
    end = longer;
  }
  return next;
}
