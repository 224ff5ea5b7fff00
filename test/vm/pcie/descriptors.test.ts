/** Too few descriptors for a function and all that belongs to it: an error wherever they run out, and nothing is left. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';
import type { Holdings } from '../holdings.ts';

const LIMIT = 128;

interface Report {
  readonly before: Holdings;
  readonly tries: readonly { readonly outcome: string; readonly held: Holdings }[];
}

function openWithFew(): Report {
  const child = fileURLToPath(new URL('descriptors-child.js', import.meta.url));
  const command = `ulimit -n ${LIMIT} && exec "$0" "$@"`;
  const output = execFileSync(
    '/bin/sh',
    ['-c', command, process.execPath, child, device('USERDMA_TEST_NVME')],
    {
      encoding: 'utf8',
    },
  );
  return JSON.parse(output) as Report;
}

describe('opening a function with few descriptors left', () => {
  it('is EMFILE until there are enough, and leaves nothing behind', () => {
    const { before, tries } = openWithFew();
    const outcomes = tries.map(({ outcome }) => outcome);
    const enough = outcomes.indexOf('works');
    assert.ok(enough > 4, outcomes.join(', '));
    assert.deepEqual([...new Set(outcomes.slice(0, enough))], ['EMFILE'], outcomes.join(', '));
    assert.deepEqual([...new Set(outcomes.slice(enough))], ['works'], outcomes.join(', '));
    for (const { held } of tries) assert.deepEqual(held, before);
  });
});
