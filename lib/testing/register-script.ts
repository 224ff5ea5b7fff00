/**
 * A device that follows a script. The script has the register accesses that the driver must make, in order, each with
 * its width and value, and the device's own steps in between.
 *
 *     const ring = new Captured('ring');
 *     const script = new RegisterScript({ bars: [{ index: 0, size: 4096 }] })
 *       .read32(0, 0x00, 0x010000ed)        the driver reads, and gets this value
 *       .write64(0, 0x80, ring.whole)       it writes any value, and the script keeps it
 *       .write32(0, 0x98, 1)                it writes exactly this value
 *       .dmaWrite(ring, bytes)              then the device writes memory
 *       .interrupt(0);                      and interrupts
 *     using fn = await openPci(simulate(script.device));
 *     ... the driver under test ...
 *     script.done();
 *
 * If an access is not the next one of the script, the driver's call throws an AssertionError. Every access after it
 * throws, too, and so does `done`. The device does its steps when the driver is idle, or at the latest before the
 * driver's next access.
 */

import {
  argumentError,
  checkBytes,
  checkFunction,
  checkOptions,
  checkWhole,
  describe,
} from '../arguments.ts';
import { DmaError } from '../errors.ts';
import type { BarDescription, DeviceModel, FunctionDescription } from '../sim/model.ts';
import { Captured } from './captured.ts';
import type { Answer, Bits, DeviceStep, Expected, ExpectedAccess } from './script-step.ts';
import { ScriptedDevice } from './scripted-device.ts';

/** What the scripted device has. */
export interface RegisterScriptOptions {
  readonly bars: readonly BarDescription[];
  /** Default: 1234:0001 with an INTx line and one MSI vector. */
  readonly config?: Partial<FunctionDescription>;
}

/** An address in memory for the device. A function is called when the device needs the address. */
export type ScriptAddress = number | bigint | Captured | (() => bigint);

/**
 * The methods that add steps return the script. They throw DmaError EINVAL for a register that does not exist, a
 * value wider than the access, or a count below 1.
 */
export class RegisterScript {
  readonly #device: ScriptedDevice;
  /** The group that `anyOrder` is collecting, if any. */
  #group: ExpectedAccess[] | undefined;

  /** @throws DmaError EINVAL options */
  constructor(options: RegisterScriptOptions) {
    if (options === undefined) throw argumentError('the options of RegisterScript', options, 'pass { bars }');
    checkOptions<RegisterScriptOptions>(options, 'RegisterScript', { bars: checkBars, config: checkConfig });
    const { bars, config } = options;
    checkBars(bars, 'option bars of RegisterScript');
    this.#device = new ScriptedDevice(bars, {
      vendorId: 0x1234,
      deviceId: 0x0001,
      intx: true,
      msi: 1,
      ...config,
    });
  }

  /** The device to pass to `simulate`: `simulate(script.device)`. */
  get device(): DeviceModel {
    return this.#device;
  }

  /** The driver reads 8 bits, `times` times, and gets `answer`. */
  read8(bar: number, offset: number, answer: Answer, times = 1): this {
    return this.#read(8, bar, offset, answer, times);
  }

  /** The driver reads 16 bits and gets `answer`. @param offset bytes @param times how often */
  read16(bar: number, offset: number, answer: Answer, times = 1): this {
    return this.#read(16, bar, offset, answer, times);
  }

  /** The driver reads 32 bits and gets `answer`. @param offset bytes @param times how often */
  read32(bar: number, offset: number, answer: Answer, times = 1): this {
    return this.#read(32, bar, offset, answer, times);
  }

  /** One 64-bit read. */
  read64(bar: number, offset: number, answer: Answer, times = 1): this {
    return this.#read(64, bar, offset, answer, times);
  }

  /** The driver writes 8 bits: this value, or a value that the function accepts. */
  write8(bar: number, offset: number, expected: Expected, times = 1): this {
    return this.#write(8, bar, offset, expected, times);
  }

  /** The driver writes 16 bits, and the value is `expected`. @param offset bytes @param times how often */
  write16(bar: number, offset: number, expected: Expected, times = 1): this {
    return this.#write(16, bar, offset, expected, times);
  }

  /** The driver writes 32 bits, and the value is `expected`. @param offset bytes @param times how often */
  write32(bar: number, offset: number, expected: Expected, times = 1): this {
    return this.#write(32, bar, offset, expected, times);
  }

  /** One 64-bit write. */
  write64(bar: number, offset: number, expected: Expected, times = 1): this {
    return this.#write(64, bar, offset, expected, times);
  }

  /** The accesses that `build` adds may come in any order. */
  anyOrder(build: (script: this) => unknown): this {
    checkFunction(build, 'what builds the group');
    if (this.#group !== undefined) throw refusal('anyOrder inside anyOrder', 'put all accesses into one');
    const group: ExpectedAccess[] = [];
    this.#group = group;
    try {
      build(this);
    } finally {
      this.#group = undefined;
    }
    if (group.length > 0) this.#device.add({ accesses: group });
    return this;
  }

  /**
   * The device interrupts: with a message of this vector if the driver has armed messages, otherwise with its INTx
   * line.
   */
  interrupt(vector = 0): this {
    checkWhole(vector, 'the vector', 0, 2047);
    return this.#act({ text: `interrupt ${vector}`, run: (bus) => bus.raise(vector) });
  }

  /** The device lowers its INTx line. */
  lower(): this {
    return this.#act({ text: 'INTx line down', run: (bus) => bus.lower() });
  }

  /** The device writes memory. */
  dmaWrite(address: ScriptAddress, bytes: Uint8Array): this {
    checkAddress(address);
    checkBytes(bytes, 'what the device writes');
    return this.#act({
      text: `DMA write of ${bytes.length} bytes`,
      run: (bus) => bus.dmaWrite(resolve(address), bytes),
    });
  }

  /** The device reads memory, and must find these bytes. */
  dmaRead(address: ScriptAddress, expected: Uint8Array): this {
    checkAddress(address);
    checkBytes(expected, 'what the device reads');
    return this.#act({
      text: `DMA read of ${expected.length} bytes`,
      run: (bus, fail) => {
        const found = new Uint8Array(expected.length);
        bus.dmaRead(resolve(address), found);
        const at = found.findIndex((byte, i) => byte !== expected[i]);
        if (at >= 0)
          fail(`byte ${at} is 0x${hex(found[at]!)} in memory, 0x${hex(expected[at]!)} was expected`);
      },
    });
  }

  /** @throws AssertionError the driver left the script, or a step has not happened yet */
  done(): void {
    this.#device.done();
  }

  #read(bits: Bits, bar: number, offset: number, answer: Answer, times: number): this {
    return this.#expect({ write: false, bits, bar, offset, answer, expected: undefined, left: times });
  }

  #write(bits: Bits, bar: number, offset: number, expected: Expected, times: number): this {
    return this.#expect({ write: true, bits, bar, offset, answer: undefined, expected, left: times });
  }

  #expect(access: ExpectedAccess): this {
    checkAccess(access, this.#device.bars);
    if (this.#group === undefined) this.#device.add({ accesses: [access] });
    else this.#group.push(access);
    return this;
  }

  #act(step: DeviceStep): this {
    if (this.#group !== undefined) {
      throw refusal(`a step of the device (${step.text}) inside anyOrder`, 'put it after the group');
    }
    this.#device.add(step);
    return this;
  }
}

function resolve(address: ScriptAddress): bigint {
  if (typeof address === 'function') return address();
  return typeof address === 'object' ? address.value : BigInt(address);
}

function checkAddress(address: unknown): void {
  if (typeof address === 'bigint' || typeof address === 'function' || address instanceof Captured) return;
  checkWhole(address, 'the address', 0, Number.MAX_SAFE_INTEGER);
}

function checkBars(bars: unknown, what: string): void {
  if (Array.isArray(bars) && bars.every((bar) => typeof bar === 'object' && bar !== null)) return;
  throw argumentError(what, bars, 'pass an array, e.g. [{ index: 0, size: 4096 }]');
}

function checkConfig(config: unknown, what: string): void {
  if (typeof config !== 'object' || config === null) throw argumentError(what, config, 'pass an object');
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

function checkAccess(access: ExpectedAccess, bars: readonly BarDescription[]): void {
  const { bits, bar, offset, left } = access;
  const size = bars.find(({ index }) => index === bar)?.size ?? 0;
  if (!Number.isInteger(offset) || offset < 0 || offset % (bits / 8) !== 0 || offset + bits / 8 > size) {
    throw refusal(
      `a ${bits}-bit access at ${describe(offset)} of BAR ${describe(bar)}`,
      'name a register of a described BAR, at a multiple of its width',
    );
  }
  if (!Number.isInteger(left) || left < 1)
    throw refusal(`an access ${describe(left)} times`, 'pass 1 or more');
  const value = access.write ? access.expected : access.answer;
  if (typeof value !== 'function') checkValue(value, bits);
}

function checkValue(value: number | bigint | undefined, bits: Bits): void {
  const whole = typeof value === 'bigint' || Number.isSafeInteger(value);
  if (whole && BigInt.asUintN(bits, BigInt(value!)) === BigInt(value!)) return;
  throw refusal(`${describe(value)} in a register of ${bits} bits`, `pass 0 to 2^${bits} - 1`);
}

function refusal(what: string, remedy: string): DmaError {
  return new DmaError('EINVAL', `the script has ${what}`, { remedy });
}
