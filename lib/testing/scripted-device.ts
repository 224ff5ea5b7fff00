/** The device of a RegisterScript. It knows the current step of the script, and checks each access against it. */

import { AssertionError } from 'node:assert';
import type { BarDescription, DeviceBus, DeviceModel, FunctionDescription, Width } from '../sim/model.ts';
import {
  describeMade,
  describeStep,
  difference,
  type ExpectedAccess,
  isDeviceStep,
  type Made,
  type Step,
} from './script-step.ts';

/** Steps shown before and after the one that failed. */
const AROUND = 3;

/** A device model that follows a script of register accesses. */
export class ScriptedDevice implements DeviceModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];
  /** The model must not lag: a wrong access throws out of the driver's call that made it. */
  readonly lags = false;
  readonly #steps: Step[] = [];
  /** The index of the next step. */
  #at = 0;
  #failure: AssertionError | undefined;
  #bus!: DeviceBus;

  constructor(bars: readonly BarDescription[], config: FunctionDescription) {
    this.bars = bars;
    this.config = config;
  }

  add(step: Step): void {
    this.#steps.push(step);
  }

  attach(bus: DeviceBus): void {
    this.#bus = bus;
  }

  /** The script goes on, because a driver may reset the device in the middle of it. */
  reset(): void {}

  read(bar: number, offset: number, width: Width): number {
    return Number(this.#access({ write: false, bits: bitsOf(width), bar, offset, value: undefined }));
  }

  read64(bar: number, offset: number): bigint {
    return this.#access({ write: false, bits: 64, bar, offset, value: undefined });
  }

  write(bar: number, offset: number, width: Width, value: number): void {
    this.#access({ write: true, bits: bitsOf(width), bar, offset, value: BigInt(value) });
  }

  write64(bar: number, offset: number, value: bigint): void {
    this.#access({ write: true, bits: 64, bar, offset, value });
  }

  /** @throws AssertionError */
  done(): void {
    if (this.#failure !== undefined) throw this.#failure;
    const left = this.#steps.length - this.#at;
    if (left === 0) return;
    throw new AssertionError({
      message: `${this.#title(`${left} ${left === 1 ? 'step has' : 'steps have'} not happened`)}\n${this.#around()}`,
      actual: 'the end',
      expected: describeStep(this.#steps[this.#at]!).join('\n'),
      operator: 'RegisterScript.done',
    });
  }

  /** Returns the value of a read, or 0 for a write. @throws AssertionError */
  #access(made: Made): bigint {
    this.#act();
    if (this.#failure !== undefined) throw this.#failure;
    const step = this.#steps[this.#at];
    if (step === undefined || isDeviceStep(step)) throw this.#refuse(made, 'the script is over');
    const access = step.accesses.find((one) => one.left > 0 && difference(one, made) === undefined);
    if (access === undefined) throw this.#refuse(made, whatDiffers(step.accesses, made));
    access.left--;
    if (step.accesses.every(({ left }) => left === 0)) this.#advance();
    const { answer = 0 } = access;
    return BigInt.asUintN(made.bits, BigInt(typeof answer === 'function' ? answer() : answer));
  }

  #advance(): void {
    const next = this.#steps[++this.#at];
    if (next !== undefined && isDeviceStep(next)) this.#bus.after(1, () => this.#act());
  }

  /** Does the device's steps that come before the next access of the driver. */
  #act(): void {
    for (let step = this.#steps[this.#at]; step !== undefined; step = this.#steps[this.#at]) {
      if (!isDeviceStep(step)) return;
      // No caller could catch an error here, so it is kept, and the next access or `done` throws it.
      const fail = (why: string) => this.#fail(why, 'RegisterScript', step.text, why);
      try {
        step.run(this.#bus, fail);
      } catch (error) {
        fail(String(error));
      }
      this.#at++;
    }
  }

  #refuse(made: Made, why: string): AssertionError {
    const step = this.#steps[this.#at];
    const expected = step === undefined ? 'the end' : describeStep(step).join('\n');
    return this.#fail(why, 'RegisterScript', expected, describeMade(made), `  got  ${describeMade(made)}`);
  }

  /** Only the first failure is kept. */
  #fail(why: string, operator: string, expected: string, actual: string, got = ''): AssertionError {
    this.#failure ??= new AssertionError({
      message: [this.#title(why), this.#around(), got].filter((part) => part !== '').join('\n'),
      actual,
      expected,
      operator,
    });
    return this.#failure;
  }

  #title(why: string): string {
    const { length } = this.#steps;
    return `register script, ${this.#at < length ? `step ${this.#at + 1} of ${length}` : `after ${length} steps`}: ${why}`;
  }

  /** The steps around the next one, which is marked. */
  #around(): string {
    const first = Math.max(0, this.#at - AROUND);
    const shown = this.#steps.slice(first, this.#at + AROUND + 1);
    return shown
      .flatMap((step, i) => {
        const number = first + i;
        const mark = number === this.#at ? '>' : ' ';
        return describeStep(step).map((line) => `${mark} ${String(number + 1).padStart(3)}  ${line}`);
      })
      .join('\n');
  }
}

function bitsOf(width: Width): 8 | 16 | 32 {
  return (8 * width) as 8 | 16 | 32;
}

function whatDiffers(accesses: readonly ExpectedAccess[], made: Made): string {
  const open = accesses.filter(({ left }) => left > 0);
  const [only] = open;
  if (only === undefined || open.length > 1) return 'none of the accesses that are left in the group';
  return `${difference(only, made)} is not the expected one`;
}
