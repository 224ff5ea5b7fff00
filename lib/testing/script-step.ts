/** The steps of a register script: accesses that the driver must make, and actions of the device in between. */
import type { DeviceBus } from '../sim/model.ts';

export type Bits = 8 | 16 | 32 | 64;

/** A value as hardware has it, unsigned, or a function that returns true for a right value. */
export type Expected = number | bigint | ((value: bigint) => boolean);

/** The value that a read returns. */
export type Answer = number | bigint | (() => number | bigint);

/** An access that the driver made. */
export interface Made {
  readonly write: boolean;
  readonly bits: Bits;
  readonly bar: number;
  readonly offset: number;
  /** The value of a write; undefined for a read. */
  readonly value: bigint | undefined;
}

/** An access that the driver must make. */
export interface ExpectedAccess {
  readonly write: boolean;
  readonly bits: Bits;
  readonly bar: number;
  readonly offset: number;
  /** For a write only. */
  readonly expected: Expected | undefined;
  /** For a read only. */
  readonly answer: Answer | undefined;
  /** How often the driver must still make it. */
  left: number;
}

/** Accesses that may come in any order. Mostly there is only one. */
export interface AccessStep {
  readonly accesses: readonly ExpectedAccess[];
}

export interface DeviceStep {
  readonly text: string;
  /** @param fail reports that the memory is not as the script expects */
  run(bus: DeviceBus, fail: (why: string) => void): void;
}

export type Step = AccessStep | DeviceStep;

export function isDeviceStep(step: Step): step is DeviceStep {
  return 'run' in step;
}

/** The part that differs; undefined if it is the expected access. */
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
