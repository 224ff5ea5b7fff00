/** Waits that end: for what the device, the kernel or QEMU does by itself. */
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';

/** Milliseconds until a wait is given up: more than a busy host needs. */
const DEADLINE = 120_000;

/**
 * Waits until it holds.
 * @param what the sentence that says what did not happen, where it does not
 * @param pause milliseconds between two looks; 0 looks at every turn of the event loop
 */
export async function until(holds: () => boolean | Promise<boolean>, what: string, pause = 0): Promise<void> {
  const end = performance.now() + DEADLINE;
  while (!(await holds())) {
    if (performance.now() > end) {
      throw new Error(`in ${DEADLINE / 1000} seconds it did not happen that ${what}`);
    }
    await (pause === 0 ? turn() : sleep(pause));
  }
}
