/** The bytes that a random operation uses. The functions turn any numbers of a random sequence into valid ranges. */
import type { Lease, Run, Slice, Unit } from './reference.ts';

/** A size of at least 1. It is mostly short, and sometimes a few pages. */
export function sizeFrom(b: number): number {
  const most = [64, 300, 2100, 4200, 9000][b % 5]!;
  return 1 + ((b * 41) % most);
}

/** An offset and a size in a unit. If cache lines matter, the offset is the start of one. */
export function sliceOf({ bytes }: Unit, line: number, b: number, c: number): [number, number] {
  const whole = bytes.length;
  if (b % 3 === 0) return [0, whole];
  const offset = Math.floor(((b * 31) % whole) / line) * line;
  return [offset, 1 + ((c * 29 + b) % (whole - offset))];
}

/** The range of a mapping to sync. It is everything for a list, and whole lines where cache lines matter. */
export function rangeOf({ isList, size, runs }: Lease, line: number, b: number, c: number): [number, number] {
  if (isList || b % 4 === 0) return [0, size];
  const lead = Number(runs[0]!.address % BigInt(line));
  const lines = Math.ceil((lead + size) / line);
  const first = (b * 31) % lines;
  const end = first + 1 + ((c * 17) % (lines - first));
  return [Math.max(first * line - lead, 0), Math.min(end * line - lead, size)];
}

/** The range of a mapping that the device reads or writes, at most `longest` bytes. */
export function spotOf({ size }: Lease, longest: number, b: number, c: number): [number, number] {
  const most = Math.min(size, longest);
  const length = b % 4 === 0 ? most : 1 + ((b * 11) % most);
  const from = (c * 19) % (size - length + 1);
  return [from, from + length];
}

/** Address, start and end of the pieces of [from, to). Positions count through all runs. */
export function placesOf(runs: readonly Run[], from: number, to: number): [bigint, number, number][] {
  const places: [bigint, number, number][] = [];
  let base = 0;
  for (const { address, length } of runs) {
    const start = Math.max(from, base);
    const end = Math.min(to, base + length);
    if (start < end) places.push([address + BigInt(start - base), start, end]);
    base += length;
  }
  return places;
}

/** The device address of each piece of a list. The segments hold the pieces one after the other. */
export function placesOfPieces(pieces: readonly Slice[], runs: readonly Run[]): bigint[] {
  let position = 0;
  return pieces.map(({ size }) => {
    const [place] = placesOf(runs, position, position + 1);
    position += size;
    return place![0];
  });
}
