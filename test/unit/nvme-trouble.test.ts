/** What the NVMe driver makes of a device that is late, silent or gone: the simulation does it on order. */
import { afterEach, describe, expect, it } from 'vitest';
import { NvmeController, type NvmeOptions } from '../../examples/nvme/controller.ts';
import type { Namespace } from '../../examples/nvme/namespace.ts';
import { DmaError, openPci, type PciFunction } from '../../lib/index.ts';
import { FaultInjector, NvmeModel, type SimulatedSource, simulate, type Width } from '../../lib/sim/index.ts';
import { checkDmaAfterEach } from '../../lib/testing/index.ts';

const BLOCK = 512;
const TIMEOUT = 40;
const CONFIGURATION = 0x14;
const STATUS = 0x1c;
const DOORBELLS = 0x1000;
const FIRST_TAIL = DOORBELLS + 8;
/** Of config space. */
const COMMAND = 4;
const BUS_MASTER = 4;

// These tests say what the device has done by the time a call returns: it does not lag here.
checkDmaAfterEach(afterEach, { machine: {} });

/** A controller that may stop to listen, until it is enabled anew; and a list of its doorbells. */
class Listener extends NvmeModel {
  deaf = false;
  readonly rings: { offset: number; value: number; enabled: boolean }[] = [];
  #enabled = false;

  override write(bar: number, offset: number, width: Width, value: number): void {
    if (offset === CONFIGURATION) {
      this.#enabled = (value & 1) !== 0;
      this.deaf &&= !this.#enabled;
    }
    if (offset >= DOORBELLS) this.rings.push({ offset, value, enabled: this.#enabled });
    if (offset < DOORBELLS || !this.deaf) super.write(bar, offset, width, value);
  }
}

/** One doorbell fails, once, when it is told to. */
class Stumbler extends Listener {
  stumbles: number | undefined;

  override write(bar: number, offset: number, width: Width, value: number): void {
    if (offset === this.stumbles) {
      this.stumbles = undefined;
      throw new DmaError('EIO', 'no answer', { remedy: 'reset the function' });
    }
    super.write(bar, offset, width, value);
  }
}

interface Bench extends AsyncDisposable {
  readonly nvme: NvmeController;
  readonly disk: Namespace;
  readonly source: SimulatedSource;
}

async function bench(
  inject: FaultInjector,
  options: NvmeOptions = {},
  model = new NvmeModel({ latency: 10 }),
): Promise<Bench> {
  const source = simulate(model, { inject });
  const nvme = await NvmeController.open(await openPci(source), { timeout: TIMEOUT, ...options });
  const [disk] = await nvme.namespaces();
  return { nvme, disk: disk!, source, [Symbol.asyncDispose]: () => nvme.close() };
}

/** The outcome of each: undefined, or what it failed with. */
async function failures(promises: readonly Promise<unknown>[]): Promise<(DmaError | undefined)[]> {
  const results = await Promise.allSettled(promises);
  return results.map((result) => (result.status === 'rejected' ? (result.reason as DmaError) : undefined));
}

function reads(disk: Namespace, count: number): Promise<void>[] {
  return Array.from({ length: count }, (_, i) => disk.read(i, new Uint8Array(BLOCK)));
}

/** Opens, reads, is reset meanwhile, and is closed: whatever fails does so because the device is gone, or was reset. */
async function liveAndDie(fn: PciFunction): Promise<void> {
  await using nvme = await NvmeController.open(fn, { depth: 4, timeout: TIMEOUT });
  const [disk] = await nvme.namespaces();
  const errors = await failures([...reads(disk!, 10), nvme.reset(), disk!.flush()]);
  for (const error of errors) expect([undefined, 'ENODEV', 'ECANCELED']).toContain(error?.code);
}

describe('NVMe in trouble', () => {
  it('finds completions whose interrupts were lost', async () => {
    const inject = new FaultInjector({ seed: 1 });
    await using bed = await bench(inject);
    inject.on('interrupt-lost');
    await Promise.all(reads(bed.disk, 5));
    expect(bed.nvme.mishaps).toEqual({ aborts: 0, lostInterrupts: 5 });
    inject.off('interrupt-lost');
    await bed.disk.flush();
  });

  it('bears interrupts that come twice, late or for nothing', async () => {
    for (const kind of ['interrupt-duplicated', 'interrupt-coalesced', 'interrupt-spurious'] as const) {
      const inject = new FaultInjector({ seed: 1 });
      await using bed = await bench(inject);
      inject.on(kind);
      await Promise.all(reads(bed.disk, 50));
      expect(bed.nvme.mishaps).toEqual({ aborts: 0, lostInterrupts: 0 });
    }
  });

  it('lets nobody into a queue while it is reset, not even who is told of that', async () => {
    const inject = new FaultInjector({ seed: 1 });
    await using bed = await bench(inject);
    const { nvme, source } = bed;
    const { pair } = nvme.queues[0]!;
    using memory = nvme.fn.dma.allocCoherent(BLOCK);
    const data = nvme.memory.lend(memory.bytes, 'from-device');
    const places: number[] = [];
    const submit = () => pair.submitRead(bed.disk.id, 0, 1, data.pointer, eager);
    let done = 0;
    const eager = {
      complete: () => void done++,
      abandon: () => {
        places.push(submit(), pair.room, pair.poll());
        pair.ring();
      },
    };
    submit();
    await nvme.reset();
    expect(places).toEqual([-1, 0, 0]);
    expect(submit()).toBeGreaterThanOrEqual(0);
    pair.ring();
    await bed.disk.flush();
    expect(done).toBe(1);
    data.release();
    expect(source.faults).toEqual([]);
  });

  it('ends a command that the controller never does: aborted, or else by a reset', async () => {
    const inject = new FaultInjector({ seed: 1 });
    await using bed = await bench(inject, { depth: 8 });
    inject.on('completion-delayed', { nth: 1, microseconds: Number.POSITIVE_INFINITY });
    const [late, ...others] = await failures(reads(bed.disk, 20));
    expect(late).toMatchObject({ name: 'DmaError', code: 'ETIMEDOUT' });
    expect(others.every((error) => error === undefined || error.code === 'ECANCELED')).toBe(true);
    expect(bed.nvme.mishaps.aborts).toBe(1);
    await Promise.all(reads(bed.disk, 5));
    expect(bed.nvme.state).toBe('live');
  });

  it('sends no abort that would have to wait, and so could come after a reset', async () => {
    const inject = new FaultInjector({ seed: 1 });
    const model = new Listener({ latency: 10 });
    await using bed = await bench(inject, {}, model);
    inject.on('completion-delayed', { nth: 1, microseconds: Number.POSITIVE_INFINITY });
    const read = failures(reads(bed.disk, 1));
    await new Promise((resolve) => setTimeout(resolve, TIMEOUT / 2));
    const { aborts } = bed.nvme.mishaps; // none, unless this test was held up
    model.deaf = true;
    const admin = failures(Array.from({ length: 40 }, () => bed.nvme.admin.identifyController()));
    const [error] = await read;
    expect(['ETIMEDOUT', 'ECANCELED']).toContain(error?.code);
    await admin;
    await Promise.all(reads(bed.disk, 20));
    expect(bed.nvme.mishaps.aborts).toBe(aborts);
  });

  it('begins anew when nothing is done any more', async () => {
    const inject = new FaultInjector({ seed: 1 });
    await using bed = await bench(inject, { depth: 4, queues: 2 });
    inject.on('completion-delayed', { microseconds: Number.POSITIVE_INFINITY });
    const all = failures(reads(bed.disk, 8));
    await new Promise((resolve) => setTimeout(resolve, TIMEOUT));
    inject.off('completion-delayed');
    const errors = await all;
    expect(errors.map((error) => error?.code).filter((code) => code === 'ETIMEDOUT').length).toBeGreaterThan(
      0,
    );
    expect(errors.every((error) => error?.code === 'ETIMEDOUT' || error?.code === 'ECANCELED')).toBe(true);
    await Promise.all(reads(bed.disk, 20));
  });

  it('resets a controller that does not even abort', async () => {
    const model = new Listener({ latency: 10 });
    await using bed = await bench(new FaultInjector({ seed: 1 }), { depth: 4 }, model);
    model.deaf = true;
    const errors = await failures(reads(bed.disk, 8));
    const codes = errors.map((error) => error?.code);
    // The first got an abort, those behind it were younger or were aborted too, four waited for their turn.
    expect(codes.slice(0, 4).every((code) => code === 'ETIMEDOUT' || code === 'ECANCELED')).toBe(true);
    expect(codes).toContain('ETIMEDOUT');
    expect(codes.slice(4)).toEqual(Array(4).fill(undefined));
    expect(bed.nvme.state).toBe('live');
  });

  it('closes a controller that does not listen, and leaves nothing behind', async () => {
    const model = new Listener({ latency: 10 });
    const { nvme, disk } = await bench(new FaultInjector({ seed: 1 }), { depth: 4 }, model);
    model.deaf = true;
    const load = failures(reads(disk, 8));
    await expect(nvme.close()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    expect((await load).map((error) => error?.code)).toEqual([
      ...Array(4).fill('ETIMEDOUT'),
      ...Array(4).fill('ENODEV'),
    ]);
    expect(nvme.fn.closed).toBe(true);
  });

  it('rings once for all that is submitted in a turn, and only a controller that is enabled', async () => {
    const model = new Listener({ latency: 10 });
    await using bed = await bench(new FaultInjector({ seed: 1 }), { depth: 16 }, model);
    model.rings.length = 0;
    await Promise.all(reads(bed.disk, 10));
    expect(model.rings.filter(({ offset }) => offset === FIRST_TAIL)).toEqual([
      { offset: FIRST_TAIL, value: 10, enabled: true },
    ]);
    const load = failures(reads(bed.disk, 30));
    await bed.nvme.reset();
    await load;
    await Promise.all(reads(bed.disk, 30));
    expect(model.rings.every(({ enabled }) => enabled)).toBe(true);
    for (const offset of new Set(model.rings.map((ring) => ring.offset))) {
      const values = model.rings.filter((ring) => ring.offset === offset).map(({ value }) => value);
      expect(values.filter((value, i) => value === values[i - 1])).toEqual([]);
    }
  });

  it('fails everything with one error when the device is pulled out', async () => {
    for (const completions of ['interrupt', 'poll'] as const) {
      await using bed = await bench(new FaultInjector({ seed: 1 }), { depth: 4, queues: 2, completions });
      const all = failures(reads(bed.disk, 50));
      bed.source.unplug();
      const errors = await all;
      expect(new Set(errors).size).toBe(1);
      expect(errors[0]).toMatchObject({ code: 'ENODEV' });
      expect(errors[0]).toBe(bed.nvme.fn.gone.reason);
      expect(bed.nvme.state).toBe('dead');
      for (const attempt of [bed.disk.flush(), bed.nvme.reset(), bed.nvme.namespaces()]) {
        await expect(attempt).rejects.toBe(errors[0]);
      }
    }
  });

  it('is pulled out at any moment of its life, and ends with ENODEV', async () => {
    for (let nth = 1; nth <= 120; nth++) {
      const inject = new FaultInjector({ seed: nth }).on('device-gone', { nth });
      const fn = await openPci(simulate(new NvmeModel({ latency: 10 }), { inject }));
      const errors = await failures([liveAndDie(fn)]);
      fn.close();
      expect(errors[0]?.code ?? 'ENODEV', `seed ${nth}: ${String(errors[0]?.stack)}`).toBe('ENODEV');
      expect(fn.dma.live.length).toBe(0);
    }
  });

  it('says so when the controller does not start, and leaves nothing behind', async () => {
    const inject = new FaultInjector({ seed: 1 }).on('read-all-ones');
    using fn = await openPci(simulate(new NvmeModel(), { inject }));
    await expect(NvmeController.open(fn)).rejects.toMatchObject({ code: 'EIO' });
    inject.off('read-all-ones');
    expect(fn.dma.live.length).toBe(0);
    const nvme = await NvmeController.open(fn);
    await nvme.close();
  });

  it('leaves nothing behind when there is no memory to start with', async () => {
    for (const kind of ['no-memory', 'map-limit', 'no-iova', 'bounce-full'] as const) {
      let opened = false;
      for (let nth = 1; !opened && nth < 50; nth++) {
        const inject = new FaultInjector({ seed: 1 }).on(kind, { nth });
        using fn = await openPci(simulate(new NvmeModel(), { inject }));
        const [error] = await failures([NvmeController.open(fn, { queues: 3 }).then((nvme) => nvme.close())]);
        opened = error === undefined;
        if (opened) continue;
        expect(['ENOMEM', 'ENOSPC'], `${kind} ${nth}`).toContain(error?.code);
        expect(fn.dma.live.length, `${kind} ${nth}`).toBe(0);
        inject.off(kind);
        await (await NvmeController.open(fn, { queues: 3 })).close();
      }
      expect(opened).toBe(true);
    }
  });

  it('is reset again when it fails right after a reset', async () => {
    const model = new Stumbler({ latency: 10 });
    await using bed = await bench(new FaultInjector({ seed: 1 }), { depth: 4, timeout: 30_000 }, model);
    const reset = bed.nvme.reset();
    const load = failures(reads(bed.disk, 8));
    model.stumbles = FIRST_TAIL;
    await reset;
    const codes = (await load).map((error) => error?.code);
    expect(codes).toEqual([...Array(4).fill('ECANCELED'), ...Array(4).fill(undefined)]);
    expect(bed.nvme.state).toBe('live');
  });

  it('aborts nothing of a controller that is to be reset', async () => {
    const inject = new FaultInjector({ seed: 1 });
    const model = new Stumbler({ latency: 10 });
    await using bed = await bench(inject, { depth: 4 }, model);
    inject.on('interrupt-lost', { until: 1 });
    inject.on('completion-delayed', { nth: 1, microseconds: Number.POSITIVE_INFINITY });
    const load = failures(reads(bed.disk, 2));
    model.stumbles = FIRST_TAIL + 4;
    const codes = (await load).map((error) => error?.code);
    expect(codes).toEqual(['ECANCELED', undefined]);
    await bed.disk.flush();
    expect(bed.nvme.mishaps.aborts).toBe(0);
  });

  it('does no DMA when something else failed while it was reset', async () => {
    class Slow extends NvmeModel {
      stopping = 0;
      override read(bar: number, offset: number, width: Width): number {
        return offset === STATUS && this.stopping-- > 0 ? 1 : super.read(bar, offset, width);
      }
    }
    const model = new Slow();
    await using bed = await bench(new FaultInjector({ seed: 1 }), {}, model);
    model.stopping = 5;
    const reset = bed.nvme.reset();
    bed.source.reportError();
    await expect(reset).rejects.toMatchObject({ code: 'EIO' });
    expect(bed.nvme.state).toBe('dead');
    expect(bed.nvme.fn.config.read16(COMMAND) & BUS_MASTER).toBe(0);
  });

  it('closes with commands under way that never end, which fail because it was closed', async () => {
    const inject = new FaultInjector({ seed: 1 });
    const { nvme, disk } = await bench(inject, { depth: 2, timeout: 30_000 });
    inject.on('completion-delayed', { nth: 1, microseconds: Number.POSITIVE_INFINITY });
    const load = failures(reads(disk, 3));
    await nvme.close();
    const [first, second, third] = await load;
    expect(first).toMatchObject({ name: 'DmaError', code: 'ENODEV' });
    expect(second).toBe(undefined);
    expect(third).toBe(first);
  });

  it('is dead when it cannot be reset, and closes all the same', async () => {
    const inject = new FaultInjector({ seed: 1 });
    await using bed = await bench(inject);
    inject.on('reset-fails');
    const pending = failures(reads(bed.disk, 3));
    await expect(bed.nvme.reset()).rejects.toMatchObject({ code: 'EAGAIN' });
    expect((await pending).every((error) => error !== undefined)).toBe(true);
    expect(bed.nvme.state).toBe('dead');
    await expect(bed.disk.flush()).rejects.toMatchObject({ code: 'EAGAIN' });
  });

  it('shuts down when the system wants the device back', async () => {
    const bed = await bench(new FaultInjector({ seed: 1 }), { depth: 2 });
    const all = failures(reads(bed.disk, 10));
    bed.source.requestRelease();
    const errors = await all;
    expect(errors.filter((error) => error === undefined).length).toBe(2);
    expect(errors.every((error) => error === undefined || error.code === 'ENODEV')).toBe(true);
    await bed.nvme.close();
    expect(bed.nvme.fn.closed).toBe(true);
  });

  it('lets the system have a controller that does not listen, and tells whoever closes it', async () => {
    const model = new Listener({ latency: 10 });
    const { nvme, disk, source } = await bench(new FaultInjector({ seed: 1 }), { depth: 2 }, model);
    model.deaf = true;
    const load = failures(reads(disk, 2));
    await source.requestRelease();
    expect((await load).map((error) => error?.code)).toEqual(['ETIMEDOUT', 'ETIMEDOUT']);
    await expect(nvme.close()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    expect(nvme.fn.closed).toBe(true);
  });

  it('begins anew after an error that the system saw', async () => {
    await using bed = await bench(new FaultInjector({ seed: 1 }), { depth: 2 });
    const all = failures(reads(bed.disk, 10));
    bed.source.reportError();
    const errors = await all;
    expect(errors.every((error) => error === undefined || error.code === 'ECANCELED')).toBe(true);
    await bed.disk.flush();
    expect(bed.nvme.state).toBe('live');
  });
});
