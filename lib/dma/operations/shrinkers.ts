/**
 * Shrinkers free memory and addresses that are held but not used, when other code needs them (the kernel's shrinkers).
 */
import { DmaError } from '../../errors.ts';

/** Frees memory and addresses that are not in use; false when there were none. */
export type Shrinker = () => boolean;

/** Ask all of them; whether any gave something back. */
export function shrinkAll(shrinkers: ReadonlySet<Shrinker>): boolean {
  let any = false;
  for (const shrink of shrinkers) any = shrink() || any;
  return any;
}

/**
 * What `allocate` returns; asked again when there was no memory and a shrinker gave some back.
 * @throws as `allocate`
 */
export function withShrinking<T>(shrinkers: ReadonlySet<Shrinker>, allocate: () => T): T {
  try {
    return allocate();
  } catch (error) {
    if (!isNoMemory(error) || !shrinkAll(shrinkers)) throw error;
    return allocate();
  }
}

/** Whether something failed for want of memory, and may not once some was given back. */
export function isNoMemory(error: unknown): boolean {
  return error instanceof DmaError && error.code === 'ENOMEM';
}
