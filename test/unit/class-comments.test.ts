/** Every exported class says what it is: a comment stands before it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const LIB = fileURLToPath(new URL('../../lib', import.meta.url));

it('every exported class of lib has a comment', () => {
  const bare = readdirSync(LIB, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .flatMap((path) => {
      const lines = readFileSync(join(LIB, path), 'utf8').split('\n');
      return lines.flatMap((line, i) => {
        const name = /^export (?:abstract )?class (\w+)/.exec(line)?.[1];
        const before = lines[i - 1] ?? '';
        return name === undefined || before.endsWith('*/') || before.startsWith('//')
          ? []
          : [`${path}: ${name}`];
      });
    });
  expect(bare).toEqual([]);
});
