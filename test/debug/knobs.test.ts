/** The knobs of debugfs dma-api/, in every world. */
import { type DmaReport, openPci } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { afterEach, assert, describe, it } from '../harness.ts';
import { kinds, startsHere, worlds } from './worlds.ts';

const HERE = import.meta.url;

/** Warnings of the process that `action` makes, instead of printing them. */
async function warnings(action: () => void): Promise<Error[]> {
  const seen: Error[] = [];
  const printers = process.listeners('warning');
  process.removeAllListeners('warning');
  process.on('warning', (warning) => seen.push(warning));
  try {
    action();
    // Warnings are emitted from the event loop.
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.removeAllListeners('warning');
    for (const printer of printers) process.on('warning', printer);
  }
  return seen.filter(({ name }) => name === 'DmaDebugWarning');
}

for (const world of worlds) {
  describe(`knobs of dma-debug, ${world.name}`, () => {
    it('num_errors: one report is printed, with its stacks, and error_count counts all', async () => {
      const fn = await world.open({ print: true });
      const { dma } = fn;
      const mapping = dma.mapSingle(Buffer.alloc(64), 'to-device');
      mapping.unmap();
      const printed = await warnings(() => {
        for (let i = 0; i < 3; i++) assert.throws(() => mapping.unmap());
      });
      assert.equal(printed.length, 1);
      const { message, code, detail } = printed[0] as Error & { code: string; detail: string };
      assert.equal(code, 'released-twice');
      assert.ok(message.startsWith(`${fn.address}: `), message);
      assert.match(
        detail,
        /mistake:\n\s+at .*\n(.*\n)*\s+mapped or allocated:\n\s+at .*\n(.*\n)*\s+released:\n\s+at /,
      );
      const { debug } = dma;
      assert.deepEqual([debug!.errorCount, debug!.numErrors, debug!.reports.length], [3, 0, 3]);
      debug!.numErrors = 1;
      assert.equal((await warnings(() => assert.throws(() => mapping.unmap()))).length, 1);
      fn.close();
    });

    it('all_errors: every report is printed, and num_errors stays', async () => {
      const fn = await world.open({ print: true, allErrors: true });
      const mapping = fn.dma.mapSingle(Buffer.alloc(64), 'to-device');
      mapping.unmap();
      const printed = await warnings(() => {
        for (let i = 0; i < 3; i++) assert.throws(() => mapping.unmap());
      });
      assert.equal(printed.length, 3);
      assert.equal(fn.dma.debug!.numErrors, 1);
      fn.close();
    });

    it('print: false prints nothing, and keeps the reports', async () => {
      const fn = await world.open({ print: false, allErrors: true });
      const printed = await warnings(() => {
        fn.dma.allocCoherent(64);
        fn.close();
      });
      assert.deepEqual(printed, []);
      assert.deepEqual(kinds(fn.dma), ['pending-at-close']);
    });

    it('driver_filter: only mistakes made in these files are kept, all are counted, hidden ones take their turn', async () => {
      const fn = await world.open({ driverFilter: 'another-driver' });
      const { debug } = fn.dma;
      const mapping = fn.dma.mapSingle(Buffer.alloc(64), 'to-device');
      mapping.unmap();
      assert.throws(() => mapping.unmap());
      assert.deepEqual([debug!.reports.length, debug!.errorCount, debug!.numErrors], [0, 1, 0]);
      debug!.driverFilter = 'knobs.test';
      assert.throws(() => mapping.unmap());
      assert.deepEqual([debug!.reports.length, debug!.errorCount], [1, 2]);
      fn.close();
    });

    it('a list is one entry, however many elements and segments it has', async () => {
      const fn = await world.open();
      const { dma } = fn;
      const used = dma.debug!.entries.used;
      const list = dma.mapSg(
        Array.from({ length: 16 }, () => new Uint8Array(100)),
        'to-device',
      );
      assert.equal(dma.debug!.entries.used, used + 1);
      list.unmap();
      assert.equal(dma.debug!.entries.used, used);
      fn.close();
    });

    it('entries and dump: what is live, its most, and where it came from', async () => {
      const fn = await world.open();
      const { dma } = fn;
      const { debug } = dma;
      const ring = dma.allocCoherent(4096);
      const mapping = dma.mapSingle(ring.bytes.subarray(16, 80), 'from-device');
      const list = dma.mapSg([Buffer.alloc(8), Buffer.alloc(8)], 'to-device');
      const pool = dma.createPool('blocks', { size: 64 });
      const block = pool.alloc()!;
      const dumped = debug!.dump();
      assert.deepEqual(
        dumped.map(({ type, size, direction, way }) => [type, size, direction, way]),
        [
          ['coherent', 4096, 'bidirectional', undefined],
          ['single', 64, 'from-device', mapping.way],
          ['scatter-gather', 16, 'to-device', list.way],
          ['pool', 0, 'bidirectional', undefined],
          ['pool-block', 64, 'bidirectional', undefined],
        ],
      );
      assert.equal(dumped[0]!.address, ring.dmaAddress);
      assert.equal(dumped[1]!.address, mapping.dmaAddress);
      assert.equal(dumped[4]!.address, block.dmaAddress);
      for (const { stack } of dumped) startsHere(stack, HERE);
      assert.deepEqual(debug!.entries, { used: 4, peak: 4, limit: 65_536 });
      block.free();
      pool.destroy();
      list.unmap();
      mapping.unmap();
      ring.free();
      assert.deepEqual(debug!.entries, { used: 0, peak: 4, limit: 65_536 });
      assert.deepEqual(debug!.dump(), []);
      fn.close();
      assert.deepEqual(kinds(dma), []);
    });

    it('onReport: called with each report until it is stopped', async () => {
      const fn = await world.open();
      const seen: DmaReport[] = [];
      const stop = fn.dma.debug!.onReport((report) => seen.push(report));
      const mapping = fn.dma.mapSingle(Buffer.alloc(64), 'to-device');
      mapping.unmap();
      assert.throws(() => mapping.unmap());
      stop();
      assert.throws(() => mapping.unmap());
      assert.deepEqual(seen, fn.dma.debug!.reports.slice(0, 1));
      fn.dma.debug!.clear();
      assert.deepEqual([fn.dma.debug!.reports.length, fn.dma.debug!.errorCount], [0, 2]);
      fn.close();
    });

    it('what is managed may stay until the device is closed', async () => {
      const fn = await world.open();
      fn.dma.allocCoherent(4096, { managed: true });
      const pool = fn.dma.createPool('blocks', { size: 64, managed: true });
      pool.alloc();
      fn.close();
      assert.deepEqual(kinds(fn.dma), []);
    });

    it('a pool destroyed busy, and a poisoned block: reported, and thrown all the same', async () => {
      const fn = await world.open();
      const poisoned = fn.dma.createPool('poisoned', { size: 64, poison: true });
      const first = poisoned.alloc()!;
      const { bytes } = first;
      first.free();
      bytes[3] = 1;
      assert.throws(() => poisoned.alloc(), { code: 'EFAULT' });
      const busy = fn.dma.createPool('busy', { size: 64 });
      busy.alloc();
      assert.throws(() => busy.destroy(), { code: 'EBUSY' });
      poisoned.destroy();
      assert.deepEqual(kinds(fn.dma), ['pool-block-poisoned', 'pool-busy']);
      const [spoiled, left] = fn.dma.debug!.reports;
      for (const stack of [spoiled!.mappedAt, spoiled!.releasedAt, spoiled!.mistakeAt])
        startsHere(stack, HERE);
      for (const stack of [left!.mappedAt, left!.mistakeAt]) startsHere(stack, HERE);
      fn.close();
    });
  });
}

describe('whether there is dma-debug', () => {
  const variable = process.env.USERDMA_DEBUG;

  afterEach(() => {
    if (variable === undefined) delete process.env.USERDMA_DEBUG;
    else process.env.USERDMA_DEBUG = variable;
  });

  async function isOn(value: string | undefined, debug?: boolean): Promise<boolean> {
    if (value === undefined) delete process.env.USERDMA_DEBUG;
    else process.env.USERDMA_DEBUG = value;
    const fn = await openPci(simulate(new EduModel()), debug === undefined ? {} : { debug });
    fn.close();
    return fn.dma.debug !== undefined;
  }

  it('in a simulation, unless the program or USERDMA_DEBUG says no', async () => {
    assert.equal(await isOn(undefined), true);
    assert.equal(await isOn('0'), false);
    assert.equal(await isOn('1'), true);
    assert.equal(await isOn('quiet'), true);
    assert.equal(await isOn('1', false), false);
    assert.equal(await isOn('0', true), true);
  });

  it('refuses entries that are no number of them', async () => {
    await assert.rejects(openPci(simulate(new EduModel()), { debug: { entries: 0 } }), { code: 'EINVAL' });
  });

  it('refuses settings of a wrong kind, and keeps the one it has', async () => {
    using fn = await openPci(simulate(new EduModel()), { debug: { print: false } });
    const debug = fn.dma.debug!;
    for (const [name, wrong] of [
      ['allErrors', 'yes'],
      ['allErrors', undefined],
      ['numErrors', -1],
      ['numErrors', 1.5],
      ['numErrors', '3'],
      ['driverFilter', 5],
      ['driverFilter', null],
    ] as const) {
      const before = debug[name];
      assert.throws(() => Object.assign(debug, { [name]: wrong }), { code: 'EINVAL' });
      assert.equal(debug[name], before);
    }
  });
});
