/** What a register script is made of: accesses that the driver has to make, and what the device does in between. */
import type { DeviceBus } from '../sim/model.ts';

export type Bits = 8 | 16 | 32 | 64;

/** A value as hardware has it, unsigned, or what decides whether one is right. */
export type Expected = number | bigint | ((value: bigint) => boolean);

/** What a read returns. */
export type Answer = number | bigint | (() => number | bigint);

/** An access the driver made. */
export interface Made {
  readonly write: boolean;
  readonly bits: Bits;
  readonly bar: number;
  readonly offset: number;
  /** Of a write. */
  readonly value: bigint | undefined;
}

/** An access the driver has to make. */
export interface ExpectedAccess {
  readonly write: boolean;
  readonly bits: Bits;
  readonly bar: number;
  readonly offset: number;
  /** Of a write. */
  readonly expected: Expected | undefined;
  /** Of a read. */
  readonly answer: Answer | undefined;
  /** How often it still has to be made. */
  left: number;
}

/** Accesses that may come in any order; mostly it is one. */
export interface AccessStep {
  readonly accesses: readonly ExpectedAccess[];
}

export interface DeviceStep {
  readonly text: string;
  /** @param fail says that what the device met is not what the script has */
  run(bus: DeviceBus, fail: (why: string) => void): void;
}

export type Step = AccessStep | DeviceStep;

export function isDeviceStep(step: Step): step is DeviceStep {
  return 'run' in step;
}

/** What is different; undefined when it is the access that was expected. */
export function difference(expected: ExpectedAccess, made: Made): string | undefined {
  if (expected.write !== made.write) return 'the kind of access';
  if (expected.bar !== made.bar) return 'the BAR';
  if (expected.offset !== made.offset) return 'the offset';
  if (expected.bits !== made.bits) return 'the width';
  return made.write && !isRight(expected.expected!, made.value!) ? 'the value' : undefined;
}

function isRight(expected: Expected, value: bigint): boolean {
  return typeof expected === 'function' ? expected(value) : BigInt(expected) === value;
}

/** The lines of a step, e.g. `write32 BAR 0 +0x80 = 0x1234`. */
export function describeStep(step: Step): string[] {
  if (isDeviceStep(step)) return [step.text];
  return step.accesses.map((access) => {
    const { left, answer, expected } = access;
    const value = access.write ? ` = ${describeValue(expected)}` : ` -> ${describeValue(answer)}`;
    const done = left === 0 && step.accesses.length > 1 ? ' (done)' : '';
    return `${describePlace(access)}${value}${left > 1 ? `, ${left} times` : ''}${done}`;
  });
}

export function describeMade(made: Made): string {
  return describePlace(made) + (made.value === undefined ? '' : ` = ${describeValue(made.value)}`);
}

function describePlace({
  write,
  bits,
  bar,
  offset,
}: Pick<Made, 'write' | 'bits' | 'bar' | 'offset'>): string {
  return `${write ? 'write' : 'read'}${bits} BAR ${bar} +0x${offset.toString(16).padStart(2, '0')}`;
}

function describeValue(value: Expected | Answer | undefined): string {
  if (typeof value === 'function') return value.name === '' ? 'what a function says' : value.name;
  return `0x${(value ?? 0).toString(16)}`;
}
