/**
 * Work of edu that one of QEMU's own threads does: factorials. The clock of most machines jumps to the next timer
 * whenever the guest is idle, and does not know of that thread: the driver's timeout could pass before the thread has
 * run at all.
 */
import { setImmediate as turn } from 'node:timers/promises';

/** Waits for `work` without being idle, so that the guest's clock counts instructions and does not jump. */
export async function awake<T>(work: Promise<T>): Promise<T> {
  let isDone = false;
  const ended = () => {
    isDone = true;
  };
  work.then(ended, ended);
  while (!isDone) await turn();
  return work;
}
