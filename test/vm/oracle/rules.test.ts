/**
 * The library and the kernel that this machine runs get the same requests, and have to agree (test/oracle). What differs
 * on purpose has a name in docs/dma-api.md.
 */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { assert, describe, it } from '../../harness.ts';
import { Comparison } from '../../oracle/comparison.ts';
import { fillMasks, overfillMask } from '../../oracle/edges.ts';
import { Kernel, memoryRanges } from '../../oracle/kernel.ts';
import { Library } from '../../oracle/library.ts';
import { Sequence } from '../../oracle/sequence.ts';
import { settingsOf } from '../../oracle/settings.ts';

const settings = settingsOf(process.env.USERDMA_VM!);
const seed = Number(process.env.USERDMA_TEST_SEED ?? randomInt(2 ** 31));
const operations = Number(process.env.USERDMA_TEST_OPERATIONS ?? 10_000);
/** Requests between two comparisons. */
const BATCH = 2000;

describe(`the kernel's rules, seed ${seed}`, () => {
  for (const setting of settings) {
    it(setting.name, async () => {
      const kernel = new Kernel(process.env.USERDMA_TEST_MODULE!);
      const library = await Library.open(setting, memoryRanges(), false);
      const comparison = new Comparison(kernel, library, setting);
      const sequence = new Sequence(seed, setting);
      const started = performance.now();
      try {
        comparison.run(sequence.begin());
        // All memory is mapped in place, so that each mapping takes an address of its own.
        const hasEdges = setting.translated && setting.copybreak === 0;
        if (hasEdges) comparison.run([...fillMasks(), ...sequence.begin()]);
        while (comparison.operations < operations / settings.length) {
          comparison.run(sequence.next(BATCH));
          if (comparison.unexplained.length > 0) break;
        }
        comparison.run(sequence.end());
        if (hasEdges) comparison.run(overfillMask());
      } finally {
        library.close();
        kernel.close();
      }
      const seconds = (performance.now() - started) / 1000;
      console.log(
        `${setting.name}: ${comparison.operations} operations in ${seconds.toFixed(1)} s, ${(comparison.kernelTime / 1000).toFixed(1)} s of it in the kernel`,
      );
      console.log(`  ${comparison.skipped} more on one side only`);
      for (const [name, { count, first }] of comparison.known)
        console.log(`  ${name}: ${count}, first ${first.slice(0, 300)}`);
      assert.deepEqual(comparison.unexplained.slice(0, 10), []);
      const rows = readFileSync('docs/dma-api.md', 'utf8');
      const unnamed = [...comparison.known.keys()].filter((name) => !rows.includes(`\n| ${name} | `));
      assert.deepEqual(unnamed, [], 'differences without a row in docs/dma-api.md');
    });
  }
});
