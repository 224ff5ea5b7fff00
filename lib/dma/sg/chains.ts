/**
 * Which elements of a list are copied side by side, so that the device has one segment of them: the rule of
 * __finalise_sg, applied before there are addresses.
 *
 *      elements       [  a 4 KiB  ][  b 4 KiB  ][ c 100 ]    [ d ]       b and c start, a and b end, with a granule
 *      bounce slots   |     a     |     b     |c........|    |d...|      one chain, and one element by itself
 */
import { roundUp, type SegmentLimits } from '../placement/segments.ts';

/** Where in its granule an element starts; NO_COPY for one that is not copied, or not like this. */
export type Starts = Float64Array;
export const NO_COPY = -1;

/**
 * The end, exclusive, of the chain that begins with element `first`: `first` + 1 when it is by itself.
 * @param most bytes that one chain may have
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
    // A run is aligned to its size rounded up: no boundary that is longer is in it.
    if (roundUp(longer, granule) > Math.min(most, segmentBoundary + 1)) break;
    end = longer;
  }
  return next;
}
