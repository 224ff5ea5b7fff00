/** Register accesses of the addon with arguments, as its tests want them: they fill the frame that the addon reads. */
import type { Addon, Handle } from '../../lib/native/addon.ts';

type Width = 8 | 16 | 32;

export type MmioCalls = Readonly<
  Record<`mmioRead${Width}`, (window: Handle, offset: number) => number> & {
    mmioRead64(window: Handle, offset: number): bigint | number;
  } & Record<`mmioWrite${Width}`, (window: Handle, offset: number, value: number) => number> & {
      mmioWrite64(window: Handle, offset: number, value: bigint): number;
    }
>;

/** A result of 0 or more is the value of a read, or the success of a write. Scripts contain the text of this function. */
export function mmioOf(addon: Addon): MmioCalls {
  const buffer = addon.mmioFrame() as ArrayBuffer;
  const numbers = new Float64Array(buffer);
  const words = new Uint32Array(buffer);
  const wide = new BigUint64Array(buffer);
  const locate = (window: Handle, offset: number) => {
    numbers[0] = window;
    numbers[1] = offset;
  };
  const calls: Record<string, unknown> = {};
  for (const width of [8, 16, 32, 64] as const) {
    calls[`mmioRead${width}`] = (window: Handle, offset: number) => {
      locate(window, offset);
      return addon[`mmioRead${width}`]() ?? (width === 64 ? wide[2] : words[4]);
    };
    calls[`mmioWrite${width}`] = (window: Handle, offset: number, value: number | bigint) => {
      locate(window, offset);
      wide[2] = BigInt(value);
      return addon[`mmioWrite${width}`]() ?? 0;
    };
  }
  return calls as unknown as MmioCalls;
}
