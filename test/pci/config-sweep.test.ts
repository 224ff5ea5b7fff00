/**
 * Which bits of configuration space a driver's write changes: each bit is written, read back and written back, through
 * VFIO and in the simulation. Where the two worlds differ, the difference is in a table, with the reason.
 */
import { setImmediate as tick } from 'node:timers/promises';
import type { PciFunction, ResetReport } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { edu, nic, nvme, qemuVersion, real, type TestFunction } from './worlds.ts';

/** Bits that a write changes, by the first byte of what has them; one number for each byte from there on. */
type Bits = Readonly<Record<string, readonly number[]>>;

interface Expected {
  readonly world: TestFunction;
  readonly both: Bits;
  readonly hardware: Bits;
  readonly simulation: Bits;
}

/** What every function has: decoding, mastering, SERR# and INTx disable; the line size of a cache; the interrupt line. */
const HEADER: Bits = { 'header 0x04': [0x07, 0x05], 'header 0x0c': [0xff], 'header 0x3c': [0xff] };
/** QEMU's devices do not have the bit for parity errors. */
const PARITY: Bits = { 'header 0x04': [0x40] };
/** A copy of VFIO's, without the enable bit. */
const MSI: Bits = { 'MSI 0x02': [0x8e], 'MSI 0x04': Array(10).fill(0xff) };
/** Device control: sizes of packets are copies of VFIO's. */
const EXPRESS: Bits = { 'Express 0x08': [0xe0, 0x70] };
/** Device control: error reports, ordering, tags; device control 2: completion timeouts. QEMU's devices have neither. */
const EXPRESS_OPTIONS: Bits = { 'Express 0x08': [0x1f, 0x0d], 'Express 0x28': [0x1f] };

/** The mask of uncorrectable errors, which QEMU before 8 does not have. */
const UNCORRECTABLE_MASK: Bits = { 'AER 0x08': [0x30, 0xf0, 0xff, 0x03] };

const EXPECTED: readonly Expected[] = [
  {
    world: edu,
    both: { ...HEADER, 'header 0x12': [0xf0, 0xff], ...MSI },
    hardware: {},
    simulation: PARITY,
  },
  {
    world: nvme,
    both: { ...HEADER, 'header 0x11': [0xc0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], ...EXPRESS },
    hardware: {
      // Blocking of prefixes.
      'Express 0x29': [0x80],
      // Newer ones have the bits for reports of errors.
      ...(qemuVersion() >= 10 ? { 'Express 0x08': [0xef, 0x70] } : {}),
    },
    simulation: { ...PARITY, ...EXPRESS_OPTIONS },
  },
  {
    world: nic,
    both: {
      ...HEADER,
      'header 0x12': [0xfe, 0xff, 0, 0, 0xfe, 0xff, 0xe0, 0xff, 0xff, 0xff, 0, 0xc0, 0xff, 0xff],
      'header 0x30': [0x01, 0, 0xfc, 0xff],
      ...MSI,
      ...EXPRESS,
      'AER 0x0c': [0x30, 0xf0, 0xff, 0x03],
      'AER 0x14': [0xc1, 0xf1],
      'AER 0x18': [0x40, 0x01],
    },
    hardware: {
      // Which figure of its consumption of power is shown.
      'Power 0x05': [0x1e],
      ...(qemuVersion() >= 8 ? UNCORRECTABLE_MASK : {}),
    },
    simulation: {
      ...PARITY,
      ...EXPRESS_OPTIONS,
      ...UNCORRECTABLE_MASK,
    },
  },
];

/** By id: name, and bytes. What is outside all of them belongs to no register. */
const CAPABILITIES: Readonly<Record<number, readonly [string, number]>> = {
  1: ['Power', 8],
  5: ['MSI', 14],
  16: ['Express', 60],
  17: ['MSI-X', 12],
};
const EXTENDED: Readonly<Record<number, readonly [string, number]>> = { 1: ['AER', 44], 3: ['Serial', 12] };

interface Place {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

function placesOf({ config }: PciFunction): Place[] {
  const places = (list: Iterable<{ id: number; offset: number }>, names: typeof CAPABILITIES) =>
    [...list].map(({ id, offset }) => {
      const [name, size] = names[id]!;
      // A capability of version 1 has 20 bytes.
      const bytes = name === 'Express' && config.express!.version === 1 ? 20 : size;
      return { name, start: offset, end: offset + bytes };
    });
  return [
    { name: 'header', start: 0, end: 0x40 },
    // The head of the extended list, where it is empty.
    ...(config.size > 256 ? [{ name: 'list', start: 0x100, end: 0x104 }] : []),
    ...places(config.capabilities(), CAPABILITIES),
    ...places(config.extendedCapabilities(), EXTENDED),
  ];
}

/** The bit that resets the function, in the second byte of the device control register. */
const isReset = (name: string, register: number, bit: number) =>
  name === 'Express' && register === 9 && bit === 7;

/** Toggles bits of a byte, and returns those of them that changed. Asserts that no other did, and that it can be undone. */
function toggle({ config }: PciFunction, offset: number, bits: number): number {
  const before = config.read8(offset);
  config.write8(offset, before ^ bits);
  const changed = before ^ config.read8(offset);
  assert.equal(changed & ~bits, 0, `byte ${offset}: ${bits} changes ${changed}`);
  config.write8(offset, before);
  assert.equal(config.read8(offset), before, `byte ${offset}`);
  return changed;
}

/** Bits that a write changes, by register: `MSI 0x02` is the third byte of that capability. */
function sweep(fn: PciFunction): Map<string, number> {
  const found = new Map<string, number>();
  for (const { name, start, end } of placesOf(fn)) {
    for (let offset = start; offset < end; offset++) {
      const register = offset - start;
      let changed = 0;
      for (let bit = 0; bit < 8; bit++) {
        if (!isReset(name, register, bit)) changed |= toggle(fn, offset, 1 << bit);
      }
      if (changed !== 0) found.set(nameOf(name, register), changed);
    }
  }
  return found;
}

function nameOf(name: string, register: number): string {
  return `${name} 0x${register.toString(16).padStart(2, '0')}`;
}

function expected({ both, hardware, simulation }: Expected): Map<string, number> {
  const all = new Map<string, number>();
  for (const bits of [both, real ? hardware : simulation]) {
    for (const [key, values] of Object.entries(bits)) {
      const [name, first] = key.split(' ') as [string, string];
      for (const [i, value] of values.entries()) {
        const at = nameOf(name, Number(first) + i);
        if (value !== 0) all.set(at, (all.get(at) ?? 0) | value);
      }
    }
  }
  return all;
}

const sorted = (map: Map<string, number>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

for (const one of EXPECTED) {
  describe(`writes to configuration space of ${one.world.name}`, () => {
    it('change what they may', async () => {
      using fn = await one.world.open();
      const before = all(fn);
      // A version 1 capability has no device control 2.
      const wanted = expected(one);
      if (fn.config.express?.version === 1) wanted.delete('Express 0x28');
      assert.deepEqual(sorted(sweep(fn)), sorted(wanted));
      assert.deepEqual(all(fn), before);
    }, 120_000);

    it('are kept outside all registers by QEMU, and by no simulated device', async () => {
      using fn = await one.world.open();
      const places = placesOf(fn);
      for (let offset = 0; offset < fn.config.size; offset++) {
        if (places.some(({ start, end }) => offset >= start && offset < end + 0x20)) continue;
        assert.equal(toggle(fn, offset, 0xff), real ? 0xff : 0, `byte ${offset}`);
      }
    }, 120_000);
  });
}

function all({ config }: PciFunction): number[] {
  return Array.from({ length: config.size / 4 }, (_, i) => config.read32(4 * i));
}

/** Controller configuration of NVMe, with entry sizes and not enabled. */
const REGISTER = 0x14;
const ENTRY_SIZES = 0x0046_0000;
const soon = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(20_000) });

describe(`a write to configuration space of ${nvme.name}`, () => {
  it('resets the function, and its driver is told', async () => {
    using fn = await nvme.open();
    fn.setMaster();
    const vector = fn.interrupts.msix(3);
    const told: ResetReport[] = [];
    fn.onReset((report) => told.push(report));
    fn.bar(0).write32(REGISTER, ENTRY_SIZES);
    const control = fn.config.express!.offset + 8;
    fn.config.write16(control, fn.config.read16(control) | 0x8000);
    assert.equal(fn.bar(0).read32(REGISTER), 0);
    assert.equal(fn.config.read16(control) & 0x8000, 0);
    await tick();
    assert.deepEqual(
      told.map(({ kind, functions, busMaster, rearmed }) => ({ kind, functions, busMaster, rearmed })),
      [
        {
          kind: 'function',
          functions: [fn.address],
          busMaster: true,
          rearmed: [{ kind: 'msix', vector: 3 }],
        },
      ],
    );
    vector.trigger();
    assert.equal(await vector.wait(soon()), 1);
  });

  it('does not mask the vectors of MSI-X', async () => {
    using fn = await nvme.open();
    fn.setMaster();
    const vector = fn.interrupts.msix(0);
    const control = fn.config.msix!.offset + 2;
    fn.config.write16(control, fn.config.read16(control) | (1 << 14));
    assert.equal(fn.config.msix!.functionMask, false);
    nvme.interrupt(fn);
    assert.equal(await vector.wait(soon()), 1);
  });
});

for (const [world, keeps] of [
  [nvme, true],
  [nic, false],
] as const) {
  it(`a write that wakes ${world.name} up is ${keeps ? 'no reset' : 'a reset that is told'}`, async () => {
    using fn = await world.open();
    const told: string[] = [];
    fn.onReset(({ kind }) => told.push(kind));
    const pm = fn.config.powerManagement!;
    pm.writeState('D3hot');
    assert.equal(fn.powerState, 'D3hot');
    pm.writeState('D0');
    assert.equal(fn.powerState, 'D0');
    fn.bar(0).read32(0);
    await tick();
    assert.deepEqual(told, keeps ? [] : ['power']);
    // The call that changes the state tells once.
    await fn.setPowerState('D3hot');
    await fn.setPowerState('D0');
    await tick();
    assert.deepEqual(told, keeps ? [] : ['power', 'power']);
  });
}
