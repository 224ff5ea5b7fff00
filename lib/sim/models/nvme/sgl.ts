/**
 * Scatter gather lists (NVM Express 1.4, 4.4). The command holds one descriptor: a data block, or a pointer to a
 * segment of descriptors. The last descriptor of a segment may point to the next segment. Like QEMU's controller,
 * this one supports data blocks, segments and last segments. A single block may be longer than the data; a list may
 * not.
 */
import type { Command } from './command.ts';
import type { DataPointer } from './data-pointer.ts';
import { STATUS } from './status.ts';

const SGL1 = 24;
const SIZE = 16;
const DATA_BLOCK = 0;
const SEGMENT = 2;
const LAST_SEGMENT = 3;

interface Descriptor {
  low: number;
  high: number;
  length: number;
  type: number;
}

/** Returns a status. */
export function mapSgl(into: DataPointer, command: Command, size: number): number {
  const descriptor: Descriptor = {
    low: command.word(SGL1),
    high: command.word(SGL1 + 4),
    length: command.word(SGL1 + 8),
    type: command.word(SGL1 + 12) >>> 28,
  };
  let left = size;
  if (descriptor.type === DATA_BLOCK) left -= addBlock(into, descriptor, left);
  else {
    for (let segment = 0; descriptor.type !== DATA_BLOCK; segment++) {
      const { low, high, length, type } = descriptor;
      if ((type !== SEGMENT && type !== LAST_SEGMENT) || length === 0 || length % SIZE !== 0) {
        const what = `SGL segment ${segment} is of type ${type} and ${length} bytes`;
        return into.refuse(STATUS.invalidSglSegment, low, high, what);
      }
      for (let at = 0; at < length; at += SIZE) {
        if (!into.fetch(low, high, at, SIZE)) return STATUS.dataTransfer;
        take(descriptor, into.fetched);
        if (at + SIZE === length && descriptor.type !== DATA_BLOCK) break;
        const refusal = check(into, descriptor, left, `descriptor ${at / SIZE} of SGL segment ${segment}`);
        if (refusal !== STATUS.success) return refusal;
        left -= addBlock(into, descriptor, left);
      }
      if (type === LAST_SEGMENT && descriptor.type !== DATA_BLOCK) {
        const what = `SGL segment ${segment} is the last one and ends with type ${descriptor.type}`;
        return into.refuse(STATUS.invalidSglSegment, low, high, what);
      }
    }
  }
  if (left === 0) return STATUS.success;
  const what = `the SGL is ${left} bytes short of ${size}`;
  return into.refuse(STATUS.invalidSglLength, descriptor.low, descriptor.high, what);
}

/** Checks a descriptor that is not the last of its segment. */
function check(
  into: DataPointer,
  { low, high, length, type }: Descriptor,
  left: number,
  what: string,
): number {
  if (type === SEGMENT || type === LAST_SEGMENT)
    return into.refuse(STATUS.invalidSglCount, low, high, `${what} leads on before the end`);
  if (type !== DATA_BLOCK) return into.refuse(STATUS.invalidSglType, low, high, `${what} is of type ${type}`);
  if (length > 0 && left === 0)
    return into.refuse(STATUS.invalidSglLength, low, high, `${what} is behind the end of the data`);
  return STATUS.success;
}

function take(into: Descriptor, from: DataView): void {
  into.low = from.getUint32(0, true);
  into.high = from.getUint32(4, true);
  into.length = from.getUint32(8, true);
  into.type = from.getUint32(12, true) >>> 28;
}

/** Returns the number of bytes of the data that go there. */
function addBlock(into: DataPointer, { low, high, length }: Descriptor, left: number): number {
  const used = Math.min(length, left);
  if (used > 0) into.add(low, high, used);
  return used;
}
