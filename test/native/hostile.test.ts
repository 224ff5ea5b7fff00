/** Every native function with every kind of argument nobody should pass: an errno or an answer, never a crash. */
import { assert, it } from '../harness.ts';
import { describeNative, runScript } from './support.ts';

/** In the child: calls each function with hostile arguments at every place, live handles among them. */
const SCRIPT = `
  const functions = [...Object.entries(addon), ...Object.entries(addon.testing)]
    .filter(([, value]) => typeof value === 'function');
  const region = addon.regionCreate(8192, false);
  const window = addon.testing.windowFromRegion(region, 0, 8192, 64, 64);
  const dead = addon.testing.windowPastEnd(4096);
  const handles = () => [region, window, dead, addon.interruptCreate(() => {})];
  const detached = new ArrayBuffer(8);
  structuredClone(detached, { transfer: [detached] });
  const trap = new Proxy({}, { get() { throw new Error('touched'); } });
  const values = [
    undefined, null, true, false, NaN, Infinity, -Infinity, -0, -1, 0, 1, 3, 8, 4096, 0.5, 1e-300, 2 ** 20 - 1,
    2 ** 31, 2 ** 31 - 1, 2 ** 32, 2 ** 32 - 1, 2 ** 52, 2 ** 53, 2 ** 53 - 1, 2 ** 63, 2 ** 64, 1e308,
    0n, 1n, -1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n, 2n ** 200n,
    '', '0', '0000:00:04.0', '\\0', 'x'.repeat(100000), '\\ud800', Symbol('s'), {}, [], [1], trap, () => {},
    { valueOf() { throw new Error('ran'); } }, new Date(), /x/, new Map(), new Error('e'),
    new ArrayBuffer(0), new ArrayBuffer(8), detached, new SharedArrayBuffer(8), new Uint8Array(8),
    new DataView(new ArrayBuffer(8)), new BigUint64Array(1), Buffer.from('buffer'),
    new WebAssembly.Memory({ initial: 1 }).buffer, addon.regionCarve(region, 0, 100),
  ];
  let seed = 12345;
  const random = (n) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n;
  const check = (name, args, run) => {
    let result;
    try { result = run(); } catch (error) {
      throw new Error(name + '(' + args.map((a) => typeof a).join() + ') threw ' + error);
    }
    // What was made must not pile up.
    if (/interruptCreate/i.test(name) && result > 0) addon.interruptClose(result);
    if (name === 'regionCreate' && result > 0) addon.regionRevoke(result);
    if (name.startsWith('window') && result > 0) addon.testing.windowClose(result);
    if (name === 'fileWindowOpen' && result > 0) addon.fileWindowClose(result);
  };
  let calls = 0;
  for (const [name, fn] of functions) {
    const live = handles();
    const pool = [...values, ...live];
    // The real objects are wanted to the end: only made-up handles are closed.
    const closes = /revoke|close/i.test(name);
    const pick = () => (closes ? values : pool)[random(closes ? values.length : pool.length)];
    // Large sizes would take real memory: they are region.test.ts's.
    const small = (args) => name !== 'regionCreate' || typeof args[0] !== 'number' || args[0] <= 2 ** 24 || args[0] >= 2 ** 52;
    // It takes the descriptor over, and closes it when it is of no device: Node.js still needs its own.
    const foreign = (args) => name === 'ioasDeviceOpen' && typeof args[1] === 'number' && args[1] >= 0;
    const call = (args) => { calls++; if (small(args) && !foreign(args)) check(name, args, () => fn(...args)); };
    call([]);
    for (const value of pool) if (!closes || !live.includes(value)) call([value]);
    for (const handle of closes ? [] : live) for (const value of values) {
      call([handle, value]); call([handle, 0, value]); call([handle, value, 0]); call([handle, 4096, 8, value, value]);
    }
    for (let i = 0; i < 3000; i++) call(Array.from({ length: random(12) }, pick));
    addon.interruptClose(live[3]);
  }
  // Called as anything: method of something else, constructor, through Reflect.
  for (const [name, fn] of functions) {
    check(name, [], () => fn.call(null)); check(name, [], () => Reflect.apply(fn, trap, []));
  }
  console.log('functions', functions.length, 'alive', addon.regionSize(region), mmio.mmioRead32(addon.testing.windowPastEnd(64), 0));
  setImmediate(() => process.exit(0));
`;

describeNative('the native border', () => {
  it('survives hostile arguments at every place of every function', () => {
    const outcome = runScript(SCRIPT);
    assert.equal(outcome.stderr, '');
    assert.match(outcome.stdout, /^functions \d+ alive 8192 -5\n$/);
    assert.deepEqual([outcome.status, outcome.signal], [0, null]);
  });
});
