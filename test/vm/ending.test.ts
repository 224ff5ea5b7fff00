/** However a program ends with a transfer in flight, it ends as it would without us, and the device is free at once. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Edu } from '../../examples/edu/driver.ts';
import { openPci } from '../../lib/index.ts';
import { awake } from '../edu/awake.ts';
import { assert, describe, it } from '../harness.ts';
import { owned } from '../owned.ts';

const address = process.env.USERDMA_TEST_EDU ?? '';
const child = fileURLToPath(new URL('./ending-child.js', import.meta.url));

const endings: readonly { how: string; status: number | null; signal?: string; output?: RegExp }[] = [
  { how: 'normal end', status: 0 },
  { how: 'close', status: 0 },
  { how: 'process.exit', status: 7 },
  { how: 'uncaught exception', status: 1, output: /on purpose/ },
  { how: 'SIGKILL', status: null, signal: 'SIGKILL' },
  { how: 'worker end', status: 0, output: /worker exited with 0/ },
  { how: 'worker terminate', status: 0, output: /worker exited with 1/ },
];

describe('a program that ends with a transfer in flight', () => {
  for (const { how, status, signal = null, output = /^/ } of endings) {
    it(`by ${how}`, async () => {
      const ended = spawnSync(process.execPath, [child, how], { encoding: 'utf8', timeout: 30_000 });
      const said = ended.stdout + ended.stderr;
      assert.deepEqual([ended.status, ended.signal], [status, signal], said);
      assert.match(said, output);
      using edu = await owned(openPci(address), (fn) => new Edu(fn));
      assert.equal(await awake(edu.factorial(5)), 120);
      const sent = Uint8Array.from({ length: 512 }, (_, i) => i);
      await edu.write(sent);
      assert.deepEqual(await edu.read(512), sent);
    });
  }
});
