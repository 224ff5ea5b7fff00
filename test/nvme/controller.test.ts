/**
 * What an NVMe controller does at its registers, its queues and its interrupts: the model is held to QEMU's `nvme` by this
 * file and the ones beside it, which run on both. Where the two differ (lib/sim/models/nvme/model.ts says where, and why) a
 * test says so.
 */
import type { PciFunction } from '../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import {
  ADMIN,
  DOORBELLS,
  ENABLE,
  FATAL,
  NVM,
  type RawCompletion,
  RawController,
  RawQueue,
  READY,
  REGISTER,
} from './raw.ts';
import { rawWorlds } from './raw-worlds.ts';

/** An address that nobody has mapped. */
const NOWHERE = 0x7000_0000n;
const FLUSH = { opcode: NVM.flush, nsid: 1 };
const soon = (): AbortSignal => AbortSignal.timeout(5000);
/** Long enough for QEMU to do what it should not. */
const aWhile = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));

/** All that was put before has been fetched: it is in order. An event that nobody waits for is not told. */
async function fetched(admin: RawQueue): Promise<void> {
  assert.equal(await admin.status({ opcode: ADMIN.getFeatures, cdw10: 7 }), 0);
}

/** Sizes of entries that are wrong. QEMU 10 and newer look at them only when a queue is created. */
const ENTRY_SIZES = [
  ['submission entries of 32 bytes', (4 << 20) | (5 << 16) | 1, 0x001f_001f, 0],
  ['completion entries of 32 bytes', (5 << 20) | (6 << 16) | 1, 0x001f_001f, 0],
  ['entries without a size', 1, 0x001f_001f, 0],
] as const;

for (const world of rawWorlds) {
  /** QEMU 10 and newer do some things otherwise than QEMU 7, which the model follows. */
  const isNew = world.qemu >= 10;
  /** Among them: they no longer offer to have no command set. */
  const capabilities = isNew ? 0x0040_0820_0f01_07ffn : 0x0040_1820_0f01_07ffn;

  describe(`NVMe controller, ${world.name}`, () => {
    let fn: PciFunction;

    beforeEach(async () => {
      fn = await world.open();
    });

    afterEach(() => fn.close());

    describe('configuration space', () => {
      it('is that of a PCI Express function with INTx, MSI-X and a reset of its own', () => {
        const read = (offset: number): number => fn.config.read32(offset);
        assert.equal(read(0x00), 0x0010_1b36);
        assert.equal(read(0x08), 0x0108_0202);
        assert.equal(read(0x2c), 0x1100_1af4);
        assert.equal(fn.interrupts.limit('msix'), 65);
        assert.equal(fn.interrupts.limit('msi'), 0);
        assert.equal(fn.interrupts.limit('intx'), 1);
        assert.equal(fn.bar(0).info.is64Bit, true);
        assert.equal(fn.bar(0).size, 0x4000);
      });
    });

    describe('registers', () => {
      it('say what it can do', () => {
        const bar = fn.bar(0);
        assert.equal(bar.read32(REGISTER.capabilities), 0x0f01_07ff);
        assert.equal(bar.read32(REGISTER.capabilities + 4), Number(capabilities >> 32n));
        assert.equal(bar.read64(REGISTER.capabilities), capabilities);
        assert.equal(bar.read32(REGISTER.version), 0x0001_0400);
        assert.equal(bar.read32(DOORBELLS), 0);
        assert.equal(bar.read32(0xffc), 0);
        assert.equal(bar.read16(REGISTER.version + 2), 1);
        // QEMU 7 answers for one byte with two, and the LDRB of its Arm processor leaves both in the register.
        const byte = bar.read8(REGISTER.version + 1);
        const isTwo = !world.simulated && world.qemu < 10 && process.arch === 'arm64';
        assert.equal(isTwo ? byte & 0xff : byte, 4);
      });

      it('of the admin queue take 64 bits, or two halves', () => {
        const bar = fn.bar(0);
        for (const register of [REGISTER.adminSubmissionQueue, REGISTER.adminCompletionQueue]) {
          bar.write64(register, 0x0000_0012_3456_7000n);
          assert.equal(bar.read32(register), 0x3456_7000);
          assert.equal(bar.read32(register + 4), 0x12);
          bar.write32(register, 0x8000_1000);
          bar.write32(register + 4, 0xffff_ffff);
          assert.equal(bar.read64(register), 0xffff_ffff_8000_1000n);
        }
        bar.write32(REGISTER.adminQueueAttributes, 0x001f_003f);
        assert.equal(bar.read32(REGISTER.adminQueueAttributes), 0x001f_003f);
      });

      it('of the interrupt mask set and clear, and read the same', () => {
        const bar = fn.bar(0);
        fn.reset();
        bar.write32(REGISTER.interruptMaskSet, 0x8000_0005);
        bar.write32(REGISTER.interruptMaskSet, 2);
        bar.write32(REGISTER.interruptMaskClear, 4);
        assert.equal(bar.read32(REGISTER.interruptMaskSet), 0x8000_0003);
        assert.equal(bar.read32(REGISTER.interruptMaskClear), 0x8000_0003);
      });

      it('that are read-only stay', () => {
        const bar = fn.bar(0);
        fn.reset();
        for (const register of [0, 4, REGISTER.version, REGISTER.status]) bar.write32(register, 0);
        assert.equal(bar.read64(REGISTER.capabilities), capabilities);
        assert.equal(bar.read32(REGISTER.version), 0x0001_0400);
        assert.equal(bar.read32(REGISTER.status), 0);
      });
    });

    describe('enabling', () => {
      it('shows, and so do shutting down and disabling', async () => {
        const controller = await RawController.start(fn);
        const { bar } = controller;
        assert.equal(controller.status, READY);
        assert.equal(bar.read32(REGISTER.configuration), ENABLE);
        bar.write32(REGISTER.configuration, ENABLE | (1 << 14));
        await controller.until((status) => ((status >> 2) & 3) === 2);
        assert.equal(controller.status, READY | (2 << 2));
        bar.write32(REGISTER.configuration, ENABLE);
        assert.equal(controller.status, READY);
        await controller.disable();
        assert.equal(controller.status, 0);
        assert.equal(bar.read32(REGISTER.configuration), 0);
        assert.equal(bar.read32(REGISTER.adminQueueAttributes), 0x001f_001f);
        assert.equal(bar.read64(REGISTER.adminSubmissionQueue), controller.admin.submissions.dmaAddress);
      });

      for (const [what, configuration, attributes, offset] of [
        ['no entries', ENABLE, 0, 0],
        ['a submission queue without entries', ENABLE, 0x001f_0000, 0],
        ['a completion queue without entries', ENABLE, 0x001f, 0],
        ['a queue with an offset in its page', ENABLE, 0x001f_001f, 8],
        ['pages of 128 KiB', ENABLE | (5 << 7), 0x001f_001f, 0],
        ['pages of 64 KiB, and a queue that is not on one', ENABLE | (4 << 7), 0x001f_001f, 0x1000],
        ['a command set that it has not', ENABLE | (1 << 4), 0x001f_001f, 0],
        ...(isNew ? [] : ENTRY_SIZES),
      ] as const) {
        it(`is fatal with ${what}`, async () => {
          const controller = new RawController(fn);
          const { bar } = controller;
          await controller.disable();
          const memory = fn.dma.allocCoherent(131_072);
          bar.write32(REGISTER.adminQueueAttributes, attributes);
          bar.write64(REGISTER.adminSubmissionQueue, memory.dmaAddress + BigInt(offset));
          bar.write64(REGISTER.adminCompletionQueue, memory.dmaAddress + 65_536n);
          bar.write32(REGISTER.configuration, configuration);
          await controller.until((status) => status !== 0);
          assert.equal(controller.status, FATAL);
          await controller.disable();
          assert.equal(controller.status, 0);
          await controller.enable();
          assert.equal(controller.status, READY);
        });
      }

      it('takes the command sets it names', async () => {
        const controller = new RawController(fn);
        for (const set of isNew ? [0, 6] : [0, 6, 7]) {
          await controller.disable();
          await controller.enable(32, ENABLE | (set << 4));
          assert.equal(controller.status, READY);
        }
      });

      it('is fatal when the first command cannot be fetched', async () => {
        const controller = new RawController(fn);
        await controller.disable();
        controller.setAdminQueue(32);
        controller.bar.write64(REGISTER.adminSubmissionQueue, NOWHERE);
        controller.bar.write32(REGISTER.configuration, ENABLE);
        await controller.until((status) => status === READY);
        controller.admin.ring(1);
        await controller.until((status) => status === FATAL);
        await controller.disable();
      });

      it('is fatal when the completion cannot be written', async () => {
        const controller = new RawController(fn);
        await controller.disable();
        controller.setAdminQueue(32);
        controller.bar.write64(REGISTER.adminCompletionQueue, NOWHERE);
        controller.bar.write32(REGISTER.configuration, ENABLE);
        await controller.until((status) => status === READY);
        controller.admin.put({ opcode: ADMIN.getFeatures, cdw10: 7 });
        controller.admin.ring();
        await controller.until((status) => status === FATAL);
        await controller.disable();
      });
    });

    describe('queues', () => {
      it('complete in order, with the phase of the round and the head of the submission queue', async () => {
        const controller = await RawController.start(fn);
        const queue = await controller.createQueue(3, 5);
        for (let i = 0; i < 23; i++) {
          const cid = 0x8000 + i;
          const done = await queue.run({ ...FLUSH, cid });
          const phase = Math.floor(i / 5) % 2 === 0 ? 1 : 0;
          const sqHead = (i + 1) % 5;
          assert.deepEqual(done, { result: 0, sqHead, sqId: 3, cid, phase, status: 0 });
        }
      });

      it('of two entries hold one command', async () => {
        const controller = await RawController.start(fn, 2);
        const queue = await controller.createQueue(1, 2);
        for (let i = 0; i < 9; i++) assert.equal(await queue.status(FLUSH), 0);
      });

      it('of the largest size wrap', async () => {
        const controller = await RawController.start(fn);
        const queue = await controller.createQueue(64, 2048);
        for (let round = 0; round < 3; round++) {
          for (let i = 0; i < 1000; i++) queue.put(FLUSH);
          queue.ring();
          const done = await queue.takeMany(1000);
          assert.equal(
            done.every(({ status }) => status === 0),
            true,
          );
        }
      });

      it('take many commands with one doorbell', async () => {
        const controller = await RawController.start(fn);
        const queue = await controller.createQueue(1, 32);
        for (let round = 0; round < 4; round++) {
          const cids = Array.from({ length: 31 }, () => queue.put(FLUSH));
          queue.ring();
          const done = await queue.takeMany(31);
          // Nothing says that commands end in the order they came.
          assert.deepEqual(
            done.map(({ cid }) => cid).sort((a, b) => a - b),
            cids,
          );
        }
      });

      it('are never overrun: what has no room waits for the doorbell', async () => {
        const controller = await RawController.start(fn);
        const queue = await controller.createQueue(1, 16, { completionEntries: 4 });
        for (let i = 0; i < 15; i++) queue.put({ ...FLUSH, cid: i });
        queue.ring();
        const taken: RawCompletion[] = [];
        for (let round = 0; round < 5; round++) {
          while (taken.length < 3 * (round + 1)) {
            const next = queue.peek();
            if (next === undefined) await aWhile();
            else taken.push(next);
          }
          await aWhile();
          assert.equal(queue.peek(), undefined);
          queue.ringHead();
        }
        const cids = taken.map(({ cid }) => cid).sort((a, b) => a - b);
        assert.deepEqual(
          cids,
          Array.from({ length: 15 }, (_, i) => i),
        );
        assert.equal(await queue.status(FLUSH), 0);
      });

      it('share a completion queue', async () => {
        const controller = await RawController.start(fn);
        const queue = await controller.createQueue(1, 8);
        const other = new RawQueue(fn, 2, 8);
        const create = { opcode: ADMIN.createSubmissionQueue, prp1: other.submissions.dmaAddress };
        assert.equal(
          await controller.admin.status({ ...create, cdw10: (7 << 16) | 2, cdw11: (1 << 16) | 1 }),
          0,
        );
        other.put({ ...FLUSH, cid: 77 });
        other.ring();
        const done = await queue.take();
        assert.deepEqual([done.sqId, done.cid, done.sqHead], [2, 77, 1]);
        const remove = { opcode: ADMIN.deleteCompletionQueue, cdw10: 1 };
        assert.equal(await controller.admin.status({ opcode: ADMIN.deleteSubmissionQueue, cdw10: 1 }), 0);
        assert.equal(await controller.admin.status(remove), 0x010c);
        assert.equal(await controller.admin.status({ opcode: ADMIN.deleteSubmissionQueue, cdw10: 2 }), 0);
        assert.equal(await controller.admin.status(remove), 0);
      });

      it('begin anew when they are created again', async () => {
        const controller = await RawController.start(fn);
        for (let round = 0; round < 3; round++) {
          const queue = await controller.createQueue(1, 8);
          for (let i = 0; i < 11; i++) assert.equal(await queue.status(FLUSH), 0);
          assert.equal(await controller.admin.status({ opcode: ADMIN.deleteSubmissionQueue, cdw10: 1 }), 0);
          assert.equal(await controller.admin.status({ opcode: ADMIN.deleteCompletionQueue, cdw10: 1 }), 0);
        }
      });

      it('leave doorbells of other values, and other doorbells, alone', async () => {
        const controller = await RawController.start(fn);
        const queue = await controller.createQueue(1, 8);
        queue.ring(8);
        queue.ring(0xffff);
        queue.ringHead(8);
        controller.bar.write32(DOORBELLS + 8 * 9, 1);
        controller.bar.write32(DOORBELLS + 8 * 9 + 4, 1);
        assert.equal(await queue.status(FLUSH), 0);
        assert.equal(controller.status, READY);
      });
    });

    describe('asynchronous events', () => {
      it('tell of a wrong doorbell, once until the log page is read', async () => {
        const controller = await RawController.start(fn);
        const { admin } = controller;
        const queue = await controller.createQueue(1, 8);
        const first = admin.put({ opcode: ADMIN.asynchronousEventRequest });
        await fetched(admin);
        queue.ring(99);
        const told = await admin.take();
        assert.deepEqual([told.cid, told.result, told.status], [first, 0x0001_0100, 0]);
        const second = admin.put({ opcode: ADMIN.asynchronousEventRequest });
        await fetched(admin);
        queue.ringHead(99);
        await aWhile();
        assert.equal(admin.peek(), undefined);
        const page = fn.dma.allocCoherent(4096);
        admin.put({
          opcode: ADMIN.getLogPage,
          nsid: 0xffff_ffff,
          prp1: page.dmaAddress,
          cdw10: (15 << 16) | 1,
        });
        admin.ring();
        const taken = await admin.takeMany(isNew ? 1 : 2);
        // They have dropped what came before the log page was read.
        if (isNew) {
          queue.ringHead(99);
          taken.push(await admin.take());
        }
        assert.equal(
          taken.some(({ cid, result }) => cid === second && result === 0x0001_0100),
          true,
        );
      });

      it('tell of a doorbell where there is no queue', async () => {
        const controller = await RawController.start(fn);
        controller.admin.put({ opcode: ADMIN.asynchronousEventRequest });
        await fetched(controller.admin);
        controller.bar.write32(DOORBELLS + 8 * 9, 1);
        assert.equal((await controller.admin.take()).result, 0x0001_0000);
      });

      it('can be waited for by four requests', async () => {
        const controller = await RawController.start(fn);
        const { admin } = controller;
        const cids = Array.from({ length: 5 }, () => admin.put({ opcode: ADMIN.asynchronousEventRequest }));
        admin.ring();
        const refused = await admin.take();
        assert.deepEqual([refused.cid, refused.status], [cids[4], 0x0105]);
        await aWhile();
        assert.equal(admin.peek(), undefined);
      });

      it('tell of the temperature when they are asked to', async () => {
        const controller = await RawController.start(fn);
        const { admin } = controller;
        const setFeature = (feature: number, cdw11: number) =>
          admin.status({ opcode: ADMIN.setFeatures, cdw10: feature, cdw11 });
        assert.equal(await setFeature(0x0b, 2), 0);
        const request = admin.put({ opcode: ADMIN.asynchronousEventRequest });
        await fetched(admin);
        admin.put({ opcode: ADMIN.setFeatures, cdw10: 0x04, cdw11: 0x100 });
        admin.ring();
        const both = await admin.takeMany(2);
        assert.equal(both.find(({ cid }) => cid === request)?.result, 0x0002_0101);
        const page = fn.dma.allocCoherent(4096);
        const smart = {
          opcode: ADMIN.getLogPage,
          nsid: 0xffff_ffff,
          prp1: page.dmaAddress,
          cdw10: (127 << 16) | 2,
        };
        assert.equal(await admin.status(smart), 0);
        assert.equal(page.bytes[0], 2);
        assert.equal(await setFeature(0x04, 0x157), 0);
        assert.equal(await setFeature(0x0b, 0), 0);
      });
    });

    describe('interrupts', () => {
      it('are messages of the vector of the completion queue', async () => {
        const admin = fn.interrupts.msix(0);
        const first = fn.interrupts.msix(1);
        const second = fn.interrupts.msix(7);
        const controller = await RawController.start(fn);
        const one = await controller.createQueue(1, 8, { vector: 1 });
        const other = await controller.createQueue(2, 8, { vector: 7 });
        await admin.wait({ signal: soon() });
        other.put(FLUSH);
        other.ring();
        await second.wait({ signal: soon() });
        assert.equal((await other.take()).status, 0);
        await aWhile();
        assert.equal(first.count, 0);
        for (let i = 0; i < 4; i++) one.put(FLUSH);
        one.ring();
        await first.wait({ signal: soon() });
        await one.takeMany(4);
      });

      it('do not come from a completion queue without them', async () => {
        const admin = fn.interrupts.msix(0);
        const first = fn.interrupts.msix(1);
        const controller = await RawController.start(fn);
        const queue = await controller.createQueue(1, 8);
        await admin.wait({ signal: soon() });
        const before = admin.count;
        assert.equal(await queue.status(FLUSH), 0);
        await aWhile();
        assert.equal(first.count, 0);
        assert.equal(admin.count, before);
      });

      it('are a line without MSI-X: up while there is something to take, and not masked', async () => {
        const line = fn.interrupts.intx();
        const controller = await RawController.start(fn);
        const { admin, bar } = controller;
        const command = { opcode: ADMIN.getFeatures, cdw10: 7 };
        admin.put(command);
        admin.ring();
        await line.wait({ signal: soon() });
        // Not taken yet: it comes again.
        line.unmask();
        await line.wait({ signal: soon() });
        assert.equal((await admin.take()).status, 0);
        const taken = line.count;
        line.unmask();
        await aWhile();
        assert.equal(line.count, taken);
        bar.write32(REGISTER.interruptMaskSet, 1);
        admin.put(command);
        admin.ring();
        await aWhile();
        assert.equal(line.count, taken);
        bar.write32(REGISTER.interruptMaskClear, 1);
        await line.wait({ signal: soon() });
        assert.equal((await admin.take()).status, 0);
      });
    });

    describe('a reset', () => {
      it('of the controller forgets queues and requests, and keeps what is stored', async () => {
        const controller = await RawController.start(fn);
        let queue = await controller.createQueue(1, 8);
        const data = fn.dma.allocCoherent(4096);
        data.bytes.fill(0x5a, 0, 512);
        const block = { nsid: 1, prp1: data.dmaAddress, cdw10: 5 };
        assert.equal(await queue.status({ ...block, opcode: NVM.write }), 0);
        controller.admin.put({ opcode: ADMIN.asynchronousEventRequest });
        controller.admin.ring();
        await controller.disable();
        queue.put(FLUSH);
        queue.ring();
        await aWhile();
        assert.equal(queue.peek(), undefined);
        await controller.enable();
        assert.equal(controller.status, READY);
        queue = await controller.createQueue(1, 8);
        data.bytes.fill(0);
        assert.equal(await queue.status({ ...block, opcode: NVM.read }), 0);
        assert.equal(
          data.bytes.subarray(0, 512).every((byte) => byte === 0x5a),
          true,
        );
        assert.equal(controller.admin.peek(), undefined);
      });

      it('of the function disables it', async () => {
        const controller = await RawController.start(fn);
        await controller.createQueue(1, 8);
        controller.bar.write32(REGISTER.interruptMaskSet, 0xff);
        fn.reset();
        assert.equal(controller.status, 0);
        assert.equal(controller.bar.read32(REGISTER.configuration), 0);
        assert.equal(controller.bar.read32(REGISTER.interruptMaskSet), 0);
        // QEMU keeps these.
        if (world.simulated) assert.equal(controller.bar.read32(REGISTER.adminQueueAttributes), 0);
        fn.setMaster();
        await controller.enable();
        const queue = await controller.createQueue(1, 8);
        assert.equal(await queue.status(FLUSH), 0);
      });
    });
  });
}
