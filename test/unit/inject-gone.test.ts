/** A device that is pulled out under its driver. */
import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { type Bar, openPci } from '../../lib/index.ts';
import {
  type DeviceBus,
  type DeviceModel,
  EduModel,
  FaultInjector,
  simulate,
  type Width,
} from '../../lib/sim/index.ts';
import { codeOf, drive, expectRecovery, faulty, ResettableEdu, useOwnTimeouts } from './inject-fixture.ts';
import { expectCode, RecordingModel } from './sim-fixture.ts';

useOwnTimeouts();

describe('unplug', () => {
  it('fails every access from there on with ENODEV', async () => {
    const source = simulate(new ResettableEdu());
    const edu = await drive(source);
    const { fn } = edu;
    const bar = fn.bar(0);
    source.unplug();
    source.unplug();
    for (const access of [
      () => bar.read8(0),
      () => bar.read16(0),
      () => bar.read32(0),
      () => bar.read64(0x80),
      () => bar.write8(0, 0),
      () => bar.write16(0, 0),
      () => bar.write32(0, 0),
      () => bar.write64(0x80, 0n),
      () => fn.config.vendorId,
      () => fn.setMaster(),
      () => fn.reset(),
      () => fn.interrupts.msi(0).listen(() => {}),
      () => fn.interrupts.intx(),
      () => edu.identify(),
    ]) {
      expectCode('ENODEV', access);
    }
    fn.close();
  });

  it('ends every wait with ENODEV, those that began before and those after', async () => {
    const source = simulate(new ResettableEdu());
    const edu = await drive(source);
    const { interrupt } = edu;
    const seen: number[] = [];
    interrupt.listen((count) => seen.push(count));
    const iteration = (async () => {
      for await (const count of interrupt) seen.push(count);
    })();
    const waits = [edu.factorial(5), edu.read(10), interrupt.wait(), iteration];
    const codes = Promise.all(waits.map(codeOf));
    source.unplug();
    expect(await codes).toEqual(waits.map(() => 'ENODEV'));
    expect(await codeOf(interrupt.wait())).toBe('ENODEV');
    expect(await codeOf(edu.factorial(5))).toBe('ENODEV');
    for (let i = 0; i < 5; i++) await tick();
    expect(seen).toEqual([]);
    edu.close();
    expect(await codeOf(interrupt.wait())).toBe('ENODEV');
  });

  it('takes back an interrupt that was under way', async () => {
    const source = simulate(new ResettableEdu());
    const edu = await drive(source);
    edu.fn.bar(0).write32(0x60, 1);
    source.unplug();
    for (let i = 0; i < 5; i++) await tick();
    expect(edu.interrupt.count).toBe(0);
    edu.close();
  });

  it('leaves memory as it is until the function is closed, and the device cannot reach it', async () => {
    const source = simulate(new EduModel());
    const edu = await drive(source);
    const { dma } = edu.fn;
    edu.page.bytes.fill(0x5a);
    const mapping = dma.mapSingle(new Uint8Array(100), 'from-device');
    edu.start(0x40000n, edu.page.dmaAddress, 64, 2);
    source.unplug();
    for (let i = 0; i < 5; i++) await tick();
    expect(edu.page.bytes.every((byte) => byte === 0x5a)).toBe(true);
    mapping.unmap();
    expectCode('ENODEV', () => dma.allocCoherent(100));
    expect(edu.page.dmaAddress).toBeGreaterThan(0n);
    edu.close();
    expect(edu.page.bytes.length).toBe(0);
    expect(dma.live).toEqual([]);
    expect(source.faults).toEqual([]);
  });

  it('keeps others out until it is back, and then it is as after power-up', async () => {
    const source = simulate(new EduModel());
    const edu = await drive(source);
    edu.isAlive(7);
    edu.start(0x40000n, edu.page.dmaAddress, 64, 2);
    source.unplug();
    expectCode('EBUSY', () => source.plugIn());
    edu.close();
    await expect(openPci(source)).rejects.toMatchObject({ code: 'ENODEV' });
    source.plugIn();
    source.plugIn();
    using fresh = await openPci(source);
    expect(fresh.bar(0).read32(4)).toBe(0);
    expect(fresh.bar(0).read32(0x98)).toBe(0);
    for (let i = 0; i < 5; i++) await tick();
    expect(source.faults).toEqual([]);
  });

  it('silences the device, whatever it still tries', async () => {
    const model = new RecordingModel({ msi: 1 });
    const source = simulate(model);
    const fn = await openPci(source);
    fn.setMaster();
    const interrupt = fn.interrupts.msi(0);
    const buffer = fn.dma.allocCoherent(4096);
    const { dmaAddress } = buffer;
    buffer.bytes.fill(1);
    source.unplug();
    let acted = false;
    const found = Uint8Array.of(9, 9);
    model.bus.raise();
    model.bus.after(1, () => {
      acted = true;
    });
    model.bus.dmaRead(dmaAddress, found);
    model.bus.dmaWrite(dmaAddress, Uint8Array.of(7));
    expect(found).toEqual(Uint8Array.of(0, 0));
    expect(buffer.bytes[0]).toBe(1);
    for (let i = 0; i < 5; i++) await tick();
    fn.clearMaster();
    buffer.free();
    fn.close();
    expectCode('ENODEV', () => fn.clearMaster());
    source.plugIn();
    using fresh = await openPci(source);
    for (let i = 0; i < 5; i++) await tick();
    expect([interrupt.count, acted, fresh.busMaster]).toEqual([0, false, false]);
    expect(source.faults).toEqual([]);
  });

  it('lets no other function reach its registers', async () => {
    const source = simulate(new EduModel());
    const gone = await openPci(source);
    using other = await openPci(simulate(new EduModel(), { address: '0000:00:11.0' }));
    const bar = gone.bar(0);
    using mapping = other.dma.mapResource(bar, 0, 4096, 'bidirectional');
    expect(mapping.size).toBe(4096);
    source.unplug();
    expectCode('ENODEV', () => other.dma.mapResource(bar, 0, 4096, 'bidirectional'));
    gone.close();
  });
});

describe('device-gone', () => {
  it('at any access or doing of the device is one ENODEV, and closing leaves nothing', async () => {
    let struck = 0;
    for (let nth = 1; nth < 40; nth++) {
      const machine = faulty({}, nth);
      const edu = await drive(machine.source);
      machine.injector.on('device-gone', { nth });
      const codes: (string | undefined)[] = [];
      for (const call of [
        () => edu.write(Uint8Array.of(1, 2, 3)),
        () => edu.factorial(4),
        () => edu.send(new Uint8Array(5000).subarray(0, 4000)),
        () => edu.receive(new Uint8Array(40)),
        () => edu.read(3),
      ]) {
        codes.push(await codeOf(call()));
      }
      const first = codes.indexOf('ENODEV');
      expect(codes.slice(0, first < 0 ? 5 : first).every((code) => code === undefined)).toBe(true);
      expect(codes.slice(first < 0 ? 5 : first).every((code) => code === 'ENODEV')).toBe(true);
      expect(machine.injector.total).toBe(first < 0 ? 0 : 1);
      if (first >= 0) struck++;
      expect(edu.fn.dma.bounceStats.usedSlots).toBe(0);
      await expectRecovery(edu, machine);
    }
    expect(struck).toBeGreaterThan(25);
  });

  it('happens once, whatever the device does in that moment', async () => {
    const machine = faulty();
    const edu = await drive(machine.source);
    machine.injector.on('device-gone');
    // The device begins a calculation as it goes.
    expectCode('ENODEV', () => edu.fn.bar(0).write32(0x08, 5));
    expectCode('ENODEV', () => edu.fn.bar(0).read32(0x08));
    expect(machine.injector.total).toBe(1);
    await expectRecovery(edu, machine);
  });

  it.each<[string, (bar: Bar) => unknown]>([
    ['8-bit', (bar) => bar.read8(0)],
    ['16-bit', (bar) => bar.read16(0)],
    ['32-bit', (bar) => bar.read32(0)],
    ['64-bit', (bar) => bar.read64(0)],
    ['8-bit', (bar) => bar.write8(0, 0)],
    ['16-bit', (bar) => bar.write16(0, 0)],
    ['32-bit', (bar) => bar.write32(0, 0)],
    ['64-bit', (bar) => bar.write64(0, 0n)],
  ])('in the middle of a %s access fails that access', async (width, access) => {
    const machine = faulty();
    const edu = await drive(machine.source);
    machine.injector.on('device-gone', { nth: 2 });
    const bar = edu.fn.bar(0);
    expect(bar.read32(0)).toBe(0x010000ed);
    expect(() => access(bar)).toThrow(
      `${width} access at offset 0x0 of BAR 0: it is closed or the device is gone`,
    );
    expect(machine.injector.total).toBe(1);
    await expectRecovery(edu, machine);
  });
});

describe('a model whose device is pulled out', () => {
  /** Goes through a ring in one register write, and stops at an entry that is not empty. */
  class RingReader implements DeviceModel {
    readonly config = { vendorId: 0x1af4, deviceId: 1 };
    readonly bars = [{ index: 0, size: 4096 }];
    read = () => 0;
    entries = 0;
    closed = 0;
    ended = false;
    #bus!: DeviceBus;

    attach(bus: DeviceBus): void {
      this.#bus = bus;
    }

    reset(): void {}

    close(): void {
      this.closed++;
    }

    write(_bar: number, _offset: number, _width: Width, value: number): void {
      const entry = new Uint8Array(1);
      for (; this.entries < 65_000 && entry[0] === 0; this.entries++) this.#bus.dmaRead(value, entry);
      this.ended = true;
    }
  }

  it('does nothing more in the middle of what it does, and is told when its driver lets it go', async () => {
    const inject = new FaultInjector().on('device-gone', { nth: 10 });
    const model = new RingReader();
    const fn = await openPci(simulate(model, { inject }), { debug: false });
    fn.setMaster();
    const memory = fn.dma.allocCoherent(4096);
    expect(() => fn.bar(0).write32(0, memory.low)).toThrow(expect.objectContaining({ code: 'ENODEV' }));
    expect(model.entries).toBeLessThan(10);
    expect([model.ended, model.closed]).toEqual([false, 1]);
    fn.close();
    expect(model.closed).toBe(1);
  });

  it('is told at each close', async () => {
    const model = new RingReader();
    const source = simulate(model);
    for (const times of [1, 2]) {
      (await openPci(source)).close();
      expect(model.closed).toBe(times);
    }
  });
});
