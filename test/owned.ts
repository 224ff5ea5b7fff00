/** A driver that owns the function it drives, from the beginning. */
import type { PciFunction } from '../lib/index.ts';

/** Makes a driver. A function whose driver cannot be made is closed, so that the next test can open it. */
export async function owned<T>(opening: Promise<PciFunction>, make: (fn: PciFunction) => T): Promise<T> {
  const fn = await opening;
  try {
    return make(fn);
  } catch (error) {
    fn.close();
    throw error;
  }
}
