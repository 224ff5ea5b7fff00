/** The peer of docs/rtl.md is a simulator: the document says enough. And peers that are none. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DmaError, openPci } from '../../lib/index.ts';
import { type ProcessOptions, processDesign, RtlModel } from '../../lib/rtl/index.ts';
import { simulate } from '../../lib/sim/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'userdma-peer-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const config = { vendorId: 0x1234, deviceId: 0x0003, msi: 1 };

function program(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  chmodSync(file, 0o755);
  return file;
}

const python = spawnSync('python3', ['--version']).error === undefined;

describe.skipIf(!python)('a peer in Python', () => {
  it('is a device: registers, DMA and an interrupt', async () => {
    const page = readFileSync('docs/rtl.md', 'utf8');
    const text = /```python title=peer\.py\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    const model = new RtlModel(processDesign(program('peer.py', text)), { config });
    using fn = await openPci(simulate(model));
    fn.setMaster();
    const buffer = fn.dma.allocCoherent(64);
    const interrupt = fn.interrupts.msi(0);
    buffer.bytes.set([1, 2, 3, 4]);
    fn.bar(0).write32(0, buffer.low);
    expect(fn.bar(0).read32(0)).toBe(buffer.low);
    fn.bar(0).write32(4, 1);
    await interrupt.wait({ timeout: 30_000 });
    expect([...buffer.bytes.subarray(0, 8)]).toEqual([1, 2, 3, 4, 1, 2, 3, 4]);
    buffer.free();
    fn.close();
    model.close();
  });
});

describe('what is no simulator', () => {
  const cases: readonly [string, string, ProcessOptions, string][] = [
    ['ends at once', '#!/bin/sh\nexit 0\n', {}, 'EIO'],
    [
      'answers nonsense',
      '#!/bin/sh\necho "this is no frame at all, but it is long enough"\ncat >/dev/null\n',
      {},
      'EIO',
    ],
    ['never answers', '#!/bin/sh\nexec sleep 60\n', { timeout: 300 }, 'ETIMEDOUT'],
    [
      'is of another version',
      '#!/bin/sh\nprintf "\\003\\000\\000\\000\\201\\143\\000"\ncat >/dev/null\n',
      {},
      'EIO',
    ],
  ];
  for (const [what, text, options, code] of cases) {
    it(what, () => {
      const file = program(`${what.replaceAll(' ', '-')}.sh`, text);
      expect(errorOf(() => new RtlModel(processDesign(file, options), { config })).code).toBe(code);
      expect(childrenOf(process.pid)).not.toContain(file);
    });
  }

  it('is not there', () => {
    expect(errorOf(() => new RtlModel(processDesign(join(folder, 'nowhere')), { config })).code).toBe(
      'ENOENT',
    );
    expect(errorOf(() => new RtlModel(processDesign('userdma-no-such-command'), { config })).code).toBe(
      'ENOENT',
    );
  });
});

/** What the peer does at a write to register 8, before it answers. */
const FAILS: readonly [string, string, number, string][] = [
  ['ends', 'sys.exit(1)', 10_000, 'EIO'],
  ['hangs', 'time.sleep(60)', 10_000, 'ETIMEDOUT'],
  ['answers nonsense', 'send(0x42)', 10_000, 'EIO'],
];

describe.skipIf(!python)('a simulator that fails on the way', () => {
  const page = readFileSync('docs/rtl.md', 'utf8');
  const text = /```python title=peer\.py\n([\s\S]*?)```/.exec(page)?.[1] ?? '';

  for (const [what, does, timeout, code] of FAILS) {
    it(`${what}: the device is off the bus, and there again when it is plugged in`, async () => {
      const failing = text
        .replace('import json,', 'import time, json,')
        .replace(
          '        if address == 4:',
          `        if address == 8:\n            ${does}\n        if address == 4:`,
        );
      expect(failing).toContain(does);
      const file = program(`fails-${code}-${what.replaceAll(' ', '-')}.py`, failing);
      const source = simulate(new RtlModel(processDesign(file, { timeout }), { config }));
      const fn = await openPci(source);
      const interrupt = fn.interrupts.msi(0);
      const waiting = interrupt.wait({ timeout: 30_000 });
      waiting.catch(() => {});
      fn.bar(0).write32(0, 7);
      expect(errorOf(() => fn.bar(0).write32(8, 1)).code).toBe(code);
      expect(childrenOf(process.pid)).not.toContain(file);
      // As after an unplugging.
      expect(errorOf(() => fn.bar(0).read32(0)).code).toBe('ENODEV');
      await expect(waiting).rejects.toMatchObject({ code: 'ENODEV' });
      fn.close();
      await expect(openPci(source)).rejects.toMatchObject({ code: 'ENODEV' });
      source.plugIn();
      const again = await openPci(source);
      expect(again.bar(0).read32(0)).toBe(0);
      again.bar(0).write32(0, 5);
      expect(again.bar(0).read32(0)).toBe(5);
      again.close();
    });
  }

  it('an exception of onFault does not outlive it', async () => {
    const failing = text.replace('            ask(0x91,', '            sys.exit(1)\n            ask(0x91,');
    const model = new RtlModel(processDesign(program('fault-ends.py', failing)), { config });
    const onFault = () => {
      throw new Error('of the last simulator');
    };
    const source = simulate(model, { onFault });
    const fn = await openPci(source);
    fn.setMaster();
    fn.bar(0).write32(0, 0x1000);
    expect(errorOf(() => fn.bar(0).write32(4, 1)).code).toBe('EIO');
    fn.close();
    source.plugIn();
    const again = await openPci(source);
    expect(again.bar(0).read32(0)).toBe(0);
    again.close();
  });

  it('an exception of onFault comes out of the access, and the simulator goes on', async () => {
    const stop = new Error('stop here');
    const model = new RtlModel(processDesign(program('fault.py', text)), { config });
    const source = simulate(model, {
      onFault: () => {
        throw stop;
      },
    });
    const fn = await openPci(source);
    fn.setMaster();
    fn.bar(0).write32(0, 0x1000);
    expect(() => fn.bar(0).write32(4, 1)).toThrow(stop);
    expect(fn.bar(0).read32(0)).toBe(0x1000);
    fn.close();
  });
});

function errorOf(action: () => unknown): DmaError {
  try {
    action();
  } catch (error) {
    if (error instanceof DmaError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

function childrenOf(pid: number): string {
  return spawnSync('ps', ['--ppid', String(pid), '-o', 'args='], { encoding: 'utf8' }).stdout ?? '';
}
