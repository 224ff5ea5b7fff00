/** A buffer that a channel of the modelled core fills or empties. */
import type { Response, Wires } from './model-wires.ts';

export interface Job {
  /** Where its descriptor is; undefined in direct register mode. */
  readonly descriptor: bigint | undefined;
  /** Where the next one is. */
  readonly next: bigint;
  /** Flags of CONTROL. */
  readonly flags: number;
  address: bigint;
  /** Bytes of the buffer that are left. */
  left: number;
  moved: number;
  /** Its packet ended here. */
  ended: boolean;
}

/** What became of an attempt to move a burst: bytes moved, 0 when the stream holds it up, or what went wrong. */
export type Moved = number | Exclude<Response, 'OKAY'> | 'too long';

/** The length as far as there are wires for it. */
export function newJob(
  wires: Wires,
  address: bigint,
  length: number,
  { descriptor, next, flags }: Pick<Job, 'descriptor' | 'next' | 'flags'>,
): Job {
  const { alignment, lengthBits } = wires;
  const left = length & (2 ** lengthBits - 1);
  if (left !== length) wires.report(address, length, `length cut to ${lengthBits} bits`);
  if (address % BigInt(alignment) !== 0n) {
    wires.report(address, length, `buffer not aligned to ${alignment} bytes`);
  }
  return { descriptor, next, flags, address, left, moved: 0, ended: false };
}
