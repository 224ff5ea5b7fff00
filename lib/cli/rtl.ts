/** userdma rtl: from Verilog to a simulator, and what a simulator does without a driver. */
import { readFileSync } from 'node:fs';
import { DmaError } from '../errors.ts';
import { buildDesign, type CopyRecipe, checkDesign, processDesign, wasmDesign } from '../rtl/index.ts';
import { EXIT } from './exit.ts';
import { toJson } from './output.ts';

export interface RtlBuild {
  readonly json: boolean;
  readonly out: string;
  readonly top?: string;
  readonly wasm?: boolean;
  readonly fst?: boolean;
  readonly clock?: string;
  readonly reset?: string;
  readonly registers?: string;
  readonly memory?: readonly string[];
  readonly include?: readonly string[];
}

export async function build(sources: readonly string[], options: RtlBuild): Promise<void> {
  const { json, wasm, fst, memory, ...rest } = options;
  const built = await buildDesign({
    ...rest,
    sources,
    target: wasm ? 'wasm' : 'process',
    waves: fst ? 'fst' : 'vcd',
    ...(memory !== undefined && { memories: memory }),
  });
  if (json) {
    console.log(toJson(built));
    return;
  }
  const { description, clock, reset } = built.layout;
  const memories = description.memories.map(({ prefix, dataBytes }) => `${prefix}* (${8 * dataBytes} bits)`);
  console.log(`${built.file}: ${description.top}, clock ${clock}, reset ${reset}`);
  console.log(`registers ${description.registers.prefix}*, memory ${memories.join(', ') || 'none'}`);
}

export interface RtlCheck {
  readonly json: boolean;
  readonly registers?: string;
  readonly readOnly?: readonly string[];
  readonly pin?: readonly string[];
  readonly copy?: string;
}

export function check(file: string, { json, registers, readOnly = [], pin = [], copy }: RtlCheck): void {
  const design = file.endsWith('.wasm')
    ? wasmDesign(file)
    : processDesign(file.includes('/') ? file : `./${file}`);
  const result = checkDesign(design, {
    readOnly: readOnly.map(parseOffset),
    pins: Object.fromEntries(pin.map(parsePin)),
    ...(registers !== undefined && { registers: Number(registers) }),
    ...(copy !== undefined && { copy: readRecipe(copy) }),
  });
  const { reads, writes, fastest, slowest, copies, bytesPerClock, problems } = result;
  if (problems.length > 0) process.exitCode = EXIT.failed;
  if (json) {
    console.log(toJson(result));
    return;
  }
  const clocks = fastest === undefined ? 'none was answered' : `${fastest} to ${slowest} clocks`;
  console.log(`registers: ${reads} reads, ${writes} writes, ${clocks} without back-pressure`);
  if (bytesPerClock !== undefined) {
    console.log(
      `copies: ${copies}, at most ${bytesPerClock.toFixed(2)} bytes a clock with their register accesses`,
    );
  }
  for (const problem of problems) console.log(`problem: ${problem}`);
  console.log(problems.length === 0 ? 'nothing is wrong' : `${problems.length} problems`);
}

const NUMBER = /^(0x[0-9a-f]+|\d+)$/i;

function parseOffset(text: string): number {
  if (NUMBER.test(text)) return Number(text);
  throw new DmaError('EINVAL', `${text} is no offset`, { remedy: 'write --read-only OFFSET, e.g. 0x10' });
}

function parsePin(text: string): [string, number] {
  const [name = '', value = ''] = text.split('=');
  if (name !== '' && NUMBER.test(value)) return [name, Number(value)];
  throw new DmaError('EINVAL', `${text} is no input with a value`, { remedy: 'write --pin NAME=NUMBER' });
}

/** @throws DmaError ENOENT, EINVAL */
function readRecipe(file: string): CopyRecipe {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new DmaError('ENOENT', `${file} cannot be read`, { remedy: 'check the path', cause: error });
  }
  try {
    const recipe = JSON.parse(text) as CopyRecipe;
    if (Array.isArray(recipe.steps)) return recipe;
  } catch {
    // The same as one without steps.
  }
  throw new DmaError('EINVAL', `${file} is no recipe of a copy`, {
    remedy: 'write {"steps": [...]}: docs/rtl.md has one',
  });
}
