/**
 * Workers that are terminated in the middle of whatever they do with the addon leave nothing behind: no memfd, no
 * descriptor, no mapping. USERDMA_TEST_TERMINATIONS says how many (default 60).
 */
import { assert, it } from '../harness.ts';
import { addonPath, describeNative, MMIO_SCRIPT, runScript } from './support.ts';

const COUNT = Number(process.env.USERDMA_TEST_TERMINATIONS ?? 60);

/** In a worker: makes and closes everything there is, for ever. A script has no TypeScript. */
const WORK = `
  const addon = require(${JSON.stringify(addonPath)});
  ${MMIO_SCRIPT}
  const { parentPort, workerData } = require('node:worker_threads');
  parentPort.postMessage(0);
  const kept = [];
  for (let i = 0; ; i++) {
    const region = addon.regionCreate(workerData.bytes, false);
    const carved = addon.regionCarve(region, 0, 4096);
    // An environment that stops may give a number. The memory moves on as that of a buffer that rests (lib/memory/resting.ts).
    const moved = (from) => (typeof from === 'number' ? from : 'transfer' in from ? from.transfer() : addon.renew(from));
    const buffer = moved(carved);
    if (typeof buffer !== 'number') new Uint8Array(buffer).fill(i);
    addon.regionCarve(region, 4096, workerData.bytes - 4096);
    const window = addon.testing.windowFromRegion(region, 0, 4096, 0, 0);
    mmio.mmioWrite32(window, 0, i);
    const interrupt = addon.interruptCreate(() => {});
    addon.testing.signal(interrupt, 1);
    if (i % 3 === 0) { addon.regionRevoke(region); addon.interruptClose(interrupt); }
    else if (i % 3 === 1) kept.push(buffer);
    if (i % 5 === 0) addon.testing.windowClose(window);
    if (kept.length > 20) kept.length = 0;
  }
`;

const SCRIPT = `
  const { Worker } = require('node:worker_threads');
  const { readdirSync, readFileSync, readlinkSync } = require('node:fs');
  const link = (fd) => { try { return readlinkSync('/proc/self/fd/' + fd); } catch { return ''; } };
  const open = () => {
    const links = readdirSync('/proc/self/fd').map(link);
    return {
      memfds: links.filter((path) => path.includes('memfd:userdma')).length,
      eventfds: links.filter((path) => path.includes('eventfd')).length,
      mapped: readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => line.includes('memfd:userdma')).length,
    };
  };
  let seed = 20261130;
  const random = (n) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n;
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const round = async (big) => {
    const worker = new Worker(${JSON.stringify(WORK)}, { eval: true, workerData: { bytes: big ? 2 ** 25 : 16384 } });
    await new Promise((done) => worker.once('message', done));
    const until = performance.now() + random(big ? 12 : 4000) / (big ? 1 : 1000);
    if (big) await pause(Math.max(0, until - performance.now())); else while (performance.now() < until);
    await worker.terminate();
  };
  (async () => {
    await round(false);
    const before = open();
    for (let i = 0; i < COUNT; i++) await round(i % 4 === 0);
    console.log(JSON.stringify({ before, after: open() }));
  })();
`;

describeNative('a worker that is terminated', () => {
  it('at a random point leaves nothing behind', () => {
    const outcome = runScript(`const COUNT = ${COUNT};${SCRIPT}`);
    assert.deepEqual([outcome.status, outcome.signal, outcome.stderr], [0, null, '']);
    const { before, after } = JSON.parse(outcome.stdout) as { before: object; after: object };
    assert.deepEqual(after, before);
    assert.deepEqual({ ...after, eventfds: 0 }, { memfds: 0, eventfds: 0, mapped: 0 });
  });
});
