/** The check of a design without a driver: nothing is wrong with edu, and what is planted in it is named. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CopyRecipe, checkDesign } from '../../lib/rtl/index.ts';
import { BUGS, sourcesWithBugs } from './bugs.ts';
import { built, design, missing, TARGETS } from './designs.ts';

const copy = JSON.parse(readFileSync(join('examples', 'edu', 'rtl', 'copy.json'), 'utf8')) as CopyRecipe;
const sources = sourcesWithBugs(join('build', 'rtl-bugs'), join('examples', 'edu', 'rtl'));
if (missing !== undefined) console.log(`the check of designs is skipped: ${missing}`);
const buggy = missing === undefined ? await built('edu-bugs', 'wasm', { sources, top: 'edu' }) : undefined;
if (missing === undefined) for (const target of TARGETS) await design('edu', target);

describe.skipIf(missing !== undefined)('a check without a driver', () => {
  for (const target of TARGETS) {
    it(`${target}: registers and copies of edu are right`, async () => {
      const result = checkDesign(await design('edu', target), {
        registers: 0xa0,
        pins: { dma_bits: 40 },
        copy,
      });
      expect(result).toMatchObject({ problems: [], copies: 2 * 15 * 6 * 4, reads: expect.any(Number) });
      expect(result.fastest).toBeGreaterThanOrEqual(2);
      expect(result.bytesPerClock).toBeGreaterThan(3);
    });
  }

  const told: readonly [string, RegExp][] = [
    ['a byte too many is written', /changes bytes beside it/],
    ['the length is one short', /is wrong/],
    ['WVALID is withdrawn', /m_axi_wvalid was withdrawn/],
    ['WLAST is missing', /m_axi_wlast/],
  ];
  for (const [name, problem] of told) {
    it(`${name}: named`, () => {
      const bug = BUGS.findIndex((one) => one.name === name) + 1;
      const { problems } = checkDesign(buggy!, { registers: 0xa0, pins: { dma_bits: 40, bug }, copy });
      expect(problems).toContainEqual(expect.stringMatching(problem));
    });
  }

  it('refuses a window, a pin and a recipe that cannot be', async () => {
    const edu = await design('edu', 'wasm');
    expect(() => checkDesign(edu, { registers: 2 ** 21 })).toThrow(/register window of 2097152/);
    expect(() => checkDesign(edu, { pins: { nothing: 1 } })).toThrow(/no input nothing/);
    const steps = [{ write: 0x80, value: 'elsewhere' }];
    expect(() => checkDesign(edu, { registers: 4, copy: { steps } })).toThrow(/"elsewhere" in the recipe/);
  });
});
