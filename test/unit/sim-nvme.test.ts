/** What only the model of an NVMe controller has: options, time, storage that can be looked at, and reports. */
import { afterEach, describe, expect, it } from 'vitest';
import { openPci, type PciFunction } from '../../lib/index.ts';
import {
  describeFault,
  type Fault,
  FaultInjector,
  NvmeModel,
  type NvmeOptions,
  simulate,
} from '../../lib/sim/index.ts';
import { ADMIN, DOORBELLS, NVM, RawController, RawQueue, REGISTER } from '../nvme/raw.ts';
import { expectCode } from './sim-fixture.ts';

const NOWHERE = 0x7000_0000n;
let opened: PciFunction | undefined;

afterEach(() => opened?.close());

async function start(options: NvmeOptions = {}, inject?: FaultInjector) {
  const model = new NvmeModel(options);
  const source = simulate(model, inject === undefined ? {} : { inject });
  const fn = await openPci(source);
  opened = fn;
  const controller = await RawController.start(fn);
  const queue = await controller.createQueue(1, 16);
  const data = fn.dma.allocCoherent(16_384);
  return { model, source, fn, controller, queue, data, page: data.dmaAddress };
}

const words = (faults: readonly Fault[]): string[] => faults.map(describeFault);

describe('options', () => {
  it.each<[string, NvmeOptions]>([
    ['no queues', { ioQueues: 0 }],
    ['too many queues', { ioQueues: 2048 }],
    ['stride', { doorbellStride: 11 }],
    ['latency', { latency: -1 }],
    ['transfer', { maxTransfer: 1.5 }],
    ['serial number', { serial: 'more than twenty characters' }],
    ['capacity', { namespaces: [{ capacity: 1000 }] }],
    ['block size', { namespaces: [{ blockSize: 1024 as 512 }] }],
  ])('EINVAL: %s', (_, options) => expectCode('EINVAL', () => new NvmeModel(options)));

  it('put doorbells apart, and the MSI-X table behind them', async () => {
    const { controller, fn, queue } = await start({ doorbellStride: 4, ioQueues: 100 });
    expect(fn.bar(0).read32(REGISTER.capabilities + 4) & 0xf).toBe(4);
    expect(fn.interrupts.limit('msix')).toBe(101);
    expect(await queue.status({ opcode: NVM.flush, nsid: 1 })).toBe(0);
    expect((await controller.admin.run({ opcode: ADMIN.getFeatures, cdw10: 7 })).result).toBe(99 * 0x1_0001);
    const last = await controller.createQueue(100, 4);
    expect(await last.status({ opcode: NVM.flush, nsid: 1 })).toBe(0);
  });

  it('give it several namespaces, each with its own blocks', async () => {
    const MIB = 2 ** 20;
    const { model, controller, queue, data, page } = await start({
      namespaces: [{ capacity: MIB }, { capacity: 2 ** 40, blockSize: 4096 }, {}],
      serial: 'three',
    });
    const list = (await controller.identify(2)).data;
    expect([0, 4, 8, 12].map((at) => list.getUint32(at, true))).toEqual([1, 2, 3, 0]);
    const second = (await controller.identify(0, 2)).data;
    expect([second.getBigUint64(0, true), second.getUint8(26)]).toEqual([2n ** 28n, 1]);
    data.bytes.fill(9);
    const far = { nsid: 2, cdw10: 2 ** 28 - 2, cdw12: 1, prp1: page, prp2: page + 4096n };
    expect(await queue.status({ ...far, opcode: NVM.write })).toBe(0);
    expect(await queue.status({ ...far, opcode: NVM.write, cdw12: 2 })).toBe(0x4080);
    expect(await queue.status({ opcode: NVM.write, nsid: 1, cdw10: MIB / 512, prp1: page })).toBe(0x4080);
    expect(model.namespaces.map(({ allocated }) => allocated)).toEqual([0, 8192, 0]);
    expect(model.namespaces[1]!.read(2 ** 40 - 8192, 8192)).toEqual(data.bytes.slice(0, 8192));
  });
});

describe('what is stored', () => {
  it('can be looked at and changed from outside', async () => {
    const { model, queue, data, page } = await start();
    const [image] = model.namespaces;
    const bytes = Uint8Array.from({ length: 10_000 }, (_, i) => i % 251);
    image!.write(4000, bytes);
    expect(image!.read(4000, 10_000)).toEqual(bytes);
    expect(image!.read(14_000, 10)).toEqual(new Uint8Array(10));
    expect(await queue.status({ opcode: NVM.read, nsid: 1, cdw10: 8, cdw12: 7, prp1: page })).toBe(0);
    expect(data.bytes.slice(0, 4096)).toEqual(image!.read(4096, 4096));
  });

  it('takes memory when it is written and none when it is read or deallocated', async () => {
    const { model, queue, data, page } = await start();
    const [image] = model.namespaces;
    expect(await queue.status({ opcode: NVM.read, nsid: 1, cdw12: 7, prp1: page })).toBe(0);
    expect(image!.allocated).toBe(0);
    data.bytes.fill(7);
    const write = { opcode: NVM.write, nsid: 1, cdw10: 7, cdw12: 15, prp1: page, prp2: page + 4096n };
    expect(await queue.status(write)).toBe(0);
    expect(image!.allocated).toBe(3 * 4096);
    new Uint32Array(data.buffer).set([0, 20, 0, 0]);
    const trim = { opcode: NVM.datasetManagement, nsid: 1, prp1: page, cdw11: 4 };
    expect(await queue.status(trim)).toBe(0);
    expect(image!.allocated).toBe(4096);
    expect(image!.read(0, 20 * 512)).toEqual(new Uint8Array(20 * 512));
    expect(image!.read(20 * 512, 512)).toEqual(new Uint8Array(512).fill(7));
    image!.write(0, Uint8Array.of(1));
    expect(image!.read(0, 3)).toEqual(Uint8Array.of(1, 0, 0));
  });

  it('survives the driver', async () => {
    const { model, source, queue, page, fn } = await start();
    expect(await queue.status({ opcode: NVM.write, nsid: 1, prp1: page })).toBe(0);
    model.namespaces[0]!.write(0, Uint8Array.of(5));
    fn.close();
    const again = await openPci(source);
    opened = again;
    expect(again.bar(0).read32(REGISTER.configuration)).toBe(0);
    const next = await (await RawController.start(again)).createQueue(1, 8);
    const data = again.dma.allocCoherent(512);
    expect(await next.status({ opcode: NVM.read, nsid: 1, prp1: data.dmaAddress })).toBe(0);
    expect(data.bytes[0]).toBe(5);
  });
});

describe('latency', () => {
  const LATENCY = 100;
  const read = { opcode: NVM.read, nsid: 1 };

  it('is simulated time: nothing moves before, and commands do not wait for each other', async () => {
    const { queue, data, page, fn, model } = await start({ latency: LATENCY });
    model.namespaces[0]!.write(0, Uint8Array.of(5));
    for (let i = 0; i < 10; i++) queue.put({ ...read, prp1: page });
    queue.ring();
    // A register read is a microsecond.
    for (let i = 0; i < LATENCY - 1; i++) fn.bar(0).read32(REGISTER.status);
    expect([queue.peek(), data.bytes[0]]).toEqual([undefined, 0]);
    fn.bar(0).read32(REGISTER.status);
    for (let i = 0; i < 10; i++) expect(queue.peek()?.status).toBe(0);
    expect(data.bytes[0]).toBe(5);
  });

  it('lets commands be aborted', async () => {
    const { queue, controller, page } = await start({ latency: LATENCY });
    queue.put({ ...read, cid: 40, prp1: page });
    queue.put({ ...read, cid: 41, prp1: page });
    queue.ring();
    const abort = await controller.admin.run({ opcode: ADMIN.abort, cdw10: (41 << 16) | 1 });
    expect([abort.status, abort.result]).toEqual([0, 0]);
    expect(await queue.take()).toMatchObject({ cid: 41, status: 0x0007 });
    expect(await queue.take()).toMatchObject({ cid: 40, status: 0 });
    const late = await controller.admin.run({ opcode: ADMIN.abort, cdw10: (41 << 16) | 1 });
    expect([late.status, late.result]).toEqual([0, 1]);
  });

  it('shows what happens to commands whose queue is deleted', async () => {
    const { queue, controller, page, data } = await start({ latency: LATENCY });
    queue.put({ ...read, cid: 1, prp1: page });
    queue.ring();
    data.bytes.fill(9);
    expect(await controller.admin.status({ opcode: ADMIN.deleteSubmissionQueue, cdw10: 1 })).toBe(0);
    expect(queue.peek()).toMatchObject({ cid: 1, status: 0x0008 });
    for (let i = 0; i < 2 * LATENCY; i++) controller.bar.read32(REGISTER.status);
    expect([queue.peek(), data.bytes[0]]).toEqual([undefined, 9]);
  });

  it('does not outlive a reset', async () => {
    const { queue, controller, page, data, source } = await start({ latency: LATENCY });
    for (const reset of [() => controller.disable(), async () => controller.fn.reset()]) {
      queue.put({ ...read, prp1: page });
      queue.ring();
      data.bytes.fill(9);
      await reset();
      controller.fn.setMaster();
      for (let i = 0; i < 2 * LATENCY; i++) controller.bar.read32(REGISTER.status);
      expect([queue.peek(), data.bytes[0]]).toEqual([undefined, 9]);
      await controller.enable();
      Object.assign(queue, await controller.createQueue(1, 16));
    }
    expect(source.faults).toEqual([]);
  });

  it('meets a submission queue deeper than the completion queue', async () => {
    const { controller } = await start({ latency: LATENCY });
    const queue = await controller.createQueue(2, 16, { completionEntries: 3 });
    for (let i = 0; i < 15; i++) queue.put({ opcode: NVM.flush, nsid: 1, cid: i });
    queue.ring();
    const done = await queue.takeMany(15);
    expect(done.map(({ cid }) => cid)).toEqual(Array.from({ length: 15 }, (_, i) => i));
  });
});

describe('reports', () => {
  it('say which command and which PRP led nowhere', async () => {
    const { queue, source, page } = await start();
    queue.put({ opcode: NVM.flush, nsid: 1 });
    const cid = queue.put({ opcode: NVM.read, nsid: 1, cdw12: 15, prp1: page, prp2: NOWHERE });
    queue.ring();
    await queue.takeMany(2);
    expect(source.faults).toEqual([
      {
        address: NOWHERE,
        size: 4096,
        access: 'write',
        reason: 'not mapped',
        about: `Read, command ${cid} of queue 1, at entry 1, PRP2`,
      },
    ]);
  });

  it('say so of lists, segments and entries of queues', async () => {
    const { queue, source, page, controller, data } = await start();
    await queue.status({ opcode: NVM.write, nsid: 1, cid: 3, cdw12: 31, prp1: page, prp2: NOWHERE });
    await queue.status({
      opcode: NVM.write,
      nsid: 1,
      cid: 4,
      flags: 0x40,
      prp1: NOWHERE,
      prp2: (3n << 60n) | 32n,
    });
    new DataView(data.buffer).setBigUint64(0, NOWHERE, true);
    new DataView(data.buffer).setUint32(8, 512, true);
    await queue.status({
      opcode: NVM.write,
      nsid: 1,
      cid: 5,
      flags: 0x40,
      prp1: page,
      prp2: (3n << 60n) | 16n,
    });
    await controller.admin.status({ opcode: ADMIN.identify, cid: 6, cdw10: 1, prp1: NOWHERE });
    const create = {
      opcode: ADMIN.createSubmissionQueue,
      prp1: NOWHERE,
      cdw10: (7 << 16) | 2,
      cdw11: (1 << 16) | 1,
    };
    await controller.admin.status(create);
    controller.bar.write32(DOORBELLS + 16, 1);
    expect(words(source.faults)).toEqual([
      'DMA read of 24 bytes at 0x70000000: not mapped (Write, command 3 of queue 1, at entry 0, its PRP list)',
      'DMA read of 16 bytes at 0x70000000: not mapped (Write, command 4 of queue 1, at entry 1, a segment of its SGL)',
      'DMA read of 512 bytes at 0x70000000: not mapped (Write, command 5 of queue 1, at entry 2, block 0 of its SGL)',
      'DMA write of 4096 bytes at 0x70000000: not mapped (Identify, command 6 of queue 0, at entry 2, PRP1)',
      'DMA read of 64 bytes at 0x70000000: not mapped (entry 0 of submission queue 2)',
    ]);
    expect(controller.status).toBe(2);
  });

  it('say what is wrong with a descriptor or a doorbell', async () => {
    const { queue, source, page, controller } = await start();
    await queue.status({ opcode: NVM.read, nsid: 1, cid: 1, prp1: page + 2n });
    await queue.status({ opcode: NVM.read, nsid: 1, cid: 2, cdw12: 15, prp1: page, prp2: page + 4104n });
    const create = { opcode: ADMIN.createCompletionQueue, prp1: page, cdw10: (7 << 16) | 2 };
    await controller.admin.status({ ...create, cid: 3 });
    await controller.admin.status({ ...create, cid: 4, cdw11: (1 << 16) | 3 });
    queue.ring(16);
    queue.ringHead(5);
    controller.bar.write32(DOORBELLS + 8 * 9, 1);
    controller.bar.write16(DOORBELLS + 8, 1);
    const [sq, cq] = [queue.submissions, queue.completions].map(
      ({ dmaAddress }) => `0x${dmaAddress.toString(16)}`,
    );
    const at = (address: bigint) => `0x${address.toString(16)}`;
    expect(words(source.faults)).toEqual([
      `DMA read at ${at(page + 2n)}: PRP1 is no multiple of 4 (Read, command 1 of queue 1, at entry 0)`,
      `DMA read at ${at(page + 4104n)}: PRP2 has an offset in its page (Read, command 2 of queue 1, at entry 1)`,
      `DMA read at ${at(page)}: the queue is not in one piece, which CAP.CQR asks for (Create I/O Completion Queue, command 3 of queue 0, at entry 2)`,
      `DMA read at ${at(page)}: a completion queue with vector 1 before MSI-X is enabled (Create I/O Completion Queue, command 4 of queue 0, at entry 3)`,
      `DMA write at ${sq}: the submission doorbell of queue 1 says 16, and the queue has 16 entries, head 2 and tail 2`,
      `DMA write at ${cq}: the completion doorbell of queue 1 says 5, and the queue has 16 entries, head 2 and tail 2`,
      'DMA write at 0x0: a doorbell at 0x1048, where no queue has one',
      'DMA write of 2 bytes at 0x0: a write of 2 bytes to register 0x1008',
    ]);
  });

  it('say so too when dma-debug tells of a mapping that is gone', async () => {
    const { queue, fn } = await start();
    const told: string[] = [];
    fn.dma.debug?.onReport(({ message }) => told.push(message));
    const mapping = fn.dma.mapSingle(new Uint8Array(4096), 'from-device');
    const address = mapping.dmaAddress;
    mapping.unmap();
    const cid = queue.put({ opcode: NVM.read, nsid: 1, cdw12: 7, prp1: address });
    queue.ring();
    await queue.take();
    expect(told).toHaveLength(1);
    expect(told[0]).toContain('after it was unmapped');
    expect(told[0]).toContain(`(Read, command ${cid} of queue 1, at entry 0, PRP1)`);
  });

  it('give addresses as the driver wrote them', async () => {
    const { queue, source } = await start();
    const wild = 0xfedc_ba98_7654_3210n;
    await queue.status({ opcode: NVM.read, nsid: 1, prp1: wild });
    expect(source.faults[0]?.address).toBe(wild);
  });
});

it('serves a queue whose doorbell its own data rings, when it is done with the command', async () => {
  const { controller, queue, model, fn, data, page } = await start();
  const other = await controller.createQueue(2, 8);
  const doorbells = fn.dma.mapResource(fn.bar(0), 0x1000, 4096, 'from-device').dmaAddress;
  const bytes = Uint8Array.from({ length: 528 }, (_, i) => i % 251);
  model.namespaces[0]!.write(0, Uint8Array.of(1));
  model.namespaces[0]!.write(4080, bytes);
  const inside = other.put({ opcode: NVM.read, nsid: 1, cdw10: 50, prp1: page + 8192n });
  // The first word goes to the tail doorbell of queue 2, others where there is none, and what is left to memory.
  const outside = queue.put({ opcode: NVM.read, nsid: 1, cdw12: 8, prp1: doorbells + 16n, prp2: page });
  queue.ring();
  expect([queue.peek()?.cid, other.peek()?.cid]).toEqual([outside, inside]);
  expect(data.bytes.slice(0, 528)).toEqual(bytes);
});

it('gets along with injected faults', async () => {
  const inject = new FaultInjector().on('iommu-fault', { nth: 30 });
  const { queue, source, page } = await start({}, inject);
  const statuses: number[] = [];
  for (let i = 0; i < 12; i++) statuses.push(await queue.status({ opcode: NVM.read, nsid: 1, prp1: page }));
  expect(statuses.every((status) => status === 0)).toBe(true);
  expect(source.faults[0]?.about).toMatch(/queue/);
  expect(new RawQueue(opened!, 5, 4).entries).toBe(4);
});
