/** The addon when its environment ends, in every way one can, with regions live and interrupts armed. */
import { assert, it } from '../harness.ts';
import { addonPath, describeNative, MMIO_SCRIPT, runScript } from '../native/support.ts';

/** CommonJS: opens one of everything and leaves it open. */
const OPEN = `
  const addon = require(${JSON.stringify(addonPath)});
  ${MMIO_SCRIPT}
  const region = addon.regionCreate(1 << 20, false);
  const views = [0, 4096, 8192].map((at) => new Uint8Array(addon.regionCarve(region, at, 4096)));
  globalThis.keep = views;
  // As the memory of a freed allocation rests, and as it is handed out again (lib/memory/resting.ts).
  const renew = (buffer) => ('transfer' in buffer ? buffer.transfer() : addon.renew(buffer));
  for (const at of [12288, 16384]) {
    const renewed = renew(addon.regionCarve(region, at, 4096));
    require('node:worker_threads').markAsUntransferable(renewed);
    addon.unlock(renewed);
    keep.push(at === 12288 ? renewed : new Uint8Array(renew(renewed)));
  }
  const revoked = addon.regionCreate(1 << 20, false);
  keep.push(new Uint8Array(addon.regionCarve(revoked, 0, 4096)));
  addon.regionRevoke(revoked);
  const window = addon.testing.windowFromRegion(region, 0, 8192, 64, 64);
  addon.testing.windowPastEnd(4096);
  const fd = addon.regionFd(region);
  addon.fileWindowOpen(fd, 0, 0, 4096, true);
  addon.fileWindowOpen(fd, 0, 0, 4096, false);
  const node = addon.uDmaBufOpen('/proc/self/fd/' + fd, 1 << 20, false, false);
  keep.push(new Uint8Array(addon.regionCarve(node, 0, 4096)));
  const interrupts = [1, 2, 3].map(() => addon.interruptCreate(() => {}));
  interrupts.push(addon.uioInterruptCreate(addon.interruptFd(interrupts[1]), 0, () => {}));
  const closing = addon.interruptCreate(() => {});
  addon.testing.signal(interrupts[0], 1);
  const release = () => { for (const interrupt of interrupts) addon.interruptRef(interrupt, false); };
`;

/** How a worker ends, and the exit code its parent sees. */
const ENDINGS: [string, string, number][] = [
  ['returns', 'release(); addon.interruptClose(closing);', 0],
  [
    'returns with a close under way',
    'release(); addon.interruptRef(closing, false); addon.interruptClose(closing);',
    0,
  ],
  ['exits', 'process.exit(7);', 7],
  [
    'exits from an interrupt',
    'const i = addon.interruptCreate(() => process.exit(8)); addon.testing.signal(i, 1);',
    8,
  ],
  ['throws', "throw new Error('on purpose');", 1],
  [
    'throws from an interrupt',
    "const i = addon.interruptCreate(() => { throw new Error('on purpose'); }); addon.testing.signal(i, 1);",
    1,
  ],
  ['is terminated while idle', "require('worker_threads').parentPort.postMessage('ready');", 1],
  [
    'is terminated in a busy loop',
    "require('worker_threads').parentPort.postMessage('ready'); for (;;) mmio.mmioRead32(window, 0);",
    1,
  ],
];

/** Runs the worker `times` over, several at once, and prints every exit code. */
function inWorkers(body: string, times: number): string {
  return `
    const { Worker } = require('worker_threads');
    const code = ${JSON.stringify(OPEN + body)};
    const one = () => new Promise((resolve) => {
      const worker = new Worker(code, { eval: true });
      worker.on('error', () => {});
      worker.on('message', () => worker.terminate());
      worker.on('exit', resolve);
    });
    (async () => {
      const codes = [];
      for (let i = 0; i < ${times}; i += 4) codes.push(...await Promise.all([one(), one(), one(), one()]));
      console.log(JSON.stringify(codes));
    })();`;
}

describeNative('an environment that ends', () => {
  for (const [how, body, code] of ENDINGS) {
    it(`worker ${how}: exit code ${code}, the process goes on`, () => {
      const outcome = runScript(inWorkers(body, 8));
      assert.deepEqual(
        [outcome.status, outcome.signal, outcome.stdout.trim(), outcome.stderr],
        [0, null, JSON.stringify(new Array(8).fill(code)), ''],
      );
    });
  }

  it('main thread: normal end, process.exit, uncaught exception, uncaught in an interrupt', () => {
    const throwing =
      "const i = addon.interruptCreate(() => { throw new Error('on purpose'); }); addon.testing.signal(i, 1);";
    const endings: [string, number][] = [
      ['release(); addon.interruptClose(closing);', 0],
      ['process.exit(7);', 7],
      ["throw new Error('on purpose');", 1],
      [throwing, 1],
    ];
    for (const [body, code] of endings) {
      const outcome = runScript(`{${OPEN}${body}}`);
      assert.deepEqual([outcome.status, outcome.signal], [code, null], outcome.stderr);
    }
  });

  it('works in the main thread and in four workers at once, each with its own handles', () => {
    const outcome = runScript(`
      const { Worker } = require('worker_threads');
      const code = ${JSON.stringify(`${OPEN}
        const { parentPort } = require('worker_threads');
        let total = 0;
        const mine = addon.interruptCreate((n) => {
          total += n;
          if (total < 1000) return;
          parentPort.postMessage(total);
          addon.interruptClose(mine);
          addon.interruptClose(closing);
          release();
        });
        const tick = (left) => {
          addon.testing.signal(mine, 1);
          mmio.mmioWrite32(window, 0, left);
          if (mmio.mmioRead32(window, 0) !== left) throw new Error('not my memory');
          if (left > 1) setImmediate(tick, left - 1);
        };
        tick(1000);`)};
      const region = addon.regionCreate(4096, false);
      const view = new Uint8Array(addon.regionCarve(region, 0, 4096)).fill(5);
      let done = 0;
      for (let i = 0; i < 4; i++) {
        const worker = new Worker(code, { eval: true });
        worker.on('message', (total) => console.log('total', total));
        worker.on('exit', (status) => {
          if (++done === 4) console.log('exit', status, view.every((byte) => byte === 5));
        });
      }`);
    assert.deepEqual([outcome.status, outcome.stderr], [0, '']);
    assert.equal(outcome.stdout, `${'total 1000\n'.repeat(4)}exit 0 true\n`);
  });

  it('may be loaded twice into one environment', () => {
    const outcome = runScript(`
      const addon = globalThis.addon;
      const path = require.resolve(${JSON.stringify(addonPath)});
      delete require.cache[path];
      const again = require(path);
      const first = addon.regionCreate(4096, false);
      console.log(again !== addon, again.regionSize(first), addon.regionSize(first));`);
    assert.deepEqual([outcome.status, outcome.stdout], [0, 'true -9 4096\n'], outcome.stderr);
  });

  it('workers alone load it, one after the other: SIGBUS is handled in each', () => {
    const dead = 'mmio.mmioRead32(addon.testing.windowPastEnd(64), 0)';
    const body = `release(); addon.interruptClose(closing); if (${dead} !== -5) throw 1;`;
    const outcome = runScript(inWorkers(body, 8));
    assert.deepEqual([outcome.status, outcome.stdout.trim()], [0, '[0,0,0,0,0,0,0,0]'], outcome.stderr);
  });

  it('workers that are gone leave a SIGBUS handler that still works', () => {
    const body = 'release(); addon.interruptClose(closing);';
    const after = 'console.log(JSON.stringify(codes)); process.kill(process.pid, "SIGBUS");';
    const script = inWorkers(body, 4).replace('console.log(JSON.stringify(codes));', after);
    assert.equal(runScript(script).signal, 'SIGBUS');
  });
});
