/** The check of a design without a driver: nothing is wrong with edu, and what is planted in it is named. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { check } from '../../lib/cli/rtl.ts';
import { type CheckOptions, type CopyRecipe, checkDesign } from '../../lib/rtl/index.ts';
import { buggy, numberOf } from './bugs/planted.ts';
import { design, missing, TARGETS } from './designs.ts';

const copy = JSON.parse(readFileSync(join('examples', 'edu', 'rtl', 'copy.json'), 'utf8')) as CopyRecipe;
if (missing !== undefined) console.log(`the check of designs is skipped: ${missing}`);
const planted = missing === undefined ? await buggy('edu') : undefined;
if (missing === undefined) for (const target of TARGETS) await design('edu', target);

describe.skipIf(missing !== undefined)('a check without a driver', () => {
  for (const target of TARGETS) {
    it(`${target}: registers and copies of edu are right`, async () => {
      const result = checkDesign(await design('edu', target), {
        registers: 0xa0,
        pins: { dma_bits: 40 },
        copy,
      });
      // A read and a write of each of 40 registers, twice. Polls of the copies are not among them.
      expect(result).toMatchObject({ problems: [], copies: 2 * 15 * 6 * 4, reads: 80, writes: 80 });
      expect(result.fastest).toBeGreaterThanOrEqual(2);
      expect(result.bytesPerClock).toBeGreaterThan(3);
    });
  }

  const told: readonly [string, RegExp][] = [
    ['strobes-a-byte-too-many', /changes bytes beside it/],
    ['moves-a-byte-less', /is wrong/],
    ['withdraws-wvalid', /m_axi_wvalid was withdrawn/],
    ['forgets-wlast', /m_axi_wlast/],
  ];
  for (const [name, problem] of told) {
    it(`${name}: named`, () => {
      const pins = { dma_bits: 40, bug: numberOf('edu', name) };
      const { problems } = checkDesign(planted!, { registers: 0xa0, pins, copy });
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

  const until = { until: 0x98, mask: 1, is: 0 };
  const recipes: readonly [unknown, string][] = [
    [null, 'null'],
    [{ steps: 'none' }, '{"steps":"none"}'],
    [{ steps: [null] }, 'null'],
    [{ steps: [{ write: 0 }] }, '{"write":0}'],
    [{ steps: [{ until: 0, mask: 1 }] }, '{"until":0,"mask":1}'],
    [{ steps: [{ write: null, value: 0 }] }, 'null'],
    [{ steps: [{ write: '', value: 0 }] }, '""'],
    [{ steps: [{ write: 0x80, value: 'toString' }] }, '"toString"'],
    [{ steps: [{ write: 0x80, value: 'length.high.high' }] }, '"length.high.high"'],
    [{ steps: [{ write: 0x80, value: -1.5 }] }, '-1.5'],
    [{ steps: [until, { ...until, mask: Number.NaN }] }, 'NaN'],
    [{ steps: [until], longest: 0 }, '0'],
  ];
  for (const [recipe, named] of recipes) {
    it(`refuses the recipe ${JSON.stringify(recipe)}`, async () => {
      const run = async () => checkDesign(await design('edu', 'wasm'), { copy: recipe as CopyRecipe });
      await expect(run()).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringContaining(`${named} in the recipe`),
      });
    });
  }

  for (const offset of [2, -4, 0xa0, 0x9e, Number.NaN]) {
    it(`refuses ${offset} as a register that is only read`, async () => {
      const options: CheckOptions = { registers: 0xa0, readOnly: [offset] };
      const run = async () => checkDesign(await design('edu', 'wasm'), options);
      await expect(run()).rejects.toMatchObject({ code: 'EINVAL', message: expect.stringMatching(/offset/) });
    });
  }

  it('has no fastest access when none is answered', async () => {
    const result = checkDesign(await design('edu', 'wasm'), { registers: 4, pins: { rst_n: 0 } });
    expect(result).toMatchObject({ fastest: undefined, slowest: undefined, reads: 2, writes: 2 });
    expect(result.problems).toContain('a read at 0x0 is not answered');
  });
});

it('userdma rtl check refuses an offset that is no number, before it opens anything', () => {
  for (const offset of ['abc', '', '1e3', '-4']) {
    expect(() => check('nowhere.wasm', { json: false, readOnly: [offset] })).toThrow(/is no offset/);
  }
});
