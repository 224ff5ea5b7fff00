/** Back in time: copies of the state, waveforms of what is over, and who wrote a byte. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Edu } from '../../examples/edu/driver.ts';
import { DmaError, openPci } from '../../lib/index.ts';
import { RtlModel } from '../../lib/rtl/index.ts';
import type { Simulator } from '../../lib/rtl/simulator.ts';
import { simulate } from '../../lib/sim/index.ts';
import { owned } from '../owned.ts';
import { buggy, FATAL } from './bugs/planted.ts';
import { design, missing, TARGETS } from './designs.ts';
import { FlatMemory } from './memory.ts';
import { type Behaviour, eduModel } from './models.ts';

const folder = mkdtempSync(join(tmpdir(), 'userdma-back-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
if (missing === undefined) {
  for (const target of TARGETS) await design('edu', target);
  await buggy('edu');
}
if (missing !== undefined) console.log(`back in time is skipped: ${missing}`);

const BUSY: Behaviour = { seed: 7, pressure: 30, latency: 12, reorder: true };

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function hashOf(file: string): string {
  return hash(readFileSync(file));
}

/** A transfer begins whenever the device is free: each step is some clocks of it. */
function step(simulator: Simulator, i: number): void {
  simulator.read(0x98, 4);
  if ((simulator.low & 1) === 0) {
    const toMemory = i % 2 === 1;
    const memory = 0x10000 + ((i * 37) % 5000);
    const device = 0x40000 + ((i * 11) % 900);
    const [source, destination] = toMemory ? [device, memory] : [memory, device];
    simulator.write(0x80, 4, source, 0);
    simulator.write(0x88, 4, destination, 0);
    simulator.write(0x90, 4, 1 + ((i * 131) % 3000), 0);
    simulator.write(0x98, 4, toMemory ? 7 : 5, 0);
  }
  simulator.run(50);
}

describe.skipIf(missing !== undefined)('a copy of the state', { timeout: 300_000 }, () => {
  it('goes on as the straight run did, from each of 100: state, memory, waveform', async () => {
    const memory = new FlatMemory();
    memory.bytes.forEach((_, i) => {
      memory.bytes[i] = i * 7 + (i >> 8);
    });
    const simulator = (await design('edu', 'wasm')).open(memory);
    simulator.set('pin.dma_bits', 40);
    for (const [name, value] of [
      ['seed', 7],
      ['pressure', 30],
      ['latency', 12],
    ] as const) {
      simulator.set(name, value);
    }
    const STEPS = 100;
    const copies: { state: readonly Uint8Array[]; memory: Uint8Array }[] = [];
    for (let i = 0; i < STEPS; i++) {
      copies.push({ state: simulator.snapshot!(), memory: memory.bytes.slice() });
      step(simulator, i);
    }
    const end = {
      clock: simulator.clock,
      state: hash(Buffer.concat(simulator.snapshot!())),
      memory: hash(memory.bytes),
    };
    expect(end.clock).toBeGreaterThan(5000);
    const waves = new Set<string>();
    for (const [from, copy] of copies.entries()) {
      simulator.restore!(copy.state);
      memory.bytes.set(copy.memory);
      for (let i = from; i < STEPS; i++) step(simulator, i);
      expect(simulator.clock).toBe(end.clock);
      expect(hash(Buffer.concat(simulator.snapshot!())), `from copy ${from}`).toBe(end.state);
      expect(hash(memory.bytes), `from copy ${from}`).toBe(end.memory);
      // Once more with a waveform of the last clocks.
      simulator.restore!(copy.state);
      memory.bytes.set(copy.memory);
      const file = join(folder, 'copy.vcd');
      simulator.waves(file, { from: end.clock - 40, to: end.clock });
      for (let i = from; i < STEPS; i++) step(simulator, i);
      simulator.waves('', { from: 0, to: 0 });
      waves.add(hashOf(file));
    }
    expect(waves.size).toBe(1);
    expect(readFileSync(join(folder, 'copy.vcd')).length).toBeGreaterThan(5000);
    expect(memory.reports).toEqual([]);
    simulator.close();
  });

  it('of a model has its time and its interrupt line', async () => {
    const model = await eduModel('wasm');
    const fn = await openPci(simulate(model));
    const bar = fn.bar(0);
    bar.write32(0x04, 0x1234);
    const copy = model.snapshot();
    const clock = model.simulator.clock;
    bar.write32(0x04, 0x5678);
    bar.write32(0x60, 1);
    expect(bar.read32(0x24)).toBe(1);
    model.restore(copy);
    expect(model.simulator.clock).toBe(clock);
    expect(bar.read32(0x04)).toBe(~0x1234 >>> 0);
    expect(bar.read32(0x24)).toBe(0);
    fn.close();
  });
});

/** The same work every time, up to a clock. The function is open then. */
async function work(model: RtlModel, until: number): Promise<Edu> {
  const edu = await owned(openPci(simulate(model), { debug: { print: false } }), (fn) => new Edu(fn));
  for (let i = 0; model.simulator.clock <= until; i++) {
    const bytes = Uint8Array.from({ length: 200 + 37 * i }, (_, at) => at * 7 + i);
    await edu.send(bytes, i);
    const back = new Uint8Array(bytes.length);
    await edu.receive(back, i);
    expect([...back]).toEqual([...bytes]);
  }
  return edu;
}

describe.skipIf(missing !== undefined)('a waveform of a window that is over', () => {
  it('is the one that would have been recorded, byte for byte', async () => {
    const window = { from: 700, to: 1500 };
    const straight = await eduModel('wasm', 28, { ...BUSY, rewind: 1_000_000 });
    const recorded = join(folder, 'recorded.vcd');
    straight.waves({ file: recorded, ...window });
    (await work(straight, window.to)).close();
    for (const rewind of [100, 333, 2000]) {
      const model = await eduModel('wasm', 28, { ...BUSY, rewind });
      const file = join(folder, `over-${rewind}.vcd`);
      const edu = await work(model, window.to);
      const { clock } = model.simulator;
      if (rewind === 100) {
        // Eight copies reach back a few hundred clocks.
        expect(() => model.waves({ file, from: 0, to: 10 })).toThrow(/too long ago/);
      } else {
        model.waves({ file, ...window });
        expect(hashOf(file)).toBe(hashOf(recorded));
      }
      model.waves({ file, last: 50 });
      const times = [...readFileSync(file, 'utf8').matchAll(/^#(\d+)$/gm)].map(
        ([, time]) => Number(time) / 10_000,
      );
      expect(Math.min(...times)).toBeGreaterThanOrEqual(clock - 51);
      expect(times.length).toBeGreaterThan(20);
      expect(model.simulator.clock).toBe(clock);
      edu.close();
    }
  });

  it('shows mappings, syncs, interrupts and reports of dma-debug', async () => {
    const model = await eduModel('wasm', 28, { rewind: 1_000_000 });
    const fn = await openPci(simulate(model), { debug: { print: false } });
    const edu = new Edu(fn);
    const mapping = fn.dma.mapSingle(new Uint8Array(64).fill(7), 'to-device');
    await edu.transfer(mapping.dmaAddress, 0x40000n, 64, 0);
    mapping.syncForCpu();
    mapping.syncForDevice();
    const address = mapping.dmaAddress;
    mapping.unmap();
    await edu.transfer(0x40000n, address, 8, 2);
    const file = join(folder, 'driver.vcd');
    model.waves({ file, from: 0 });
    const notes = notesIn(readFileSync(file, 'utf8'));
    const at = `0x${address.toString(16)}`;
    for (const note of [
      /^allocate coherent /,
      `map ${at}+64 to-device`,
      `sync-for-cpu ${at}+64`,
      `sync-for-device ${at}+64`,
      `unmap ${at}+64 to-device`,
      'interrupt MSI 0',
      /^dma-debug device-after-release /,
    ]) {
      expect(notes).toContainEqual(typeof note === 'string' ? note : expect.stringMatching(note));
    }
    edu.close();
  });

  it('starts at most where the simulation did: nothing is shown of a simulation that has just begun', async () => {
    const model = await eduModel('wasm', 28, { rewind: 1000 });
    const file = join(folder, 'begun.vcd');
    model.waves({ file, last: 1_000_000 });
    expect(readFileSync(file, 'utf8')).toContain('$version');
    // A window of this very clock is over, too: nothing is recorded from now on.
    const { clock } = model.simulator;
    model.waves({ file, from: clock, to: clock });
    const { length } = readFileSync(file);
    model.mark('later');
    model.close();
    expect(readFileSync(file).length).toBe(length);
  });

  it('cannot be of no clocks', async () => {
    const model = await eduModel('wasm', 28, { rewind: 1000 });
    const plain = await eduModel('wasm');
    for (const last of [0, -5, 1.5, Number.NaN]) {
      const file = join(folder, 'none.vcd');
      expect(() => model.waves({ file, last })).toThrow(/^last is /);
      expect(() => plain.waves({ file, last })).toThrow(/cannot go back in time/);
    }
    model.close();
    plain.close();
  });

  it('needs copies of the state', async () => {
    const model = await eduModel('wasm');
    expect(() => model.waves({ file: join(folder, 'none.vcd'), last: 10 })).toThrow(DmaError);
    const open = async () => await eduModel('process', 28, { rewind: 1000 });
    await expect(open()).rejects.toThrow(/cannot be copied/);
    model.close();
  });
});

/** The values of the signal `note`, decoded. */
function notesIn(vcd: string): string[] {
  const code = /\$var wire 512 (\S+) note /.exec(vcd)?.[1];
  return vcd
    .split('\n')
    .filter((line) => line.endsWith(` ${code}`) && line.startsWith('b'))
    .map((line) => {
      const bits = line.slice(1, line.indexOf(' ')).padStart(512, '0');
      const bytes = bits.match(/.{8}/g)!.map((byte) => Number.parseInt(byte, 2));
      return Buffer.from(bytes.filter((byte) => byte !== 0)).toString();
    });
}

describe.skipIf(missing !== undefined)('the file of a waveform', () => {
  const nowhere = join(folder, 'nowhere', 'file.vcd');

  for (const target of TARGETS) {
    it(`${target}: that cannot be written is EIO, and the design goes on`, async () => {
      const model = await eduModel(target);
      const file = join(folder, 'old.vcd');
      model.waves({ file });
      expect(() => model.waves({ file: nowhere })).toThrow(
        expect.objectContaining({ code: 'EIO', message: expect.stringContaining(nowhere) }),
      );
      expect(model.read(0, 0, 4)).toBe(0x0100_00ed);
      model.close();
    });

    it(`${target}: can be the one that is being written: it has the new waveform alone`, async () => {
      const model = await eduModel(target);
      using edu = await owned(openPci(simulate(model)), (fn) => new Edu(fn));
      const file = join(folder, `again-${target}.vcd`);
      model.waves({ file });
      await edu.send(new Uint8Array(100));
      const from = model.simulator.clock;
      model.waves({ file });
      await edu.send(new Uint8Array(100));
      model.endWaves();
      const text = readFileSync(file, 'utf8');
      expect(text.match(/\$version/g)).toHaveLength(1);
      const [first] = /^#\d+$/m.exec(text)!;
      expect(Number(first.slice(1)) / 10_000).toBeGreaterThanOrEqual(from - 1);
    });
  }

  it('that is over and cannot be written is EIO', async () => {
    const model = await eduModel('wasm', 28, { rewind: 1000 });
    model.read(0, 0, 4);
    expect(() => model.waves({ file: nowhere, last: 5 })).toThrow(expect.objectContaining({ code: 'EIO' }));
    model.close();
  });

  // Every write to it fails as on a full disk.
  describe.skipIf(!existsSync('/dev/full'))('on a full disk', () => {
    const full = expect.objectContaining({ code: 'EIO', message: expect.stringMatching(/ENOSPC/) });

    it('is told of once, when it is ended, and the design goes on', async () => {
      const model = await eduModel('wasm');
      const edu = await owned(openPci(simulate(model)), (fn) => new Edu(fn));
      model.waves({ file: '/dev/full' });
      // Some of it is written while the driver is in no call.
      for (let i = 0; i < 40; i++) await edu.send(new Uint8Array(2000));
      expect(edu.isAlive(0x1234_5678)).toBe(true);
      expect(() => model.endWaves()).toThrow(full);
      model.endWaves();
      edu.close();
    });

    it('is told of at its end', async () => {
      for (const end of ['endWaves', 'close'] as const) {
        const model = await eduModel('wasm');
        const slot = simulate(model);
        const fn = await openPci(slot);
        model.waves({ file: '/dev/full' });
        fn.bar(0).write32(0x04, 1);
        if (end === 'endWaves') {
          expect(() => model.endWaves()).toThrow(full);
          expect(fn.bar(0).read32(0x04)).toBe(~1 >>> 0);
          fn.close();
        } else expect(() => fn.close()).toThrow(full);
        // The function is not left half open.
        (await openPci(slot)).close();
      }
    });

    it('is told of when it is of a window that is over', async () => {
      const model = await eduModel('wasm', 28, { rewind: 1000 });
      model.read(0, 0, 4);
      expect(() => model.waves({ file: '/dev/full', last: 5 })).toThrow(full);
      expect(model.read(0, 0, 4)).toBe(0x0100_00ed);
      model.close();
    });
  });
});

describe.skipIf(missing !== undefined)('a design that is opened again', () => {
  it('has no line and no history of the last time', async () => {
    const model = await eduModel('wasm');
    const source = simulate(model);
    const first = await openPci(source, { debug: { print: false } });
    const edu = new Edu(first);
    await edu.read(8, 0, 0);
    const address = edu.page.dmaAddress;
    expect(model.history(address).length).toBeGreaterThan(0);
    edu.close();
    const second = await openPci(source);
    second.bar(0).write32(0x60, 1);
    expect(model.snapshot().line).toBe(true);
    expect(model.history(address)).toEqual([]);
    second.close();
    const third = await openPci(source);
    expect(third.bar(0).read32(0x24)).toBe(0);
    expect(model.snapshot().line).toBe(false);
    third.close();
  });
});

describe.skipIf(missing !== undefined)('a design that ends the simulation', () => {
  it('is off the bus, and there again when it is plugged in', async () => {
    const config = { vendorId: 0x1234, deviceId: 0x11e8, intx: true, msi: 1 };
    const source = simulate(
      new RtlModel(await buggy('edu'), { config, pins: { dma_bits: 40, bug: FATAL.bug } }),
    );
    const fn = await openPci(source);
    const bar = fn.bar(0);
    bar.write32(FATAL.offset, 1);
    const waiting = fn.interrupts.msi(0).wait({ timeout: 30_000 });
    waiting.catch(() => {});
    const stop = () => {
      bar.write32(FATAL.offset, FATAL.write);
      bar.read32(0);
    };
    expect(stop).toThrow(
      expect.objectContaining({ code: 'EIO', cause: expect.objectContaining({ name: 'RuntimeError' }) }),
    );
    expect(() => bar.read32(0)).toThrow(expect.objectContaining({ code: 'ENODEV' }));
    await expect(waiting).rejects.toMatchObject({ code: 'ENODEV' });
    fn.close();
    await expect(openPci(source)).rejects.toMatchObject({ code: 'ENODEV' });
    source.plugIn();
    const again = await openPci(source);
    expect(again.bar(0).read32(0)).toBe(0x0100_00ed);
    again.close();
  });
});

describe.skipIf(missing !== undefined)('who wrote a byte', () => {
  for (const target of ['wasm', 'process'] as const) {
    it(`${target}: the beat, its clock and strobes, and the line that mapped it`, async () => {
      const model = await eduModel(target, 28, { history: 100 });
      const fn = await openPci(simulate(model), { debug: { print: false } });
      using edu = new Edu(fn);
      await edu.send(Uint8Array.from({ length: 32 }, (_, i) => i + 1));
      const start = model.simulator.clock;
      const into = fn.dma.mapSingle(new Uint8Array(40), 'from-device');
      await edu.transfer(0x40000n, into.dmaAddress + 3n, 20, 2);
      const [write, ...older] = model.history(into.dmaAddress + 3n + 10n);
      expect(older).toEqual([]);
      const lane = Number((into.dmaAddress + 3n) % 8n);
      expect(write).toMatchObject({
        iova: into.dmaAddress + 13n,
        value: 11,
        written: true,
        over: false,
        beat: {
          port: 'm_axi_',
          address: into.dmaAddress + 3n,
          beats: Math.ceil((20 + lane) / 8),
          number: Math.floor((10 + lane) / 8) + 1,
        },
        mapping: { type: 'single', size: 40, direction: 'from-device' },
      });
      expect(write!.clock).toBeGreaterThan(start);
      expect(write!.clock).toBeLessThanOrEqual(model.simulator.clock);
      expect(write!.mapping!.stack).toContain('back.test.ts');
      expect(String(write)).toMatch(
        /^clock \d+: 0xb at 0x\w+ by beat \d of \d of the burst at 0x\w+ of m_axi_\* \(wstrb 0xff\); single, 40 bytes/,
      );
      expect(model.history(into.dmaAddress + 2n)).toEqual([]);
      // The same byte again, once the mapping is over.
      const address = into.dmaAddress + 13n;
      into.unmap();
      await edu.transfer(0x40000n, address, 1, 2);
      const [again, first] = model.history(address);
      expect(again).toMatchObject({ over: true, value: 1 });
      expect(first).toMatchObject({ value: 11, over: false });
      // Where nothing is mapped, memory does not change.
      await edu.transfer(0x40000n, 0x1000n, 1, 2);
      expect(model.history(0x1000)).toMatchObject([{ written: false, value: 1, mapping: undefined }]);
    });

    it(`${target}: a refused write gets no mapping that was made after it`, async () => {
      const open = async () => {
        const model = await eduModel(target);
        const fn = await openPci(simulate(model), { debug: { print: false } });
        return { model, fn, edu: new Edu(fn) };
      };
      const map = ({ fn }: Awaited<ReturnType<typeof open>>) =>
        fn.dma.mapSingle(new Uint8Array(64), 'from-device');
      const before = await open();
      const address = map(before).dmaAddress;
      before.edu.close();
      const after = await open();
      await after.edu.transfer(0x40000n, address, 8, 2);
      expect(map(after).dmaAddress).toBe(address);
      await after.edu.transfer(0x40000n, address, 8, 2);
      expect(after.model.history(address)).toMatchObject([
        { written: true, mapping: { size: 64 } },
        { written: false, mapping: undefined },
      ]);
      after.edu.close();
    });
  }
});
