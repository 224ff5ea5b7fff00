/** Which bytes an operation is about: numbers of a random sequence made fit for what is there. */
import type { Lease, Run, Slice, Unit } from './reference.ts';

/** Mostly short, sometimes a few pages; 1 at least. */
export function sizeFrom(b: number): number {
  const most = [64, 300, 2100, 4200, 9000][b % 5]!;
  return 1 + ((b * 41) % most);
}

/** A range of a unit; where lines of the cache matter it starts with one. */
export function sliceOf({ bytes }: Unit, line: number, b: number, c: number): [number, number] {
  const whole = bytes.length;
  if (b % 3 === 0) return [0, whole];
  const offset = Math.floor(((b * 31) % whole) / line) * line;
  return [offset, 1 + ((c * 29 + b) % (whole - offset))];
}

/** What of a mapping is synced: of lists everything; where lines matter, whole lines. */
export function rangeOf({ isList, size, runs }: Lease, line: number, b: number, c: number): [number, number] {
  if (isList || b % 4 === 0) return [0, size];
  const lead = Number(runs[0]!.address % BigInt(line));
  const lines = Math.ceil((lead + size) / line);
  const first = (b * 31) % lines;
  const end = first + 1 + ((c * 17) % (lines - first));
  return [Math.max(first * line - lead, 0), Math.min(end * line - lead, size)];
}

/** What of a mapping the device touches, at most `longest` bytes. */
export function spotOf({ size }: Lease, longest: number, b: number, c: number): [number, number] {
  const most = Math.min(size, longest);
  const length = b % 4 === 0 ? most : 1 + ((b * 11) % most);
  const from = (c * 19) % (size - length + 1);
  return [from, from + length];
}

/** Address, start and end of the pieces of [from, to), positions in all runs together. */
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

/** Where the device has each piece of a list: the segments hold them one after the other. */
export function placesOfPieces(pieces: readonly Slice[], runs: readonly Run[]): bigint[] {
  let position = 0;
  return pieces.map(({ size }) => {
    const [place] = placesOf(runs, position, position + 1);
    position += size;
    return place![0];
  });
}
