/**
 * Physical region pages (NVM Express 1.4, 4.3).
 *
 *      PRP1    the first page, from an offset on
 *      PRP2    the second page, if the data ends there; else a list of pages. The last entry of a list leads to the
 *              next list if more than one page is left
 *
 * QEMU accepts an odd PRP1, and reads lists to the end of their page. Here PRP1 must be a multiple of 4, as in the
 * specification, and only the needed part of a list is read.
 */
import type { Command } from './command.ts';
import type { DataPointer } from './data-pointer.ts';
import { STATUS } from './status.ts';

const PRP1 = 24;
const PRP2 = 32;
const POINTER = 8;

/** Returns a status. */
export function mapPrps(into: DataPointer, command: Command, size: number, pageSize: number): number {
  const low = command.word(PRP1);
  const high = command.word(PRP1 + 4);
  if (low % 4 !== 0) return into.refuse(STATUS.invalidPrpOffset, low, high, 'PRP1 is no multiple of 4');
  const first = Math.min(size, pageSize - (low % pageSize));
  into.add(low, high, first);
  const left = size - first;
  if (left === 0) return STATUS.success;
  const secondLow = command.word(PRP2);
  const secondHigh = command.word(PRP2 + 4);
  if (left > pageSize) return mapList(into, secondLow, secondHigh, left, pageSize);
  if (secondLow % pageSize !== 0)
    return into.refuse(STATUS.invalidPrpOffset, secondLow, secondHigh, 'PRP2 has an offset in its page');
  into.add(secondLow, secondHigh, left);
  return STATUS.success;
}

/** A list may begin anywhere in its page, and ends at the end of that page. */
function mapList(into: DataPointer, low: number, high: number, size: number, pageSize: number): number {
  let left = size;
  let listLow = low;
  let listHigh = high;
  for (let first = 0; left > 0; ) {
    const room = Math.floor((pageSize - (listLow % pageSize)) / POINTER);
    const needed = Math.ceil(left / pageSize);
    const count = Math.min(room, needed);
    if (!into.fetch(listLow, listHigh, 0, count * POINTER)) return STATUS.dataTransfer;
    for (let i = 0; i < count; i++) {
      const low = into.fetched.getUint32(i * POINTER, true);
      const high = into.fetched.getUint32(i * POINTER + 4, true);
      const leadsOn = needed > room && i === count - 1;
      if (low % pageSize !== 0) {
        const what = `entry ${first + i} of the PRP list${leadsOn ? ', the pointer to the next list,' : ''}`;
        return into.refuse(STATUS.invalidPrpOffset, low, high, `${what} has an offset in its page`);
      }
      if (leadsOn) {
        listLow = low;
        listHigh = high;
      } else {
        into.add(low, high, Math.min(left, pageSize));
        left -= Math.min(left, pageSize);
      }
    }
    first += count;
  }
  return STATUS.success;
}
