import { describe, expect, it } from 'vitest';
import { ConfigSpace } from '../../lib/pci/config-space.ts';
import type { BarDescription, FunctionDescription } from '../../lib/sim/model.ts';
import { EduModel } from '../../lib/sim/models/edu.ts';
import { COMMAND, command, expectCode, MASTER, MEMORY, plug, RecordingModel } from './sim-fixture.ts';

function configOf(config: Partial<FunctionDescription>, bars?: readonly BarDescription[]): ConfigSpace {
  return new ConfigSpace(plug(new RecordingModel(config, bars)).transport.config);
}

describe('header', () => {
  it('of edu is that of QEMU', () => {
    const config = new ConfigSpace(plug(new EduModel()).transport.config);
    expect(config.size).toBe(256);
    expect([config.vendorId, config.deviceId]).toEqual([0x1234, 0x11e8]);
    expect([config.revisionId, config.classCode, config.headerType]).toEqual([0x10, 0x00ff00, 0]);
    expect([config.subsystemVendorId, config.subsystemId]).toEqual([0x1af4, 0x1100]);
    expect(config.interruptPin).toBe(1);
    expect([...config.capabilities()]).toEqual([{ id: 5, offset: 0x40 }]);
    expect(config.read16(0x42)).toBe(0x80);
  });

  it('starts with memory decode on and bus mastering off', () => {
    expect(configOf({}).command).toBe(MEMORY);
    expect(configOf({}, [{ index: 0, size: 16, kind: 'io' }]).command).toBe(1);
  });

  it('keeps writes to what is writable', () => {
    const config = configOf({});
    config.command = 0xffff;
    expect(config.command).toBe(0x0547);
    config.write32(0, 0);
    config.write8(0x3c, 0xab);
    config.write8(0x3d, 0xab);
    expect([config.vendorId, config.read8(0x3c), config.interruptPin]).toEqual([0x1af4, 0xab, 0]);
  });

  it('has no capability list without a capability', () => {
    const config = configOf({});
    expect([...config.capabilities()]).toEqual([]);
    expect(config.status & 0x10).toBe(0);
  });
});

describe('BAR sizing', () => {
  const size = (config: ConfigSpace, offset: number): number => {
    const before = config.read32(offset);
    config.write32(offset, 0xffffffff);
    const answer = config.read32(offset);
    config.write32(offset, before);
    expect(config.read32(offset)).toBe(before);
    return answer;
  };

  it('answers all ones with the size', () => {
    const config = configOf({}, [
      { index: 0, size: 1 << 20 },
      { index: 1, size: 16 },
      { index: 2, size: 4, kind: 'io' },
      { index: 4, size: 2 ** 33, is64Bit: true, prefetchable: true },
    ]);
    const answers = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24].map((offset) => size(config, offset));
    expect(answers).toEqual([0xfff00000, 0xfffffff0, 0xfffffffd, 0, 0x0000000c, 0xfffffffe]);
    expect(config.read32(0x10) % (1 << 20)).toBe(0);
  });
});

describe('capabilities', () => {
  it('are a list in a space of 4096 bytes for an express function', () => {
    const config = configOf({
      express: true,
      functionLevelReset: true,
      msi: 8,
      msix: { vectors: 65, bar: 0, table: 0x800, pending: 0xf00 },
    });
    expect(config.size).toBe(4096);
    expect([...config.capabilities()].map(({ id }) => id)).toEqual([0x05, 0x11, 0x10, 0x01]);
    expect(config.read16(config.findCapability(0x05)! + 2)).toBe(0x86);
    const msix = config.findCapability(0x11)!;
    expect([config.read16(msix + 2), config.read32(msix + 4), config.read32(msix + 8)]).toEqual([
      64, 0x800, 0xf00,
    ]);
    expect(config.read32(config.findCapability(0x10)! + 4) >>> 28).toBe(1);
  });

  it('tell of a conventional function that can be reset', () => {
    const config = configOf({ functionLevelReset: true });
    const offset = config.findCapability(0x13)!;
    expect([config.read8(offset + 2), config.read8(offset + 3)]).toEqual([6, 3]);
  });

  it('of a model itself can be written and cleared where it says so', () => {
    const bytes = (word: number) => new Uint8Array(new Uint32Array([word]).buffer);
    const config = configOf({
      express: true,
      serialNumber: 0x0123456789abcdefn,
      extended: [
        { id: 0x23, version: 3, registers: bytes(0xf0f0), writable: bytes(0xf), clearable: bytes(0xff00) },
        { id: 0x0b, registers: new Uint8Array(1) },
      ],
    });
    const list = [...config.extendedCapabilities()];
    expect(list.map(({ id, version }) => [id, version])).toEqual([
      [0x03, 1],
      [0x23, 3],
      [0x0b, 1],
    ]);
    expect(config.serialNumber).toBe(0x0123456789abcdefn);
    const offset = list[1]!.offset + 4;
    config.write32(offset, 0x1005);
    expect(config.read32(offset)).toBe(0xe0f5);
  });

  it('of power have the states the model says', () => {
    const states = (power?: FunctionDescription['power']) => {
      const pm = configOf({ ...(power && { power }), express: true }).powerManagement!;
      return [pm.supportsD1, pm.supportsD2, pm.noSoftReset];
    };
    expect(states()).toEqual([false, false, true]);
    expect(states({ d1: true })).toEqual([true, false, true]);
    expect(states({ d2: true, noSoftReset: false })).toEqual([false, true, false]);
    const config = configOf({ power: { d2: true } });
    const control = config.powerManagement!.offset + 4;
    for (const [written, state] of [
      [1, 'D0'],
      [2, 'D2'],
      [1, 'D2'],
      [3, 'D3hot'],
    ] as const) {
      config.write16(control, written);
      expect(config.powerManagement!.state).toBe(state);
    }
  });

  it('show MSI enabled while a vector is armed', () => {
    const { transport } = plug(new RecordingModel({ msi: 1 }));
    const enabled = () => transport.config.read(0x42, 2) & 1;
    expect(enabled()).toBe(0);
    transport.interrupts.enable('msi', 0, () => {});
    expect(enabled()).toBe(1);
    transport.interrupts.disable('msi', 0);
    expect(enabled()).toBe(0);
  });
});

describe('descriptions no function can have', () => {
  it.each<[string, Partial<FunctionDescription>, BarDescription[]]>([
    ['size', {}, [{ index: 0, size: 100 }]],
    ['small size', {}, [{ index: 0, size: 8 }]],
    ['number', {}, [{ index: 6, size: 16 }]],
    [
      'number twice',
      {},
      [
        { index: 0, size: 16, is64Bit: true },
        { index: 1, size: 16 },
      ],
    ],
    ['64-bit last', {}, [{ index: 5, size: 16, is64Bit: true }]],
    ['4 GiB in 32 bits', {}, [{ index: 0, size: 2 ** 32 }]],
    ['MSI vectors', { msi: 3 }, []],
    ['a serial number of 65 bits', { express: true, serialNumber: 2n ** 64n }, []],
    ['extended capabilities of a conventional function', { errorReporting: true }, []],
    ['no such capability', { express: true, extended: [{ id: 0, registers: new Uint8Array(4) }] }, []],
    [
      'a mask longer than its capability',
      { express: true, extended: [{ id: 1, registers: new Uint8Array(4), writable: new Uint8Array(8) }] },
      [],
    ],
    ['too much', { express: true, extended: [{ id: 1, registers: new Uint8Array(3837) }] }, []],
    ['a ROM of no size', { rom: new Uint8Array(100) }, []],
    ['MSI-X table', { msix: { vectors: 2, bar: 0, table: 0, pending: 0 } }, []],
  ])('%s', (_, config, bars) => {
    expectCode('EINVAL', () => plug(new RecordingModel(config, bars)));
  });
});

describe('registers', () => {
  it('reach the model with their width, and come back in it', () => {
    const { model, transport } = plug(new RecordingModel({}, [{ index: 2, size: 64, is64Bit: true }]));
    expect(transport.bars.map((bar) => bar?.info.index)).toEqual([
      undefined,
      undefined,
      2,
      undefined,
      undefined,
      undefined,
    ]);
    const bar = transport.bars[2]!;
    model.log.length = 0;
    model.value = -2;
    expect([bar.read8(1), bar.read16(2), bar.read32(4)]).toEqual([0xfe, 0xfffe, 0xfffffffe]);
    bar.write8(63, 1);
    bar.write16(62, -1);
    bar.write32(60, 1 << 31);
    expect(model.log).toEqual([
      'read8 2:1',
      'read16 2:2',
      'read32 2:4',
      'write8 2:63 1',
      'write16 2:62 65535',
      'write32 2:60 2147483648',
    ]);
  });

  it('of 64 bits are two of 32 for a model that has no more, low word first', () => {
    const { model, transport } = plug(new RecordingModel());
    const bar = transport.bars[0]!;
    model.log.length = 0;
    model.value = 0x12345678;
    expect(bar.read64(8)).toBe(0x1234567812345678n);
    bar.write64(8, 0xffff_ffff_0000_0001n);
    expect(model.log).toEqual(['read32 0:8', 'read32 0:12', 'write32 0:8 1', 'write32 0:12 4294967295']);
  });

  it('refuse what a real BAR refuses', () => {
    const { model, transport } = plug(new RecordingModel());
    const bar = transport.bars[0]!;
    model.log.length = 0;
    for (const offset of [-4, 1, 2, 4096, 4094, 1.5, Number.NaN, 2 ** 53]) {
      expectCode('EINVAL', () => bar.read32(offset));
      expectCode('EINVAL', () => bar.write32(offset, 0));
    }
    expectCode('EINVAL', () => bar.read64(4));
    expectCode('EINVAL', () => bar.write8(0, 256));
    expectCode('EINVAL', () => bar.write64(0, 2n ** 64n));
    transport.config.write(COMMAND, 2, 0);
    expectCode('EIO', () => bar.read32(0));
    expectCode('EIO', () => bar.write64(0, 0n));
    expect(model.log).toEqual([]);
    command(transport, MEMORY);
    bar.read32(0);
    transport.close();
    expectCode('ENODEV', () => bar.read32(0));
    expect(model.log).toEqual(['read32 0:0']);
  });
});

describe('life of a function', () => {
  it('resets only what can be reset, and keeps configuration through it', () => {
    expectCode('EOPNOTSUPP', () => plug(new RecordingModel()).transport.reset());
    const { model, transport } = plug(new RecordingModel({ functionLevelReset: true }));
    command(transport, MASTER);
    transport.reset();
    expect(model.log).toEqual(['reset', 'reset']);
    expect(transport.config.read(COMMAND, 2)).toBe(MEMORY | MASTER);
  });

  it('ends with close', () => {
    const { transport } = plug(new RecordingModel({ msi: 1 }));
    transport.close();
    transport.close();
    expectCode('ENODEV', () => transport.config.read(0, 2));
    expectCode('ENODEV', () => transport.config.write(0, 2, 0));
    expectCode('ENODEV', () => transport.reset());
    expectCode('ENODEV', () => transport.interrupts.enable('msi', 0, () => {}));
  });
});
