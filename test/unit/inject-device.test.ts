/** Interrupts, registers, transfers and resets that fail, under the edu driver. */
import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { openPci } from '../../lib/index.ts';
import { EduModel, FaultInjector, simulate } from '../../lib/sim/index.ts';
import { InjectedModel } from '../../lib/sim/inject/device.ts';
import {
  codeOf,
  drive,
  expectRecovery,
  expectWorks,
  faulty,
  outcome,
  useOwnTimeouts,
  withFault,
} from './inject-fixture.ts';
import { command, expectCode, MASTER, plug, RecordingModel } from './sim-fixture.ts';

useOwnTimeouts();

const RAISE = 0x60;
const ACKNOWLEDGE = 0x64;
const DMA_COMMAND = 0x98;

async function turns(count = 10): Promise<void> {
  for (let i = 0; i < count; i++) await tick();
}

describe('interrupts', () => {
  it('that are lost make the driver time out, once', async () => {
    const machine = withFault('interrupt-lost', { nth: 2 });
    const edu = await drive(machine.source);
    expect(await outcome(edu.factorial(5))).toBe(120);
    expect(await codeOf(edu.factorial(5))).toBe('ETIMEDOUT');
    expect(await outcome(edu.factorial(6))).toBe(720);
    expect(edu.interrupt.count).toBe(2);
    await expectRecovery(edu, machine);
  });

  it('that are duplicated come twice', async () => {
    const machine = withFault('interrupt-duplicated', { nth: 1 });
    const edu = await drive(machine.source);
    expect(await outcome(edu.factorial(5))).toBe(120);
    await turns();
    expect(edu.interrupt.count).toBe(2);
    await expectWorks(edu);
    await expectRecovery(edu, machine);
  });

  it('that are coalesced come as one, later', async () => {
    const machine = withFault('interrupt-coalesced', { nth: 1, microseconds: 50 });
    const edu = await drive(machine.source);
    const bar = edu.fn.bar(0);
    for (let i = 0; i < 3; i++) bar.write32(RAISE, 2);
    for (let i = 0; i < 40; i++) bar.read32(0);
    await tick();
    expect(edu.interrupt.count).toBe(0);
    await turns();
    expect(edu.interrupt.count).toBe(1);
    bar.write32(ACKNOWLEDGE, 2);
    await expectWorks(edu);
    await expectRecovery(edu, machine);
  });

  it('that are coalesced for ever are lost', async () => {
    const machine = withFault('interrupt-coalesced', { nth: 1, microseconds: Number.POSITIVE_INFINITY });
    const edu = await drive(machine.source);
    expect(await codeOf(edu.factorial(5))).toBe('ETIMEDOUT');
    expect(await codeOf(edu.factorial(5))).toBe('ETIMEDOUT');
    await expectRecovery(edu, machine);
  });

  it('that nobody asked for do not mislead the driver', async () => {
    const machine = withFault('interrupt-spurious');
    const edu = await drive(machine.source);
    await expectWorks(edu);
    expect(edu.interrupt.count).toBeGreaterThan(machine.injector.total / 2);
    await expectRecovery(edu, machine);
  });

  it('on a line that nobody asked for leave it down', async () => {
    const { source, injector } = faulty();
    using fn = await openPci(source);
    const bar = fn.bar(0);
    const line = fn.interrupts.intx();
    const serviced = async (): Promise<number> => {
      await turns();
      line.unmask();
      await turns();
      return line.count;
    };
    const spurious = (): void => {
      injector.off().on('interrupt-spurious', { nth: 1 });
      bar.write32(0x04, 0);
    };
    spurious();
    expect(await serviced()).toBe(1);
    bar.write32(RAISE, 1);
    await turns();
    bar.write32(ACKNOWLEDGE, 1);
    expect(await serviced()).toBe(2);
    spurious();
    expect(await serviced()).toBe(3);
  });

  it('on a line that is up leave it up', async () => {
    const { source } = withFault('interrupt-spurious', { nth: 2 });
    using fn = await openPci(source);
    const line = fn.interrupts.intx();
    fn.bar(0).write32(RAISE, 1);
    fn.bar(0).write32(0x04, 0);
    await turns();
    line.unmask();
    await turns();
    expect(line.count).toBe(2);
  });
});

describe('completions that are delayed', () => {
  it('come by so much later', async () => {
    const machine = withFault('completion-delayed', { nth: 1, microseconds: 500 });
    using edu = await drive(machine.source);
    const bar = edu.fn.bar(0);
    const polls = (): number => {
      bar.write32(0x08, 4);
      let count = 1;
      while (bar.read32(0x20) & 1) count++;
      return count;
    };
    expect([polls(), polls()]).toEqual([510, 10]);
  });

  it('for ever never come', async () => {
    const machine = withFault('completion-delayed', { nth: 1, microseconds: Number.POSITIVE_INFINITY });
    const edu = await drive(machine.source);
    expect(await codeOf(edu.write(Uint8Array.of(1)))).toBe('ETIMEDOUT');
    expect(edu.fn.bar(0).read32(DMA_COMMAND) & 1).toBe(1);
    // It is still at it, and must not reach memory that has been given back.
    expect(edu.fn.busMaster).toBe(false);
    await expectRecovery(edu, machine);
  });
});

describe('reads that get no answer', () => {
  it('are all ones, of every width', async () => {
    const { source } = withFault('read-all-ones');
    using fn = await openPci(source);
    const bar = fn.bar(0);
    expect([bar.read8(0), bar.read16(0), bar.read32(0), bar.read64(0x80)]).toEqual([
      0xff,
      0xffff,
      0xffffffff,
      2n ** 64n - 1n,
    ]);
  });

  it('are an error of the driver that looks', async () => {
    const machine = withFault('read-all-ones', { nth: 1 });
    const edu = await drive(machine.source);
    expectCode('EIO', () => edu.identify());
    expect(edu.identify().major).toBe(1);
    await expectWorks(edu);
    await expectRecovery(edu, machine);
  });

  it('have been made all the same', () => {
    const model = new RecordingModel();
    const injector = new FaultInjector().on('read-all-ones');
    const { transport, bus } = plug(new InjectedModel(model, injector));
    injector.join(bus);
    expect(transport.bars[0]!.read64(8)).toBe(2n ** 64n - 1n);
    // The model has no 64-bit accesses, and gets none.
    expect(model.log.slice(1)).toEqual(['read32 0:8', 'read32 0:12']);
    transport.bars[0]!.write64(8, 5n);
    expect(model.log.slice(3)).toEqual(['write32 0:8 5', 'write32 0:12 0']);
    transport.close();
  });
});

describe('DMA that the IOMMU fails', () => {
  it('changes nothing, and is among the faults', async () => {
    const machine = faulty();
    const edu = await drive(machine.source);
    await outcome(edu.write(Uint8Array.of(1, 2, 3)));
    machine.injector.on('iommu-fault', { nth: 1 });
    edu.page.bytes.fill(0xee);
    expect(await outcome(edu.read(3))).toEqual(Uint8Array.of(0xee, 0xee, 0xee));
    const address = edu.page.dmaAddress;
    expect(machine.source.faults).toEqual([{ address, size: 3, access: 'write', reason: 'injected fault' }]);
    expect(await outcome(edu.read(3))).toEqual(Uint8Array.of(1, 2, 3));
    machine.injector.on('iommu-fault', { nth: 1 });
    await outcome(edu.write(Uint8Array.of(4, 5, 6)));
    expect(await outcome(edu.read(3))).toEqual(Uint8Array.of(0, 0, 0));
    await expectRecovery(edu, machine);
  });
});

describe('a reset that fails', () => {
  it('is EAGAIN and leaves the device as it was', async () => {
    const machine = withFault('reset-fails', { until: 2 });
    const edu = await drive(machine.source);
    edu.isAlive(5);
    for (let i = 0; i < 2; i++) expectCode('EAGAIN', () => edu.fn.reset());
    expect(edu.fn.bar(0).read32(4)).toBe(~5 >>> 0);
    edu.fn.reset();
    expect(edu.fn.bar(0).read32(4)).toBe(0);
    await expectRecovery(edu, machine);
  });

  it('does not keep the function from being closed at rest', async () => {
    const machine = withFault('reset-fails');
    const edu = await drive(machine.source);
    edu.isAlive(5);
    edu.close();
    using fresh = await openPci(machine.source);
    expect(fresh.bar(0).read32(4)).toBe(0);
  });

  it('is EOPNOTSUPP where there is none', async () => {
    const inject = new FaultInjector().on('reset-fails');
    using fn = await openPci(simulate(new EduModel(), { inject }));
    expectCode('EOPNOTSUPP', () => fn.reset());
  });
});

describe('an injector without rules', () => {
  it('changes nothing', async () => {
    const machine = faulty();
    using edu = await drive(machine.source);
    await expectWorks(edu);
    expect(machine.injector.total).toBe(0);
    expect(machine.source.model).toBeInstanceOf(EduModel);
  });

  it('begins when the device has power', () => {
    class Eager extends RecordingModel {
      override reset(): void {
        this.bus.after(1, () => {});
        this.bus.raise();
      }
    }
    const inject = new FaultInjector().on('completion-delayed').on('device-gone');
    simulate(new Eager(), { inject });
    expect(inject.total).toBe(0);
  });
});

describe('a held interrupt', () => {
  it('does not outlive a reset', async () => {
    const injector = new FaultInjector().on('interrupt-coalesced', { nth: 1 });
    const model = new RecordingModel({ msi: 1, functionLevelReset: true });
    const { transport, bus } = plug(new InjectedModel(model, injector));
    injector.join(bus);
    command(transport, MASTER);
    let count = 0;
    transport.interrupts.enable('msi', 0, (more) => {
      count += more;
    });
    model.bus.raise();
    transport.reset();
    model.bus.raise();
    await turns();
    expect(count).toBe(1);
    transport.close();
  });
});
