/** Each planted bug of a design is found, by what its table says; the design without one is clean. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findersInAxiDma } from './bugs/axi-dma-work.ts';
import { findersInEdu } from './bugs/edu-work.ts';
import { BUGS, buggy, type Finder, numberOf } from './bugs/planted.ts';
import { type DesignName, missing } from './designs.ts';

if (missing !== undefined) console.log(`planted bugs are skipped: ${missing}`);

const WORK = { edu: findersInEdu, 'axi-dma': findersInAxiDma } as const;

/** Milliseconds. Nothing may be late on a busy machine. Only interrupts that a bug keeps back are waited for in vain. */
const PATIENT = 30_000;
const SHORT = 500;

const found = new Map<string, readonly Finder[]>();
afterAll(() => {
  for (const [name, by] of found) console.log(`  ${name.padEnd(48)} ${by.join(', ')}`);
});

it('the table of docs/rtl.md has each of them, by its name, and what finds it', () => {
  const rows = BUGS.map(({ design, file, found: by }) => {
    const text = readFileSync(join('test', 'rtl', 'bugs', design, `${file}.ts`), 'utf8');
    return `| ${design} | ${/^\/\*\* (.*)\. \*\/$/m.exec(text)?.[1]} | ${by} |`;
  });
  const page = readFileSync(join('docs', 'rtl.md'), 'utf8');
  const table = page.slice(page.indexOf('## What finds a bug'), page.indexOf('## Streams'));
  expect(table.split('\n').filter((line) => /^\| (edu|axi-dma) /.test(line))).toEqual(rows);
});

for (const design of Object.keys(WORK) as DesignName[]) {
  const planted = missing === undefined ? await buggy(design) : undefined;

  describe.skipIf(missing !== undefined)(`planted bugs of ${design}`, () => {
    it('none: nothing is found', async () => {
      expect(await WORK[design](planted!, 0, PATIENT)).toEqual([]);
    });

    for (const { file, found: by, hangs } of BUGS.filter((one) => one.design === design)) {
      it(`${file}: found by ${by}`, async () => {
        const finders = await WORK[design](planted!, numberOf(design, file), hangs ? SHORT : PATIENT);
        found.set(`${design}/${file}`, finders);
        expect(finders).toContain(by);
      });
    }
  });
}
