/** A checkout is installed with npm. Both yarns refuse it in one sentence, instead of failing in the middle. */
import { spawnSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';
import type { Cell } from './cell.ts';

const FILES = ['package.json', 'package-lock.json', 'binding.gyp', '.yarnrc.yml', 'test/package/no-yarn.cjs'];
const SENTENCE = 'This repository is installed with npm: run npm ci\n';

/** @param yarns packages that have the command yarn */
export function checkout(yarns: readonly string[]): Cell {
  return {
    name: 'a checkout refuses yarn, and says what to run',
    run(folder) {
      for (const file of FILES) cpSync(join(packageRoot(), file), join(folder, file));
      for (const yarn of yarns) {
        const words = ['exec', '--yes', `--package=${yarn}`, '--', 'yarn', 'install'];
        const { status, stdout, stderr } = spawnSync('npm', words, { cwd: folder, encoding: 'utf8' });
        if (status !== 1 || stderr !== SENTENCE || stdout !== '')
          throw new Error(`${yarn}: ${stdout}${stderr}`);
      }
    },
  };
}
