/** An error of the device that the system could not correct, in both worlds. */
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { openFunction } from '../hardware.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { until } from '../until.ts';

/** Uncorrectable Error Status, PCI Express Base 7.8.4.2: completion timeout. */
const COMPLETION_TIMEOUT = 1 << 14;
/** The kernel's module for this (struct aer_error_inj). */
const INJECTOR = '/dev/aer_inject';

interface FailingWorld {
  open(): Promise<PciFunction>;
  fail(): void;
}

const address = process.env.USERDMA_TEST_NIC_INJECTED;

function newWorld(): FailingWorld {
  if (address !== undefined) return { open: () => openFunction(address), fail: () => inject(address) };
  const source = simulate(new EduModel());
  return { open: () => openPci(source), fail: () => source.reportError() };
}

function inject(where: string): void {
  const [bus = '', slot = '', fn = ''] = where.slice(where.indexOf(':') + 1).split(/[:.]/);
  const error = Buffer.alloc(32);
  error[0] = Number.parseInt(bus, 16);
  error[1] = Number.parseInt(slot, 16);
  error[2] = Number.parseInt(fn, 16);
  error.writeUInt32LE(COMPLETION_TIMEOUT, 4);
  assert.ok(existsSync(INJECTOR));
  writeFileSync(INJECTOR, error);
}

describe('an error that nothing corrects', () => {
  const world = newWorld();
  let fn: PciFunction;

  beforeEach(async () => {
    fn = await world.open();
  });
  afterEach(() => fn.close());

  it('is told to every listener, each time, until it ends that', async () => {
    const told: string[] = [];
    // Listening keeps no process alive: something else has to.
    const heard = (count: number): Promise<void> =>
      until(() => told.length >= count, `${count} listeners are told`, 1);
    const end = fn.onError(() => void told.push('first'));
    fn.onError(() => void told.push('second'));
    world.fail();
    await heard(2);
    assert.deepEqual(told, ['first', 'second']);
    end();
    world.fail();
    await heard(3);
    assert.deepEqual(told, ['first', 'second', 'second']);
    // The device is there, and nothing has been done about it.
    assert.equal(fn.isPresent(), true);
    assert.equal(fn.gone.aborted, false);
  });

  it('is told to nobody once the function is closed', async () => {
    fn.onError(() => assert.fail('told'));
    world.fail();
    fn.close();
    await sleep(20);
  });

  it('takes functions as listeners', () => {
    for (const listen of [() => fn.onError(1 as never), () => fn.onReleaseRequest(undefined as never)]) {
      assert.throws(listen, /pass a function/);
    }
  });
});
