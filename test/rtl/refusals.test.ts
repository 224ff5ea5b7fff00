/** What a caller passes, what a simulator says of itself, and what a machine lacks: each is a DmaError with the value. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openPci } from '../../lib/index.ts';
import { buildDesign, processDesign, RtlModel, type RtlOptions, wasmDesign } from '../../lib/rtl/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { missing } from './designs.ts';
import { eduModel } from './models.ts';

const folder = mkdtempSync(join(tmpdir(), 'userdma-refusals-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const config = { vendorId: 0x1234, deviceId: 0x0003, msi: 1 };
if (missing !== undefined) console.log(`refusals of a module are skipped: ${missing}`);
const python = spawnSync('python3', ['--version']).error === undefined;

function program(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  chmodSync(file, 0o755);
  return file;
}

/** The peer of docs/rtl.md, with some of its text replaced. */
function peer(name: string, ...changes: readonly (readonly [from: string, to: string])[]): string {
  let text = /```python title=peer\.py\n([\s\S]*?)```/.exec(readFileSync('docs/rtl.md', 'utf8'))?.[1] ?? '';
  for (const [from, to] of changes) {
    expect(text).toContain(from);
    text = text.replace(from, to);
  }
  return program(name, text);
}

function childrenOf(pid: number): string {
  return spawnSync('ps', ['--ppid', String(pid), '-o', 'args='], { encoding: 'utf8' }).stdout ?? '';
}

const refused = (code: string, message: string | RegExp) =>
  expect.objectContaining({
    code,
    message: typeof message === 'string' ? expect.stringContaining(message) : expect.stringMatching(message),
  });

describe('options of a model', () => {
  const wrong: readonly Partial<RtlOptions>[] = [
    ...[0, 1.5, Number.NaN, 20_000].map((mhz) => ({ mhz })),
    ...[-1, 0.5, Number.POSITIVE_INFINITY].map((seed) => ({ seed })),
    ...[-1, 100, 12.5, Number.NaN].map((pressure) => ({ pressure })),
    ...[-1, Number.NaN].map((latency) => ({ latency })),
    ...[0, -5].map((accessLimit) => ({ accessLimit })),
    ...[-1, 0.1].map((history) => ({ history })),
    ...[0, -1].map((rewind) => ({ rewind })),
  ];
  for (const options of wrong) {
    const [[name, value]] = Object.entries(options) as [[string, number]];
    it(`${name}: ${value} is refused before anything is started`, () => {
      const make = () => new RtlModel(processDesign('/nowhere'), { config, ...options });
      expect(make).toThrow(refused('EINVAL', `${name} is ${value}`));
    });
  }

  it('a pin that is no number is refused by its name', () => {
    const make = () => new RtlModel(processDesign('/nowhere'), { config, pins: { width: -1 } });
    expect(make).toThrow(refused('EINVAL', 'the pin width is -1'));
  });

  for (const timeout of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    it(`a limit of ${timeout} ms is refused`, () => {
      const make = () => new RtlModel(processDesign('true', { timeout }), { config });
      expect(make).toThrow(refused('EINVAL', `timeout is ${timeout}`));
    });
  }
});

describe.skipIf(!python)('a model that runs', () => {
  it('refuses windows of waveforms that cannot be, addresses and streams; and goes on', async () => {
    const model = new RtlModel(processDesign(peer('windows.py')), { config });
    using fn = await openPci(simulate(model));
    const file = join(folder, 'none.vcd');
    for (const [window, message] of [
      [{ from: -1 }, 'from is -1'],
      [{ from: 0.5 }, 'from is 0.5'],
      [{ from: Number.NaN }, 'from is NaN'],
      [{ to: -3 }, 'to is -3'],
      [{ from: 100, to: 99 }, 'to is 99'],
      [{ to: Number.POSITIVE_INFINITY }, 'to is Infinity'],
      [{ from: '5' as unknown as number }, "from is the string '5'"],
      [{ file: '' }, "the file of a waveform is the string ''"],
      [{ file: undefined as unknown as string }, 'the file of a waveform is undefined'],
    ] as const) {
      expect(() => model.waves({ file, ...window })).toThrow(refused('EINVAL', message));
    }
    for (const address of [-1, 0.5, Number.NaN, 2 ** 60]) {
      expect(() => model.history(address)).toThrow(refused('EINVAL', 'the address is'));
    }
    for (const stream of [0, -1, Number.NaN]) {
      expect(() => model.send(stream, new Uint8Array(1))).toThrow(refused('EINVAL', 'no AXI4-Stream slave'));
    }
    fn.bar(0).write32(0, 7);
    expect(fn.bar(0).read32(0)).toBe(7);
    fn.close();
  });
});

describe.skipIf(missing !== undefined)('a model of WebAssembly', () => {
  it('refuses two windows at once, and copies that are not its own; and goes on', async () => {
    const model = await eduModel('wasm', 28, { rewind: 1000 });
    const file = join(folder, 'both.vcd');
    expect(() => model.waves({ file, last: 5, from: 1 })).toThrow(refused('EINVAL', 'either `last`'));
    expect(() => model.waves({ file, last: 5, to: 1 })).toThrow(refused('EINVAL', 'either `last`'));
    const copy = model.snapshot();
    const [first, ...others] = copy.state;
    for (const state of [[], [first!], [first!.subarray(1), ...others]]) {
      const message = `a copy of ${state.length * 65_536} bytes`;
      expect(() => model.restore({ ...copy, state })).toThrow(refused('EINVAL', message));
    }
    expect(model.read(0, 0, 4)).toBe(0x0100_00ed);
    model.close();
  });
});

describe.skipIf(!python)('a simulator that says nonsense of itself', () => {
  const described: readonly (readonly [string, string])[] = [
    ['no master', '"memories": [], '],
    ['"registers": {"prefix": "", "addressBits": 12, "dataBytes": 4}', '"registers": None'],
    ['"addressBits": 12', '"addressBits": 4000'],
    ['"dataBytes": 4', '"dataBytes": "four"'],
    ['"memories": []', '"memories": [None]'],
    ['"sinks": []', '"sinks": 3'],
    ['"vectors": 1', '"vectors": 1000'],
    ['"waves": "none"', '"waves": "fsdb"'],
  ];
  for (const [i, [from, to]] of described.entries()) {
    it(`${from} -> ${to}`, () => {
      const change = from === 'no master' ? ([to, ''] as const) : ([from, to] as const);
      const file = peer(`describes-${i}.py`, change);
      const make = () => new RtlModel(processDesign(file), { config });
      expect(make).toThrow(refused('EIO', 'its description is {'));
      expect(childrenOf(process.pid)).not.toContain(file);
    });
  }

  it('a description that is no object', () => {
    const file = peer('describes-null.py', ['json.dumps(description)', '"null"']);
    expect(() => new RtlModel(processDesign(file), { config })).toThrow(refused('EIO', 'is null'));
  });

  it('an interrupt that the function does not have does not end it', async () => {
    const file = peer('interrupts.py', ['send(0x92, bytes([1, 1]))', 'send(0x92, bytes([200, 1]))']);
    using fn = await openPci(simulate(new RtlModel(processDesign(file), { config })));
    fn.setMaster();
    const buffer = fn.dma.allocCoherent(64);
    fn.bar(0).write32(0, buffer.low);
    fn.interrupts.msi(0);
    expect(() => fn.bar(0).write32(4, 1)).toThrow(refused('EINVAL', /199/));
    expect(fn.bar(0).read32(0)).toBe(buffer.low);
    buffer.free();
    fn.close();
  });
});

describe('a file that is no module of a design', () => {
  it('is named', () => {
    expect(() => new RtlModel(wasmDesign('nowhere.wasm'), { config })).toThrow(
      refused('ENOENT', 'nowhere.wasm'),
    );
    const text = join(folder, 'text.wasm');
    writeFileSync(text, 'no module');
    const empty = join(folder, 'empty.wasm');
    writeFileSync(empty, Buffer.from('\0asm\x01\0\0\0', 'latin1'));
    for (const file of [text, empty]) {
      expect(() => new RtlModel(wasmDesign(file), { config })).toThrow(
        refused('EIO', 'no WebAssembly module'),
      );
    }
  });
});

describe.skipIf(process.platform === 'win32')('a machine that lacks a tool', () => {
  /** A PATH with these tools alone, which do nothing. */
  async function building(tools: readonly string[], target: 'process' | 'wasm'): Promise<unknown> {
    const bin = mkdtempSync(join(folder, 'bin-'));
    for (const tool of tools) {
      writeFileSync(join(bin, tool), '#!/bin/sh\nexit 0\n');
      chmodSync(join(bin, tool), 0o755);
    }
    const { PATH, CXX } = process.env;
    process.env.PATH = bin;
    delete process.env.CXX;
    try {
      return await buildDesign({ sources: ['examples/edu/rtl/edu.v'], target, out: join(folder, 'out') });
    } finally {
      process.env.PATH = PATH;
      if (CXX !== undefined) process.env.CXX = CXX;
    }
  }

  for (const [tools, target, message] of [
    [[], 'process', /Verilator.*apt-get install verilator/],
    [['verilator'], 'process', /a C\+\+ compiler \(g\+\+, clang\+\+\).*apt-get install g\+\+/],
    [['verilator', 'g++'], 'wasm', /clang.*apt-get install clang lld wasi-libc/],
    [['verilator', 'clang++-14'], 'wasm', /the linker for WebAssembly.*apt-get install clang lld/],
  ] as const) {
    it(`${target} with ${tools.join(', ') || 'nothing'}: names what is missing, and its package`, async () => {
      await expect(building(tools, target)).rejects.toEqual(refused('ENOENT', message));
    });
  }
});
