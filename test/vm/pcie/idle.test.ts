/** A function that is open and has nothing to do keeps no program from ending, and none ends badly for it. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { openPci } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';

const child = fileURLToPath(new URL('./idle-child.js', import.meta.url));

describe('a program with functions that are armed and idle', () => {
  for (const [how, status] of [
    ['ends by itself', 0],
    ['calls process.exit', 7],
    ['has them in a worker that ends', 0],
    ['has them in a worker that is terminated', 0],
    ['is asked for one at that moment', 0],
  ] as const) {
    it(how, async () => {
      const ended = spawnSync(process.execPath, [child, how], { encoding: 'utf8', timeout: 30_000 });
      assert.deepEqual([ended.status, ended.signal], [status, null], ended.stdout + ended.stderr);
      using fn = await openPci(device('USERDMA_TEST_EDU'));
      assert.equal(fn.isPresent(), true);
    });
  }
});
