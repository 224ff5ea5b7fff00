/**
 * The public border: every public function, every argument and every option with hostile values. What comes back is a
 * DmaError with a code and a remedy, or success, and nothing else: no TypeError, no uncaught exception, no hang.
 */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'vitest';
import * as main from '../../lib/index.ts';
import { setMachineDefaults } from '../../lib/sim/defaults.ts';
import * as sim from '../../lib/sim/index.ts';
import * as testing from '../../lib/testing/index.ts';
import { ABSTRACT, type Arguments, EXPORTS, NO_OPTIONS, SUBJECTS } from './table.ts';
import { HOSTILE } from './values.ts';
import { openWorld, type World } from './world.ts';

const MODULES: Readonly<Record<string, object>> = { main, sim, testing };

/** One call with hostile values in it. */
interface Trial {
  readonly text: string;
  /** Whether success is a mistake. */
  readonly refused?: boolean;
  /** Replaces what is right in right arguments. */
  alter(parameters: unknown[]): unknown[];
}

const RIGHT: Trial = { text: 'right arguments', alter: (list) => list };

/**
 * A call that is refused changes nothing, so that the next one is made on the same objects: that is most of them, and opening
 * a function is what takes the time. USERDMA_BORDER=alone makes each call on objects of its own.
 */
const EVERY_CALL_ALONE = process.env.USERDMA_BORDER === 'alone';

// What checkDmaAfterEach has said of machines is not for the other tests.
afterEach(() => setMachineDefaults({}));

describe('hostile arguments', () => {
  for (const [module, exports] of Object.entries(MODULES)) {
    for (const [name, value] of Object.entries(exports)) {
      if (typeof value !== 'function' || ABSTRACT.includes(name)) continue;
      it(`${module}: ${name}`, async () => {
        const right = EXPORTS[module]![name];
        assert.ok(right, `${name} has no entry in table.ts`);
        const isClass = /^class\b/.test(Function.prototype.toString.call(value));
        const act = (_subject: unknown, parameters: unknown[]) =>
          isClass ? Reflect.construct(value, parameters) : Reflect.apply(value, undefined, parameters);
        assert.deepEqual(await problemsOf({ name, debug: false, make: () => undefined, act, right }), []);
      });
    }
  }
  for (const [name, { make, calls, debugged, internal = [] }] of Object.entries(SUBJECTS)) {
    for (const debug of debugged ? [false, true] : [false]) {
      it(`${name}${debug ? ', debugged' : ''}`, async () => {
        const world = await openWorld(debug);
        const subject = make(world);
        const members = subject === undefined ? [] : membersOf(subject);
        world.close();
        const missing = members.filter((member) => !(member in calls) && !internal.includes(member));
        assert.deepEqual(missing, [], `methods of ${name} without an entry in table.ts`);
        const failures: string[] = [];
        for (const member of members) {
          const right = calls[member];
          if (right === undefined) continue;
          const act = (made: unknown, parameters: unknown[]) => use(made as object, member, parameters);
          failures.push(...(await problemsOf({ name: member, debug, make, act, right })));
        }
        assert.deepEqual(failures, []);
      });
    }
  }
});

/** Methods, and setters as `set name`; those that are named by symbols take no arguments. */
function membersOf(subject: unknown): string[] {
  const members = new Set<string>();
  let level = subject as object;
  while (level !== Object.prototype && level !== Function.prototype && level !== null) {
    for (const [name, { value, set }] of Object.entries(Object.getOwnPropertyDescriptors(level))) {
      if (set !== undefined) members.add(`set ${name}`);
      else if (typeof value === 'function' && name !== 'constructor') members.add(name);
    }
    level = Object.getPrototypeOf(level);
  }
  return [...members];
}

function use(subject: object, member: string, parameters: unknown[]): unknown {
  if (member.startsWith('set ')) return Reflect.set(subject, member.slice(4), parameters[0]);
  return (subject as Record<string, (...values: unknown[]) => unknown>)[member]!(...parameters);
}

/** A function or a method under trial. */
interface Call {
  readonly name: string;
  readonly debug: boolean;
  make(world: World): unknown;
  act(subject: unknown, parameters: unknown[]): unknown;
  readonly right: Arguments;
}

/** What the call is made on. */
interface Place {
  readonly world: World;
  readonly subject: unknown;
}

async function problemsOf(call: Call): Promise<string[]> {
  const first = await openWorld(call.debug);
  const trials = trialsOf(call.name, call.right(first));
  first.close();
  const failures: string[] = [];
  let place: Place | undefined;
  for (const trial of trials) {
    place ??= await placeOf(call);
    const { problem, settled } = await outcome(place, call, trial);
    if (problem !== undefined) failures.push(`${call.name}, ${trial.text}: ${problem}`);
    if (settled === 'refused' && !EVERY_CALL_ALONE) continue;
    place.world.close();
    place = undefined;
  }
  if (place === undefined) return failures;
  // Calls that were refused have changed nothing: the right call goes on as if they had never been.
  const { problem } = await outcome(place, call, RIGHT);
  if (problem !== undefined) failures.push(`${call.name}, after calls that were refused: ${problem}`);
  place.world.close();
  return failures;
}

async function placeOf({ debug, make }: Call): Promise<Place> {
  const world = await openWorld(debug);
  return { world, subject: make(world) };
}

interface Outcome {
  /** Undefined when it went well. */
  readonly problem?: string | undefined;
  readonly settled: 'refused' | 'accepted';
}

async function outcome({ world, subject }: Place, { act, right }: Call, trial: Trial): Promise<Outcome> {
  try {
    const result = act(subject, trial.alter([...right(world)]));
    if (!(result instanceof Promise)) return accepted(trial);
    const settled = result.then((value) => {
      value?.close?.();
      return accepted(trial);
    }, refused);
    const early = await Promise.race([settled, turns(3)]);
    if (early !== undefined) return early;
    // A wait for the device ends when the function is closed.
    world.close();
    return { ...(await settled), settled: 'accepted' };
  } catch (error) {
    return refused(error);
  }
}

async function turns(count: number): Promise<undefined> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function accepted(trial: Trial): Outcome {
  return { problem: trial.refused ? 'accepted' : undefined, settled: 'accepted' };
}

function refused(error: unknown): Outcome {
  return { problem: judge(error), settled: 'refused' };
}

function judge(error: unknown): string | undefined {
  if (!(error instanceof main.DmaError))
    return `${(error as Error)?.stack?.split('\n').slice(0, 3).join(' ')}`;
  if (!/; ./.test(error.message)) return `no remedy: ${error.message}`;
  if (/\[object /.test(error.message)) return `unclear: ${error.message}`;
  return undefined;
}

function trialsOf(name: string, parameters: readonly unknown[]): Trial[] {
  const trials: Trial[] = [RIGHT];
  parameters.forEach((parameter, index) => {
    trials.push({ text: `only ${index} arguments`, alter: (list) => list.slice(0, index) });
    for (const [path, known] of placesIn(parameter)) {
      for (const [kind, value] of HOSTILE) {
        const text = `argument ${index}${path.map((key) => `.${key}`).join('')} is ${kind}`;
        trials.push({ text, alter: (list) => replace(list, [index, ...path], value()) });
      }
      const place = [name, [index, ...path].join('.')].join(' ');
      if (!known || NO_OPTIONS.includes(place)) continue;
      const text = `argument ${index}${path.map((key) => `.${key}`).join('')} has an option nobody knows`;
      trials.push({ text, refused: true, alter: (list) => replace(list, [index, ...path, 'debg'], true) });
    }
  });
  return trials;
}

/** The argument itself, and every option in it; and whether that is an object of options. */
function placesIn(parameter: unknown): (readonly [path: readonly (string | number)[], options: boolean])[] {
  const isOptions = isPlain(parameter);
  const inner = isOptions
    ? Object.entries(parameter as object).flatMap(([key, value]) =>
        placesIn(value).map(([path, options]) => [[key, ...path], options] as const),
      )
    : [];
  return [[[], isOptions], ...inner];
}

function isPlain(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function replace(target: unknown, [key, ...path]: readonly (string | number)[], value: unknown): unknown[] {
  const copy = Array.isArray(target) ? [...target] : { ...(target as object) };
  const inner = (copy as Record<string | number, unknown>)[key!];
  (copy as Record<string | number, unknown>)[key!] = path.length === 0 ? value : replace(inner, path, value);
  return copy as unknown[];
}
