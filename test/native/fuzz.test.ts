/**
 * Random calls of every native function, with hostile arguments and live handles, on the fake kernel: no crash, and
 * nothing left open or mapped after each round. Then the same in workers that are terminated in the middle of it.
 * USERDMA_TEST_FUZZ_CALLS says how many calls (default 20,000); a failure prints the seed.
 */
import { createRequire } from 'node:module';
import { assert, it } from '../harness.ts';
import { noFakeKernel, runUnderFakeKernel } from './fake-kernel.ts';
import { addonPath, describeNative, type Outcome } from './support.ts';

const CALLS = Number(process.env.USERDMA_TEST_FUZZ_CALLS ?? 20_000);
const SEED = Number(process.env.USERDMA_TEST_FUZZ_SEED ?? 20_261_130);
const ROUND = 200;

/** In the child and its workers: `calls` is an arbitrary of one round, `play` makes the calls and closes what they made. */
const FUZZ = `
  const fc = require(${JSON.stringify(createRequire(import.meta.url).resolve('fast-check'))});
  const functions = [...Object.entries(addon), ...Object.entries(addon.testing)].filter(([, value]) => typeof value === 'function');
  /** What closes what a function makes; the handle of a VFIO group is its number. */
  const CLOSES = {
    regionCreate: 'regionRevoke', uDmaBufOpen: 'regionRevoke',
    dmaBufImport: 'dmaBufClose', dmaBufOfWindow: 'dmaBufClose', udmabufCreate: 'dmaBufClose', dmaHeapAllocate: 'dmaBufClose',
    interruptCreate: 'interruptClose', uioInterruptCreate: 'interruptClose',
    fileWindowOpen: 'fileWindowClose', windowFromRegion: 'fileWindowClose', windowPastEnd: 'fileWindowClose', vfioBarOpen: 'fileWindowClose',
    vfioContainerOpen: 'vfioContainerClose', vfioDeviceOpen: 'vfioDeviceClose',
    ioasCreate: 'ioasClose', ioasDeviceOpen: 'vfioDeviceClose',
  };
  const numbers = [0, 1, 2, 3, 4, 7, 8, 9, 16, 24, 48, 64, 100, 4095, 4096, 8192, 16384, 65536, 2 ** 20, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32,
    2 ** 40, 2 ** 52, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64, 1e308, -1, -0, -4096, 0.5, NaN, Infinity, -Infinity];
  const bigints = [0n, 1n, -1n, 2n ** 31n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n, -(2n ** 63n), 2n ** 200n];
  const strings = ['', '0', '0000:00:02.0', '0000:00:03.0', '/dev/fake-udmabuf0', '/dev/null', '/proc/self/exe', 'a\\0b', '\\ud800', 'x'.repeat(100000)];
  const others = (at) => [undefined, null, true, false, Symbol('s'), {}, [], [1], () => {}, new Date(), new Proxy({}, { get() { throw new Error('touched'); } }),
    { valueOf() { throw new Error('ran'); } }, new SharedArrayBuffer(4096), new DataView(new ArrayBuffer(8)), new BigUint64Array(1), Buffer.from('buffer'),
    Float64Array.of(3, 0, 4096), Float64Array.of(NaN, -1, 2 ** 60), Uint32Array.of(0, 0, 1, 0, 4, 1, 8, 0, 0, 8), new Uint32Array(5 * 70).fill(1)][at];
  const argument = fc.oneof(
    { weight: 5, arbitrary: fc.record({ live: fc.nat(40) }) },
    { weight: 4, arbitrary: fc.constantFrom(...numbers).map((number) => ({ number })) },
    { weight: 1, arbitrary: fc.oneof(fc.integer(), fc.double(), fc.nat(200)).map((number) => ({ number })) },
    { weight: 1, arbitrary: fc.constantFrom(...bigints).map((bigint) => ({ bigint })) },
    { weight: 1, arbitrary: fc.constantFrom(...strings).map((string) => ({ string })) },
    { weight: 2, arbitrary: fc.record({ other: fc.nat(19) }) },
    { weight: 2, arbitrary: fc.record({ buffer: fc.nat(12) }) },
  );
  const calls = fc.array(fc.tuple(fc.nat(functions.length - 1), fc.array(argument, { maxLength: 8 })), { minLength: ${ROUND}, maxLength: ${ROUND} });

  const play = (round, counted = () => {}) => {
    const live = [];
    const groups = [];
    const buffers = [new ArrayBuffer(0), new ArrayBuffer(8), new ArrayBuffer(65536), new ArrayBuffer(64)];
    const detached = new ArrayBuffer(8);
    structuredClone(detached, { transfer: [detached] });
    buffers.push(detached, new WebAssembly.Memory({ initial: 1 }).buffer);
    const keep = (name, value) => { if (CLOSES[name] !== undefined && value > 0) live.push([CLOSES[name], value]); return value; };
    const make = (name, ...args) => keep(name, (addon[name] ?? addon.testing[name])(...args));
    // One of everything, so that handles exist.
    const region = make('regionCreate', 65536, false);
    buffers.push(addon.regionCarve(region, 0, 8192));
    make('windowFromRegion', region, 8192, 8192, 64, 64);
    make('windowPastEnd', 4096);
    make('interruptCreate', () => {});
    make('dmaHeapAllocate', heaps[1], 8192);
    make('uDmaBufOpen', '/dev/fake-udmabuf0', 1 << 20, false, false);
    const container = make('vfioContainerOpen', 3);
    if (addon.vfioGroupOpen(container, 7) === 0) { addon.vfioGroupAttach(container, 7); addon.vfioSetIommu(container); }
    const device = make('vfioDeviceOpen', container, 7, '0000:00:02.0');
    make('vfioBarOpen', device, 0);
    make('vfioBarOpen', device, 2);
    const value = (one) => {
      if ('live' in one) return live[one.live % live.length][1];
      if ('other' in one) return others(one.other);
      if ('buffer' in one) return buffers[one.buffer % buffers.length];
      return Object.values(one)[0];
    };
    for (const [index, descriptions] of round) {
      const [name, call] = functions[index];
      const args = descriptions.map(value);
      // Real memory of the machine, and descriptors of Node.js itself.
      const first = typeof args[0] === 'number' ? args[0] : NaN;
      if (name === 'regionCreate' && first > 2 ** 20 && first < 2 ** 52) continue;
      if (/^(fileWindowOpen|uioInterruptCreate)$/.test(name) && first < heaps[0]) continue;
      // It takes the descriptor over, and closes it when it is of no device.
      if (name === 'ioasDeviceOpen' && Number.isInteger(args[1]) && args[1] >= 0) continue;
      let result;
      counted();
      try { result = call(...args); } catch (error) { throw new Error(name + ' threw ' + error); }
      if (name === 'uDmaBufExport' && result > 2) { fs.closeSync(result); continue; }
      if (!['number', 'bigint', 'boolean', 'object', 'undefined'].includes(typeof result)) throw new Error(name + ' gave ' + typeof result);
      keep(name, result);
      if (result instanceof ArrayBuffer) buffers.push(result);
    }
    for (const [close, handle] of live.reverse()) addon[close](handle);
  };
`;

function ended(outcome: Outcome): string {
  assert.deepEqual([outcome.status, outcome.signal, outcome.stderr], [0, null, ''], `seed ${SEED}`);
  return outcome.stdout;
}

describeNative(
  'random calls of the native border',
  () => {
    it(`${CALLS} of them crash nothing and leave nothing`, () => {
      const script = `${FUZZ}
        const turn = () => new Promise((done) => setImmediate(done));
        let total = 0;
        (async () => {
          play([]);
          await turn(); await turn();
          const before = JSON.stringify(held());
          await fc.assert(fc.asyncProperty(calls, fc.nat(3), async (round, lies) => {
            kernel.hostile(lies === 0 ? 1 + total : 0);
            play(round, () => total++);
            kernel.hostile(0);
            await turn(); await turn();
            const after = JSON.stringify(held());
            if (after !== before) throw new Error('left: ' + after + ' instead of ' + before);
          }), { seed: ${SEED}, numRuns: Math.ceil(${CALLS} / ${ROUND}), endOnFailure: true });
          console.log(total);
          process.exit();
        })().catch((error) => { console.error(error); process.exit(1); });`;
      const total = Number(ended(runUnderFakeKernel(script)));
      assert.ok(total > 0.9 * CALLS, `${total} calls`);
    });

    it('in workers that are terminated meanwhile leave nothing either', () => {
      const tools = (id: string) => `globalThis.require = require; const addon = require(${id});`;
      const script = `
        const { Worker } = require('node:worker_threads');
        const WORK = ${JSON.stringify(tools(JSON.stringify(addonPath)))} + TOOLS + ${JSON.stringify(FUZZ)} + \`
          const { parentPort, workerData } = require('node:worker_threads');
          const rounds = fc.sample(calls, { seed: workerData, numRuns: 4 });
          parentPort.postMessage(0);
          for (;;) for (const round of rounds) play(round);\`;
        let seed = ${SEED};
        const random = (n) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n;
        const one = async () => {
          const worker = new Worker(WORK, { eval: true, workerData: random(2 ** 31) });
          await new Promise((done, fail) => { worker.once('message', done); worker.once('error', fail); });
          await new Promise((done) => setTimeout(done, random(40)));
          await worker.terminate();
        };
        (async () => {
          await one();
          const before = held();
          for (let i = 0; i < ${Math.max(10, Math.ceil(CALLS / 2000))}; i++) await one();
          console.log(JSON.stringify({ before, after: held() }));
          process.exit();
        })().catch((error) => { console.error(error); process.exit(1); });`;
      const { before, after } = JSON.parse(ended(runUnderFakeKernel(script))) as {
        before: object;
        after: object;
      };
      assert.deepEqual(after, before);
    });
  },
  noFakeKernel,
);
