/** How far back a simulation goes: copies are made when there is too much to keep between two. */
import { expect, it } from 'vitest';
import { rewindable } from '../../lib/rtl/rewind.ts';
import type { Design, Simulator } from '../../lib/rtl/simulator.ts';
import { FlatMemory } from './memory.ts';

/** A simulator whose clock goes on with each call; nothing is in it. */
function clockOnly(): Design {
  const simulator = {
    description: {},
    clock: 0,
    push() {
      this.clock++;
    },
    snapshot: () => [new Uint8Array(1)],
    close() {},
  };
  return { name: 'a clock', open: () => simulator as unknown as Simulator };
}

it('bytes that were pushed to a stream are kept, and counted: there are copies between them', () => {
  const simulator = rewindable(clockOnly(), Number.MAX_SAFE_INTEGER).open(new FlatMemory());
  const mebibyte = new Uint8Array(1 << 20);
  // Seven stretches of 16 MiB, and the eighth copy.
  for (let i = 0; i < 7 * 16; i++) simulator.push(0, mebibyte, true);
  expect(simulator.oldest).toBe(0);
  for (let i = 0; i < 17; i++) simulator.push(0, mebibyte, true);
  expect(simulator.oldest).toBe(16);
});
