/** A row is judged by the rounds it was measured in, pair by pair. */
import { expect, it } from 'vitest';
import { judge, median, type Verdict } from './judge.ts';
import type { Outcome, Target } from './row.ts';

const sample = (...rounds: number[]) => ({ label: '', rounds });

function verdict(target: Target, outcome: Outcome): Omit<Verdict, 'target'> {
  const { median: middle, best, mark } = judge(target, outcome);
  return { median: middle, best, mark };
}

it('takes the middle of the values, or the mean of the two in the middle', () => {
  expect(median([10, 2, 9])).toBe(9);
  expect(median([10, 2, 9, 100])).toBe(9.5);
});

it('compares the two sides of each round before it takes the median', () => {
  // The machine was half as fast in the second round: the ratio does not see it.
  const outcome = { ours: sample(5, 10, 5), theirs: sample(10, 20, 10) };
  expect(verdict({ ratio: 0.5 }, outcome)).toEqual({ median: 0.5, best: 0.5, mark: 'pass' });
  expect(verdict({ added: -5 }, outcome)).toEqual({ median: -5, best: -5, mark: 'pass' });
});

it('is within a target at the target, and short of it beyond', () => {
  expect(verdict({ time: 8 }, { ours: sample(8) }).mark).toBe('pass');
  expect(verdict({ time: 8 }, { ours: sample(8.01) }).mark).toBe('short');
  expect(verdict({ count: 'calls', most: 0 }, { counts: { calls: 0 } }).mark).toBe('pass');
  expect(verdict({ count: 'calls', most: 0 }, { counts: { calls: 1 } }).mark).toBe('short');
});

it('calls it noise when only the fastest rounds are within the target', () => {
  expect(verdict({ time: 8 }, { ours: sample(7, 9, 9) })).toEqual({ median: 9, best: 7, mark: 'noise' });
  const outcome = { ours: sample(4, 9, 9), theirs: sample(10, 10, 10) };
  expect(verdict({ ratio: 0.5 }, outcome)).toEqual({ median: 0.9, best: 0.4, mark: 'noise' });
});

it('refuses to judge what was not measured', () => {
  expect(() => judge({ ratio: 1 }, { ours: sample(1) })).toThrow('compare');
  expect(() => judge({ time: 1 }, {})).toThrow('timed');
  expect(() => judge({ count: 'calls', most: 0 }, { counts: {} })).toThrow('calls');
});
