/** A program that opens the device, starts a transfer and ends in the way its argument names (ending.test.ts). */
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { Edu } from '../../examples/edu/driver.ts';
import { openPci } from '../../lib/index.ts';

const address = process.env.USERDMA_TEST_EDU ?? '';
const how = isMainThread ? process.argv[2] : (workerData as string);

/** QEMU's edu takes 100 ms for a transfer: it is in flight from here on. */
async function startTransfer(): Promise<Edu> {
  const edu = new Edu(await openPci(address));
  edu.start(0x40000n, edu.page.dmaAddress, 1024, 2);
  return edu;
}

async function inWorker(how: string): Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: how });
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  await new Promise((resolve) => worker.once('message', resolve));
  if (how === 'worker terminate') await worker.terminate();
  console.log(`worker exited with ${await ended}`);
}

const endings: Record<string, () => Promise<void>> = {
  'normal end': async () => void (await startTransfer()),
  close: async () => (await startTransfer()).close(),
  'process.exit': async () => {
    await startTransfer();
    process.exit(7);
  },
  'uncaught exception': async () => {
    await startTransfer();
    setImmediate(() => {
      throw new Error('on purpose');
    });
  },
  SIGKILL: async () => {
    await startTransfer();
    process.kill(process.pid, 'SIGKILL');
  },
  'worker end': () => inWorker('worker end'),
  'worker terminate': () => inWorker('worker terminate'),
};

if (isMainThread) {
  await endings[how ?? '']?.();
} else {
  const { parentPort } = await import('node:worker_threads');
  await startTransfer();
  parentPort?.postMessage('started');
  if (how === 'worker terminate') await sleep(60_000);
}
