/** Interrupts by eventfd: counted, coalesced, never lost, and the process alive exactly as long as wanted. */
import { assert, it } from '../harness.ts';
import { describeNative, runScript } from './support.ts';

const EBADF = -9;

/** Two turns of the event loop: what was signalled before is polled in them, however busy the machine. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
}

describeNative('an interrupt', (addon) => {
  it('delivers from the event loop, never inside the call that signals', async () => {
    const counts: number[] = [];
    const interrupt = addon.interruptCreate((count) => counts.push(count));
    addon.testing.signal(interrupt, 1);
    assert.deepEqual(counts, []);
    await settle();
    assert.deepEqual(counts, [1]);
    addon.interruptClose(interrupt);
  });

  it('coalesces signals that come before the loop turns, and counts them', async () => {
    const counts: number[] = [];
    const interrupt = addon.interruptCreate((count) => counts.push(count));
    for (const count of [1, 2, 4]) addon.testing.signal(interrupt, count);
    await settle();
    assert.deepEqual(counts, [7]);
    addon.interruptClose(interrupt);
  });

  it('counts as far as a number of signals goes, however many there are', async () => {
    const counts: number[] = [];
    const interrupt = addon.interruptCreate((count) => counts.push(count));
    for (let i = 0; i < 1025; i++) addon.testing.signal(interrupt, Number.MAX_SAFE_INTEGER);
    await settle();
    assert.deepEqual(counts, [2 ** 63]);
    addon.testing.signal(interrupt, 1);
    await settle();
    assert.deepEqual(counts, [2 ** 63, 1]);
    addon.interruptClose(interrupt);
  });

  it('loses none of 1000', async () => {
    let total = 0;
    const interrupt = addon.interruptCreate((count) => {
      total += count;
    });
    for (let i = 0; i < 1000; i++) {
      addon.testing.signal(interrupt, 1);
      if (i % 7 === 0) await new Promise(setImmediate);
    }
    await settle();
    assert.equal(total, 1000);
    addon.interruptClose(interrupt);
  });

  it('keeps many apart', async () => {
    const totals = new Array<number>(64).fill(0);
    const interrupts = totals.map((_, index) =>
      addon.interruptCreate((count) => {
        totals[index]! += count;
      }),
    );
    interrupts.forEach((interrupt, index) => void addon.testing.signal(interrupt, index + 1));
    await settle();
    assert.deepEqual(
      totals,
      totals.map((_, index) => index + 1),
    );
    for (const interrupt of interrupts) assert.equal(addon.interruptClose(interrupt), 0);
  });

  it('is silent after close, also when closed with a signal pending or by its own callback', async () => {
    let calls = 0;
    const pending = addon.interruptCreate(() => calls++);
    addon.testing.signal(pending, 1);
    assert.equal(addon.interruptClose(pending), 0);
    const own = addon.interruptCreate(() => {
      calls += 10;
      assert.equal(addon.interruptClose(own), 0);
    });
    addon.testing.signal(own, 1);
    await settle();
    assert.equal(calls, 10);
    for (const closed of [pending, own]) {
      assert.equal(addon.interruptClose(closed), EBADF);
      assert.equal(addon.interruptFd(closed), EBADF);
      assert.equal(addon.interruptRef(closed, true), EBADF);
      assert.equal(addon.testing.signal(closed, 1), EBADF);
    }
  });

  it('keeps the process alive by default, and not when unreferenced', () => {
    const waiting = runScript(
      `const i = addon.interruptCreate((n) => { console.log(n); addon.interruptClose(i); });
       setTimeout(() => addon.testing.signal(i, 5), 50).unref();`,
    );
    assert.deepEqual([waiting.status, waiting.stdout], [0, '5\n']);
    const idle = runScript(
      `const i = addon.interruptCreate(() => console.log('never'));
       addon.interruptRef(i, false);`,
    );
    assert.deepEqual([idle.status, idle.stdout], [0, '']);
  });

  it('makes what its callback throws an uncaught exception, and runs its microtasks', () => {
    const outcome = runScript(
      `process.on('uncaughtException', (error) => { console.log('caught', error.message); });
       const i = addon.interruptCreate((n) => {
         Promise.resolve().then(() => console.log('microtask', n));
         if (n === 2) { addon.interruptClose(i); return; }
         setImmediate(() => addon.testing.signal(i, 2));
         throw new Error('from the callback');
       });
       addon.testing.signal(i, 1);`,
    );
    assert.deepEqual(
      [outcome.status, outcome.stdout.trim().split('\n').sort()],
      [0, ['caught from the callback', 'microtask 1', 'microtask 2']],
    );
  });
});
