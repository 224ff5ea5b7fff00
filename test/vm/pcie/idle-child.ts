/** A program that opens two functions of a group and a disk, with every notification armed, and ends (idle.test.ts). */
import { writeFile } from 'node:fs/promises';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { openPci } from '../../../lib/index.ts';
import { bindVfio } from '../hotplug.ts';

const edu = process.env.USERDMA_TEST_EDU ?? '';
const twin = process.env.USERDMA_TEST_EDU_TWIN ?? '';
const disk = process.env.USERDMA_TEST_NVME_SECOND ?? '';
const how = isMainThread ? process.argv[2] : (workerData as string);

async function open(): Promise<void> {
  const first = await openPci(edu);
  const second = await openPci(twin);
  const third = await openPci(disk, { domain: first.domain! });
  for (const fn of [first, second, third]) {
    fn.onError(() => {});
    fn.onReleaseRequest(() => {});
    fn.dma.allocCoherent(4096);
  }
  second.interrupts.msi(0);
  third.interrupts.msix(0);
}

async function inWorker(): Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: how });
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  await new Promise((resolve) => worker.once('message', resolve));
  if (how === 'has them in a worker that is terminated') await worker.terminate();
  await ended;
}

if (!isMainThread) {
  await open();
  const { parentPort } = await import('node:worker_threads');
  parentPort?.postMessage('open');
  if (how === 'has them in a worker that is terminated')
    await new Promise((done) => setTimeout(done, 60_000));
} else if (how?.includes('worker')) {
  await inWorker();
} else {
  await open();
  if (how === 'calls process.exit') process.exit(7);
  if (how === 'is asked for one at that moment') {
    // The last thing the program waits for: the kernel lets go of the function.
    await writeFile(`/sys/bus/pci/devices/${edu}/driver/unbind`, edu);
    await bindVfio(edu);
  }
}
