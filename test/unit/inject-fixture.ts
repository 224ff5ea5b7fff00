/** The edu driver on a device that fails on order, without waiting for its timeouts. */
import { setImmediate as tick } from 'node:timers/promises';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { Edu } from '../../examples/edu/driver.ts';
import { DmaError, openPci } from '../../lib/index.ts';
import {
  EduModel,
  FaultInjector,
  type FaultKind,
  type FaultTiming,
  type FunctionDescription,
  type SimulatedSource,
  type SimulateOptions,
  simulate,
} from '../../lib/sim/index.ts';

/** Turns of the event loop after which nothing will happen any more. */
const IDLE_TURNS = 40;
const TIMEOUT = 1000;

/** Edu with a function-level reset, so that closing it brings it to rest. */
export class ResettableEdu extends EduModel {
  override readonly config: FunctionDescription = {
    vendorId: 0x1234,
    deviceId: 0x11e8,
    intx: true,
    msi: 1,
    functionLevelReset: true,
  };
}

/** The driver's timeouts run out when `outcome` says so, never by the clock. */
export function useOwnTimeouts(): void {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
  afterEach(() => void vi.useRealTimers());
}

/** What a call of the driver comes to. Its timeout is over as soon as nothing happens any more. */
export async function outcome<T>(call: Promise<T>): Promise<T | DmaError> {
  let result: { readonly value: T | DmaError } | undefined;
  let failure: { readonly error: unknown } | undefined;
  call.then(
    (value) => {
      result = { value };
    },
    (error: unknown) => {
      if (error instanceof DmaError) result = { value: error };
      else failure = { error };
    },
  );
  for (let turn = 1; result === undefined && failure === undefined; turn++) {
    if (turn > 10 * IDLE_TURNS) expect.unreachable('the driver hangs');
    if (turn % IDLE_TURNS === 0) vi.advanceTimersByTime(TIMEOUT);
    await tick();
  }
  if (failure !== undefined) throw failure.error;
  return result!.value;
}

export async function codeOf(call: Promise<unknown>): Promise<string | undefined> {
  const value = await outcome(call);
  return value instanceof DmaError ? value.code : undefined;
}

export interface Faulty {
  readonly injector: FaultInjector;
  readonly source: SimulatedSource<EduModel>;
}

export function faulty(options: Omit<SimulateOptions, 'inject'> = {}, seed = 1): Faulty {
  const injector = new FaultInjector({ seed });
  return { injector, source: simulate(new ResettableEdu(), { ...options, inject: injector }) };
}

/** A device that will have faults of one kind. */
export function withFault(kind: FaultKind, when: FaultTiming = {}, options: SimulateOptions = {}): Faulty {
  const made = faulty(options);
  made.injector.on(kind, when);
  return made;
}

/** The driver. What it cannot start on is closed. */
export async function drive(source: SimulatedSource, copybreak?: number): Promise<Edu> {
  // What is left over at the end of a test that provokes failures is not worth a warning.
  const debug = { print: false };
  const fn = await openPci(source, copybreak === undefined ? { debug } : { debug, streaming: { copybreak } });
  try {
    return new Edu(fn, { timeout: TIMEOUT });
  } catch (error) {
    fn.close();
    expect(fn.dma.live).toEqual([]);
    throw error;
  }
}

/** It can still be closed, leaves nothing, and whoever opens it next finds it as new. */
export async function expectRecovery(edu: Edu, { injector, source }: Faulty): Promise<void> {
  edu.close();
  expect(edu.fn.closed).toBe(true);
  expect(edu.fn.dma.live).toEqual([]);
  expect(edu.page.bytes.length).toBe(0);
  injector.off();
  source.plugIn();
  using fresh = await drive(source);
  await expectWorks(fresh);
}

/** Data goes there and back, by both ways. */
export async function expectWorks(edu: Edu): Promise<void> {
  const sent = Uint8Array.from({ length: 300 }, (_, i) => (i * 7 + 1) & 0xff);
  const got = new Uint8Array(300);
  expect(await codeOf(edu.write(sent))).toBe(undefined);
  expect(await outcome(edu.read(300))).toEqual(sent);
  expect(await codeOf(edu.send(sent.subarray(0, 200), 100))).toBe(undefined);
  expect(await codeOf(edu.receive(got.subarray(50, 250), 100))).toBe(undefined);
  expect(got.subarray(50, 250)).toEqual(sent.subarray(0, 200));
  expect(await outcome(edu.factorial(10))).toBe(3628800);
}
