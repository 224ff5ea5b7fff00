/** Resets and power states: what they do to the device, to the function and to its interrupts, and what they report. */
import { setImmediate as tick } from 'node:timers/promises';
import {
  DmaError,
  type ErrnoName,
  type Interrupt,
  PCI_COMMAND,
  type PciFunction,
  type ResetReport,
} from '../../lib/index.ts';
import { describeWith } from '../absent.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { bridged, edu, nic, nvme, openNeighbours, real, type TestFunction } from './worlds.ts';

const soon = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(20_000) });

function refuses(action: () => unknown, code: ErrnoName, ...words: RegExp[]): void {
  assert.throws(action, (error: DmaError) => {
    assert.ok(error instanceof DmaError, String(error));
    assert.equal(error.code, code, error.message);
    for (const word of words) assert.match(error.message, word);
    return true;
  });
}

/** The device still reaches this vector, once, or twice where it repeats itself. */
async function reaches(world: TestFunction, fn: PciFunction, interrupt: Interrupt): Promise<void> {
  const { count } = interrupt;
  const most = world.repeats ? 2 : 1;
  world.interrupt(fn);
  const arrived = await interrupt.wait(soon());
  assert.ok(arrived >= 1 && arrived <= most, `${arrived} interrupts`);
  for (let i = 0; i < 20; i++) await tick();
  const all = interrupt.count - count;
  assert.ok(all >= 1 && all <= most, `${all} interrupts in all`);
}

/** Controller configuration of NVMe, with entry sizes and not enabled. QEMU 7.2 resets it, and few others. */
const REGISTER = 0x14;
const ENTRY_SIZES = 0x0046_0000;

describe(`a reset of ${nvme.name} alone`, () => {
  let fn: PciFunction;
  beforeEach(async () => {
    fn = await nvme.open();
    fn.setMaster();
  });
  afterEach(() => fn.close());

  it('clears registers and keeps configuration space', () => {
    fn.bar(0).write32(REGISTER, ENTRY_SIZES);
    assert.equal(fn.bar(0).read32(REGISTER), ENTRY_SIZES);
    fn.config.write8(0x3c, 0x5a);
    const report = fn.reset();
    assert.equal(fn.bar(0).read32(REGISTER), 0);
    assert.equal(fn.config.interruptLine, 0x5a);
    assert.equal(fn.busMaster, true);
    assert.deepEqual(report.functions, [fn.address]);
    assert.deepEqual([report.kind, report.busMaster, report.rearmed], ['function', true, []]);
    assert.match(report.redo.join('\n'), /registers[\s\S]*rings[\s\S]*arm interrupts/);
  });

  it('leaves every vector armed, and loses no interrupt that had come', async () => {
    const vectors = [0, 3, 64].map((vector) => fn.interrupts.msix(vector));
    vectors[1]!.trigger();
    vectors[2]!.trigger();
    vectors[2]!.trigger();
    const waiting = vectors[0]!.wait(soon());
    const report = fn.reset();
    assert.deepEqual(report.rearmed, [
      { kind: 'msix', vector: 0 },
      { kind: 'msix', vector: 3 },
      { kind: 'msix', vector: 64 },
    ]);
    assert.equal(fn.config.msix!.enabled, true);
    assert.deepEqual([await vectors[1]!.wait(soon()), await vectors[2]!.wait(soon())], [1, 2]);
    nvme.interrupt(fn);
    assert.equal(await waiting, 1);
    assert.deepEqual(
      vectors.map(({ count }) => count),
      [1, 1, 2],
    );
    for (const interrupt of vectors) {
      interrupt.trigger();
      assert.equal(await interrupt.wait(soon()), 1);
    }
  });

  it('works again and again', async () => {
    const interrupt = fn.interrupts.msix(0);
    for (let i = 0; i < 5; i++) {
      fn.reset();
      await reaches(nvme, fn, interrupt);
    }
  });

  it('decodes memory afterwards, and says that bus mastering is off when it is', () => {
    fn.clearMaster();
    fn.config.command &= ~PCI_COMMAND.memory;
    const report = fn.reset();
    assert.equal(fn.bar(0).read32(REGISTER), 0);
    assert.equal(report.busMaster, false);
    assert.match(report.redo.join('\n'), /setMaster/);
  });

  it('is told to who listens, until he stops', async () => {
    const told: ResetReport[] = [];
    const stop = fn.onReset((report) => told.push(report));
    const report = fn.reset();
    await tick();
    assert.deepEqual(told, [report]);
    stop();
    fn.reset();
    await tick();
    assert.equal(told.length, 1);
    const stopAtOnce = fn.onReset((late) => told.push(late));
    fn.reset();
    stopAtOnce();
    await tick();
    assert.equal(told.length, 1);
    refuses(() => fn.onReset(undefined as never), 'EINVAL');
  });

  it('is told to nobody once the function is closed', async () => {
    fn.onReset(() => assert.fail('told'));
    fn.reset();
    fn.close();
    await tick();
  });

  it('ends in D0', async () => {
    await fn.setPowerState('D3hot');
    fn.reset();
    assert.equal(fn.powerState, 'D0');
    assert.equal(fn.bar(0).read32(REGISTER), 0);
  });

  it('is refused once the function is closed', () => {
    fn.close();
    for (const action of [() => fn.reset(), () => fn.hotReset(), () => fn.powerState])
      refuses(action, 'ENODEV');
  });
});

/** Of edu. */
const LIVENESS = 0x04;

describeWith('USERDMA_TEST_EDU_BRIDGED', `a hot reset of ${bridged.name}`, () => {
  let fn: PciFunction;
  beforeEach(async () => {
    fn = await bridged.open();
    fn.setMaster();
  });
  afterEach(() => fn.close());

  it('clears registers, keeps MSI armed, and names all it reset', async () => {
    const interrupt = fn.interrupts.msi();
    fn.bar(0).write32(LIVENESS, 0x1234);
    assert.equal(fn.bar(0).read32(LIVENESS), ~0x1234 >>> 0);
    interrupt.trigger();
    const report = fn.hotReset();
    // QEMU's edu keeps its registers through every reset.
    if (!real) assert.equal(fn.bar(0).read32(LIVENESS), 0);
    assert.equal(report.kind, 'hot');
    const { USERDMA_TEST_EDU_NEIGHBOUR, USERDMA_TEST_SMALL_BAR } = process.env;
    const others = real ? [USERDMA_TEST_EDU_NEIGHBOUR, USERDMA_TEST_SMALL_BAR] : [];
    assert.deepEqual(report.functions, [fn.address, ...others]);
    assert.deepEqual(report.rearmed, [{ kind: 'msi', vector: 0 }]);
    assert.equal(await interrupt.wait(soon()), 1);
    await reaches(bridged, fn, interrupt);
  });

  it('unmasks INTx that was masked for an interrupt nobody services any more', async () => {
    const line = fn.interrupts.intx();
    bridged.interrupt(fn);
    assert.equal(await line.wait(soon()), 1);
    const report = fn.hotReset();
    assert.deepEqual(report.rearmed, [{ kind: 'intx', vector: 0 }]);
    await reaches(bridged, fn, line);
  });
});

describeWith('USERDMA_TEST_EDU_BRIDGED', 'a hot reset of one of two functions', () => {
  let fn: PciFunction;
  let neighbour: PciFunction;
  beforeEach(async () => {
    [fn, neighbour] = await openNeighbours();
    neighbour.setMaster();
  });
  afterEach(() => {
    fn.close();
    neighbour.close();
  });

  it('is told to the other one, which is armed as before', async () => {
    const interrupt = neighbour.interrupts.msi();
    interrupt.trigger();
    const told: ResetReport[] = [];
    neighbour.onReset((report) => told.push(report));
    neighbour.bar(0).write32(LIVENESS, 0x1234);
    const report = fn.hotReset();
    // QEMU's edu keeps its registers through every reset.
    if (!real) assert.equal(neighbour.bar(0).read32(LIVENESS), 0);
    assert.deepEqual(report.functions.slice(0, 2), [fn.address, neighbour.address]);
    assert.equal(report.busMaster, false);
    await tick();
    assert.equal(told.length, 1);
    const { kind, functions, rearmed, busMaster } = told[0]!;
    assert.deepEqual([kind, busMaster, rearmed], ['hot', true, [{ kind: 'msi', vector: 0 }]]);
    assert.equal(functions[0], neighbour.address);
    assert.deepEqual([...functions].sort(), [...report.functions].sort());
    assert.equal(await interrupt.wait(soon()), 1);
    await reaches(bridged, neighbour, interrupt);
  });

  it('unmasks the line of the other one', async () => {
    const line = neighbour.interrupts.intx();
    bridged.interrupt(neighbour);
    assert.equal(await line.wait(soon()), 1);
    neighbour.bar(0).write32(0x64, 1);
    fn.hotReset();
    await reaches(bridged, neighbour, line);
  });

  it('is not told to who has closed it', async () => {
    let told = 0;
    neighbour.onReset(() => told++);
    neighbour.close();
    const report = fn.hotReset();
    assert.ok(report.functions.includes(neighbour.address));
    await tick();
    assert.equal(told, 0);
  });
});

describe(`a hot reset of ${nvme.name}`, () => {
  it('hits it alone behind its port', async () => {
    using fn = await nvme.open();
    fn.setMaster();
    const interrupt = fn.interrupts.msix(0);
    fn.bar(0).write32(REGISTER, ENTRY_SIZES);
    const report = fn.hotReset();
    assert.deepEqual([report.kind, report.functions], ['hot', [fn.address]]);
    assert.equal(fn.bar(0).read32(REGISTER), 0);
    await reaches(nvme, fn, interrupt);
  });
});

describe(`${edu.name}, which has no reset of its own`, () => {
  it('says so, and goes on as before', async () => {
    using fn = await edu.open();
    fn.setMaster();
    const interrupt = fn.interrupts.msi();
    refuses(() => fn.reset(), 'EOPNOTSUPP');
    if (real) refuses(() => fn.hotReset(), 'EOPNOTSUPP', /root bus/);
    await reaches(edu, fn, interrupt);
  });

  it('has no power states', async () => {
    using fn = await edu.open();
    assert.equal(fn.powerState, 'D0');
    assert.equal(await fn.setPowerState('D0'), undefined);
    await assert.rejects(fn.setPowerState('D3hot'), { code: 'EOPNOTSUPP' });
  });
});

describe(`power states of ${nvme.name}`, () => {
  it('keep registers and interrupts', async () => {
    using fn = await nvme.open();
    fn.setMaster();
    const interrupt = fn.interrupts.msix(0);
    fn.bar(0).write32(0x24, 0x001f001f);
    assert.equal(fn.powerState, 'D0');
    assert.equal(await fn.setPowerState('D3hot'), undefined);
    assert.equal(fn.powerState, 'D3hot');
    for (const access of [
      () => fn.bar(0).read32(0x24),
      () => fn.bar(0).write8(0x24, 0),
      () => fn.bar(0).read64(0),
    ]) {
      refuses(access, 'EIO', /power state D0/);
    }
    assert.equal(fn.config.vendorId, 0x1b36);
    assert.equal(await fn.setPowerState('D0'), undefined);
    assert.equal(fn.bar(0).read32(0x24), 0x001f001f);
    await reaches(nvme, fn, interrupt);
  });

  it('are those it has', async () => {
    using fn = await nvme.open();
    await assert.rejects(fn.setPowerState('D1'), { code: 'EINVAL' });
    await assert.rejects(fn.setPowerState('D3cold' as never), { code: 'EINVAL' });
    await fn.setPowerState('D3hot');
    await assert.rejects(fn.setPowerState('D2'), { code: 'EINVAL' });
    assert.equal(fn.powerState, 'D3hot');
  });

  it('do not outlive the opening', async () => {
    {
      using fn = await nvme.open();
      await fn.setPowerState('D3hot');
    }
    using fn = await nvme.open();
    assert.equal(fn.powerState, 'D0');
    fn.bar(0).read32(0);
  });
});

describe(`power states of ${nic.name}`, () => {
  it('lose registers, which is reported as a reset, and keep interrupts', async () => {
    using fn = await nic.open();
    fn.setMaster();
    const interrupt = fn.interrupts.msi();
    const told: ResetReport[] = [];
    fn.onReset((report) => told.push(report));
    fn.bar(0).write32(0x2800, 0x12340);
    assert.equal(await fn.setPowerState('D3hot'), undefined);
    refuses(() => fn.bar(0).read32(0), 'EIO');
    refuses(() => fn.rom!.read(), 'EIO');
    const report = await fn.setPowerState('D0');
    assert.deepEqual([report?.kind, report?.functions, report?.busMaster], ['power', [fn.address], true]);
    assert.deepEqual(report?.rearmed, [{ kind: 'msi', vector: 0 }]);
    await tick();
    assert.deepEqual(told, [report]);
    // QEMU 7.2 keeps them all the same.
    if (!real) assert.equal(fn.bar(0).read32(0x2800), 0);
    await reaches(nic, fn, interrupt);
  });
});
