/** A device that is taken from its driver, in both worlds. */
import { DmaError, type Interrupt, type PciFunction } from '../../lib/index.ts';
import { codeOf } from '../failures.ts';
import { afterAll, afterEach, assert, beforeAll, beforeEach, describe, it } from '../harness.ts';
import { openWorld, type PluggedWorld } from './plugged.ts';

const ID = 0x0100_00ed;
const LIVENESS = 0x04;
const RAISE = 0x60;
const DMA_SOURCE = 0x80;
const DMA_COMMAND = 0x98;
const DEVICE_MEMORY = 0x40000n;

/** What a promise rejects with. */
async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => assert.fail('it resolved'),
    (error: unknown) => error,
  );
}

async function iterate(interrupt: Interrupt): Promise<void> {
  for await (const count of interrupt) assert.ok(count > 0);
}

describe('a device that is taken away', () => {
  let world: PluggedWorld;
  let before: unknown;
  let fn: PciFunction;
  // The grace time does not keep a program alive, and node:test ends with the event loop.
  let alive: NodeJS.Timeout;

  beforeAll(async () => {
    alive = setInterval(() => {}, 2 ** 30);
    world = await openWorld();
  });
  afterAll(() => {
    clearInterval(alive);
    world.close();
  });
  beforeEach(async () => {
    before = world.held();
    fn = await world.open();
    fn.dma.setMaskAndCoherent(0xffff_ffffn);
    fn.setMaster();
    fn.bar(0).write32(LIVENESS, 7);
  });
  /** Every test takes it. */
  afterEach(async () => {
    fn.close();
    assert.deepEqual(world.held(), before, 'nothing is left behind');
    await world.putBack();
    using again = await world.open();
    assert.equal(again.bar(0).read32(0), ID);
    assert.equal(again.bar(0).read32(LIVENESS), 0, 'as after power-up');
    assert.equal(again.gone.aborted, false);
  });

  it('is let go at once when nobody asks for time, and everything is one ENODEV', async () => {
    const { dma } = fn;
    const bar = fn.bar(0);
    const sequence = bar.sequence([['write32', LIVENESS, 1]]);
    const interrupt = fn.interrupts.msi(0);
    const ring = dma.allocCoherent(4096);
    const pool = dma.createPool('blocks', { size: 64 });
    const block = pool.alloc()!;
    const bounced = dma.mapSingle(new Uint8Array(100), 'to-device');
    const pinned = dma.mapSingle(new Uint8Array(100_000), 'to-device');
    const range = dma.reserveIova(8192)!;
    ring.bytes.fill(0x5a);
    assert.equal(fn.isPresent(), true);

    const waits = [interrupt.wait(), interrupt.wait({ signal: fn.gone }), iterate(interrupt)];
    const failures = Promise.all(waits.map(failureOf));
    await world.pullOut();

    const { reason } = fn.gone;
    assert.ok(reason instanceof DmaError && reason.code === 'ENODEV', String(reason));
    assert.match(reason.message, /is gone; close the function/);
    for (const failure of await failures) assert.equal(failure, reason);
    assert.equal(await failureOf(interrupt.wait()), reason);
    const attempts: Readonly<Record<string, () => unknown>> = {
      'config.read': () => fn.config.vendorId,
      'config.write': () => fn.setMaster(),
      'bar.read8': () => bar.read8(0),
      'bar.read32': () => bar.read32(0),
      'bar.read64': () => bar.read64(DMA_SOURCE),
      'bar.write32': () => bar.write32(LIVENESS, 0),
      'bar.sequence': () => bar.sequence([['read32', 0]]),
      'sequence.run': () => sequence.run(),
      'bar.write64': () => bar.write64(DMA_SOURCE, 0n),
      reset: () => fn.reset(),
      hotReset: () => fn.hotReset(),
      powerState: () => fn.powerState,
      intx: () => fn.interrupts.intx(),
      listen: () => interrupt.listen(() => {}),
      trigger: () => interrupt.trigger(),
      unmask: () => interrupt.unmask(),
      setMask: () => dma.setMask(0xffff_ffffn),
      supported: () => dma.supported(0xffff_ffffn),
      allocCoherent: () => dma.allocCoherent(64),
      allocNoncoherent: () => dma.allocNoncoherent(64, 'to-device'),
      createPool: () => dma.createPool('more', { size: 64 }),
      'pool.alloc': () => pool.alloc(),
      mapSingle: () => dma.mapSingle(new Uint8Array(100), 'to-device'),
      'mapSingle of own memory': () => dma.mapSingle(ring.bytes, 'to-device'),
      mapSg: () => dma.mapSg([new Uint8Array(100)], 'to-device'),
      mapResource: () => dma.mapResource(bar, 0, 4096, 'to-device'),
      reserveIova: () => dma.reserveIova(4096),
      link: () => range.link(0, ring.bytes, 'to-device'),
    };
    for (const [name, attempt] of Object.entries(attempts)) assert.equal(codeOf(attempt), 'ENODEV', name);
    assert.equal(fn.isPresent(), false);
    fn.clearMaster();

    assert.ok(
      ring.bytes.every((byte) => byte === 0x5a),
      'memory stays',
    );
    assert.ok(ring.dmaAddress > 0n);
    pool.free(block);
    assert.equal(
      codeOf(() => pool.alloc()),
      'ENODEV',
      'also a block that was just freed',
    );
    pool.destroy();
    bounced.unmap();
    pinned.unmap();
    range.free();
    ring.free();
    interrupt.close();
    assert.deepEqual(dma.live, []);
  });

  it('works until every listener has settled', async () => {
    const { dma } = fn;
    const registers = fn.bar(0);
    const page = dma.allocCoherent(4096);
    const told: string[] = [];
    fn.gone.addEventListener('abort', () => told.push('gone'));
    fn.onReleaseRequest(() => void told.push('first'));
    const end = fn.onReleaseRequest(() => void told.push('never'));
    end();
    fn.onReleaseRequest(async () => {
      // The device goes on as ever: a transfer out of its memory, and the interrupt that ends it.
      const done = fn.interrupts.msi(0);
      page.bytes.fill(0xff);
      registers.write64(DMA_SOURCE, DEVICE_MEMORY);
      registers.write64(0x88, page.dmaAddress);
      registers.write64(0x90, 64n);
      registers.write32(DMA_COMMAND, 1 | 2 | 4);
      await done.wait();
      told.push(page.bytes[0] === 0 && page.bytes[64] === 0xff ? 'transferred' : 'nothing arrived');
    });
    await world.pullOut();
    assert.deepEqual(told, ['first', 'transferred', 'gone']);
    assert.equal(
      codeOf(() => registers.read32(0)),
      'ENODEV',
    );
  });

  it('is let go after the grace time, whatever the listeners do', async () => {
    fn.close();
    fn = await world.open({ releaseGrace: 20 });
    let asked = 0;
    fn.onReleaseRequest(() => {
      asked++;
      return new Promise(() => {});
    });
    await world.pullOut();
    assert.equal(asked, 1);
    assert.equal(fn.gone.aborted, true);
  });

  it('may be closed by a listener', async () => {
    const interrupt = fn.interrupts.msi(0);
    const wait = failureOf(interrupt.wait());
    fn.onReleaseRequest(() => fn.close());
    await world.pullOut();
    assert.equal(((await wait) as DmaError).code, 'ENODEV');
    assert.equal(fn.gone.aborted, false, 'a function that is closed has nothing to lose');
  });

  it('leaves to close what nobody gave back', async () => {
    const { dma } = fn;
    const ring = dma.allocCoherent(100_000);
    const mapping = dma.mapSingle(new Uint8Array(300_000), 'bidirectional');
    fn.interrupts.msi(0).listen(() => {});
    fn.bar(0).write32(RAISE, 1);
    await world.pullOut();
    assert.equal(ring.bytes.length, 100_000);
    fn.close();
    assert.equal(ring.bytes.length, 0);
    assert.equal(
      codeOf(() => mapping.unmap()),
      'EINVAL',
    );
    assert.equal(
      codeOf(() => fn.isPresent()),
      'ENODEV',
    );
  });
});
