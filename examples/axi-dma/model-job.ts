/** A buffer that a channel of the modelled core fills or empties. */
import type { Response, Wires } from './model-wires.ts';

export interface Job {
  /** The address of its descriptor; undefined in direct register mode. */
  readonly descriptor: bigint | undefined;
  /** The address of the next descriptor. */
  readonly next: bigint;
  /** Flags of CONTROL. */
  readonly flags: number;
  address: bigint;
  /** The bytes of the buffer that are left. */
  left: number;
  moved: number;
  /** True if its packet ended here. */
  ended: boolean;
}

/** The result of moving a burst: the number of bytes, 0 if the stream cannot go on now, or an error. */
export type Moved = number | Exclude<Response, 'OKAY'> | 'too long';

/** The length is cut to the bits that have wires. */
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
