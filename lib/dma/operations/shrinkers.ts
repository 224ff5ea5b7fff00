/**
 * Shrinkers free memory and addresses that are held but not used, when other code needs them (the kernel's
 * shrinkers).
 */
import { DmaError } from '../../errors.ts';

/** Free memory and addresses that are not in use. False if there were none. */
export type Shrinker = () => boolean;

/** Call all shrinkers. True if any of them freed something. */
export function shrinkAll(shrinkers: ReadonlySet<Shrinker>): boolean {
  let any = false;
  for (const shrink of shrinkers) any = shrink() || any;
  return any;
}

/**
 * Return the result of `allocate`. If there is no memory, and a shrinker frees some, call `allocate` once more.
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

/** True if the error says that memory ran out. The call may succeed once memory was freed. */
export function isNoMemory(error: unknown): boolean {
  return error instanceof DmaError && error.code === 'ENOMEM';
}
