/** As `describe`, for a source of memory; skipped with the reason where it is not available. */
import * as node from 'node:test';
import { describe, it } from '../harness.ts';
import type { SourceCase } from './sources.ts';

const vitest = process.env.VITEST === undefined ? undefined : await import('vitest');

export function describeSource({ name, unavailable }: SourceCase, body: () => void): void {
  const title = `memory source: ${name}`;
  const why = () => it(`skipped: ${unavailable}`, () => {});
  if (unavailable === undefined) describe(title, body);
  else if (vitest === undefined) node.describe(title, { skip: unavailable }, why);
  else vitest.describe.skip(title, why);
}
