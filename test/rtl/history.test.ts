/** Who wrote a byte, when dma-debug tells of a write after it was made: a device can lag. */
import { expect, it } from 'vitest';
import type { ReachedMemory } from '../../lib/debug/observer.ts';
import type { DmaEntry } from '../../lib/dma/debug-view.ts';
import { WriteHistory } from '../../lib/rtl/history.ts';
import { RESPONSE } from '../../lib/rtl/simulator.ts';

const AT = 0x1000n;

function reach(history: WriteHistory, line: number): void {
  const entry = { stack: `line ${line}` } as unknown as DmaEntry;
  const memory: ReachedMemory = { access: 'write', address: Number(AT), size: 1, entry, over: false };
  history.reached(memory);
}

/** @param during the lines that dma-debug tells of before the bus answers */
function write(history: WriteHistory, value: number, ...during: readonly number[]): void {
  history.begin(AT);
  for (const line of during) reach(history, line);
  history.wrote(AT, Uint8Array.of(value), RESPONSE.okay, value);
}

function linesOf(history: WriteHistory): (string | undefined)[] {
  return history.of(AT).map(({ mapping }) => mapping?.stack);
}

it('late writes to the same address arrive in their order', () => {
  const history = new WriteHistory(100);
  write(history, 1);
  write(history, 2);
  reach(history, 1);
  expect(linesOf(history)).toEqual([undefined, 'line 1']);
  reach(history, 2);
  expect(linesOf(history)).toEqual(['line 2', 'line 1']);
});

it('late writes that arrive while one is made stay apart from it', () => {
  const history = new WriteHistory(100);
  write(history, 1);
  write(history, 2, 1, 2);
  expect(linesOf(history)).toEqual(['line 2', 'line 1']);
});

it('a write whose mapping is known is not told of again', () => {
  const history = new WriteHistory(100);
  write(history, 1, 1);
  reach(history, 2);
  write(history, 3, 3);
  expect(linesOf(history)).toEqual(['line 3', 'line 1']);
});
