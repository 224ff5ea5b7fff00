/** Registers in two halves: what is refused is refused before the device saw the first of them. */
import { openPci } from '../../lib/index.ts';
import type { Addon } from '../../lib/native/addon.ts';
import { MappedRegisters } from '../../lib/registers/mapped.ts';
import type { Registers } from '../../lib/registers/registers.ts';
import { type DeviceBus, type DeviceModel, simulate } from '../../lib/sim/index.ts';
import { codeOf } from '../failures.ts';
import { assert, describe, it } from '../harness.ts';
import { describeNative } from '../native/support.ts';

const SIZE = 4096;

class Written implements DeviceModel {
  readonly config = { vendorId: 0x1234, deviceId: 0x11e8 };
  readonly bars = [{ index: 0, size: SIZE }];
  readonly writes: string[] = [];
  attach(_bus: DeviceBus): void {}
  reset(): void {}
  read(): number {
    return 0;
  }
  write(_bar: number, offset: number, width: number, value: number): void {
    this.writes.push(`${width}@${offset}=${value.toString(16)}`);
  }
}

/** Every way to write two halves that has to be refused. */
function refusals(registers: Registers): void {
  for (const write of ['write64LoHi', 'write64HiLo'] as const) {
    for (const value of [2n ** 70n, 2n ** 64n, -(2n ** 63n) - 1n, 5, undefined, '1'] as bigint[]) {
      assert.equal(
        codeOf(() => registers[write](0x80, value)),
        'EINVAL',
        `${write} ${String(value)}`,
      );
    }
    for (const offset of [SIZE - 4, SIZE, -4, -8, 2, 6, 0.5, Number.NaN, '0'] as number[]) {
      assert.equal(
        codeOf(() => registers[write](offset, 1n)),
        'EINVAL',
        `${write} at ${offset}`,
      );
    }
  }
}

describe('64 bits in two halves, simulated', () => {
  it('are refused whole', async () => {
    const model = new Written();
    const fn = await openPci(simulate(model));
    refusals(fn.bar(0));
    assert.deepEqual(model.writes, []);
    fn.bar(0).write64LoHi(0x80, 0x1_0000_0002n);
    fn.bar(0).write64HiLo(0x88, -1n);
    fn.bar(0).write64(0x90, -2n);
    const halves = [
      '4@128=2',
      '4@132=1',
      '4@140=ffffffff',
      '4@136=ffffffff',
      '4@144=fffffffe',
      '4@148=ffffffff',
    ];
    assert.deepEqual(model.writes, halves);
    fn.close();
  });
});

describeNative('64 bits in two halves, mapped', (addon: Addon) => {
  it('are refused whole', () => {
    const region = addon.regionCreate(SIZE, false);
    const bytes = new Uint8Array(addon.regionCarve(region, 0, SIZE) as ArrayBuffer);
    const window = addon.testing.windowFromRegion(region, 0, SIZE, 0, 0);
    const registers = new MappedRegisters({ name: 'a test', size: SIZE, silence: '' }, addon, window);
    refusals(registers);
    assert.ok(bytes.every((byte) => byte === 0));
    registers.write64LoHi(0x80, 0x1_0000_0002n);
    assert.equal(registers.read64(0x80), 0x1_0000_0002n);
    registers.write64HiLo(0x80, -1n);
    assert.equal(registers.read64HiLo(0x80), 2n ** 64n - 1n);
  });

  it('are what is left where registers are not mapped, and the error says so', () => {
    const region = addon.regionCreate(SIZE, false);
    const window = addon.testing.windowFromRegion(region, 0, SIZE, 64, 128);
    const registers = new MappedRegisters({ name: 'a test', size: SIZE, silence: '' }, addon, window);
    assert.equal(
      codeOf(() => registers.read64(64)),
      'EOPNOTSUPP',
    );
    assert.equal(
      codeOf(() => registers.write64(64, 1n)),
      'EOPNOTSUPP',
    );
    registers.write64LoHi(64, 0x1_0000_0002n);
    assert.equal(registers.read64LoHi(64), 0x1_0000_0002n);
  });
});
