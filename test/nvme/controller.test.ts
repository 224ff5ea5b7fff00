/**
 * What an NVMe controller does, at its registers and queues: the model is held to QEMU's `nvme` by this file, which runs on
 * both. Where the two differ (lib/sim/nvme/model.ts says where and why), the specification is on the model's side and
 * the test is for `simulated` worlds only.
 */
import type { PciFunction } from '../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { ADMIN, DOORBELLS, ENABLE, FATAL, NVM, RawController, READY, REGISTER, text } from './raw.ts';
import { rawWorlds } from './raw-worlds.ts';

/** 64-bit addresses that nobody has mapped. */
const NOWHERE = 0x7000_0000n;

for (const world of rawWorlds) {
  describe(`NVMe controller, ${world.name}`, () => {
    let fn: PciFunction;

    beforeEach(async () => {
      fn = await world.open();
    });

    afterEach(() => fn.close());

    describe('registers', () => {
      it('say what it can do', () => {
        const bar = fn.bar(0);
        assert.equal(bar.size, 0x4000);
        assert.equal(bar.read32(REGISTER.capabilities), 0x0f01_07ff);
        assert.equal(bar.read32(REGISTER.capabilities + 4), 0x0040_1820);
        assert.equal(bar.read64(REGISTER.capabilities), 0x0040_1820_0f01_07ffn);
        assert.equal(bar.read32(REGISTER.version), 0x0001_0400);
        assert.equal(bar.read32(DOORBELLS), 0);
        assert.equal(bar.read32(0xffc), 0);
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

      it('show it enabled, shut down and disabled', async () => {
        const controller = await RawController.start(fn);
        const { bar } = controller;
        assert.equal(controller.status, READY);
        assert.equal(bar.read32(REGISTER.configuration), ENABLE);
        bar.write32(REGISTER.configuration, ENABLE | (1 << 14));
        await controller.until((status) => ((status >> 2) & 3) === 2);
        assert.equal(controller.status, READY | (2 << 2));
        await controller.disable();
        assert.equal(controller.status, 0);
        assert.equal(bar.read32(REGISTER.configuration), 0);
        assert.equal(bar.read32(REGISTER.adminQueueAttributes), 0x001f_001f);
        assert.equal(bar.read64(REGISTER.adminSubmissionQueue), controller.admin.submissions.dmaAddress);
      });
    });

    it('reads what it wrote', async () => {
      const controller = await RawController.start(fn);
      const queue = await controller.createQueue(1, 16);
      const data = fn.dma.allocCoherent(8192);
      data.bytes.forEach((_, i) => {
        data.bytes[i] = i % 251;
      });
      const sent = data.bytes.slice();
      const both = { nsid: 1, prp1: data.dmaAddress, prp2: data.dmaAddress + 4096n, cdw10: 8, cdw12: 15 };
      assert.equal(await queue.status({ ...both, opcode: NVM.write }), 0);
      data.bytes.fill(0);
      assert.equal(await queue.status({ ...both, opcode: NVM.read }), 0);
      assert.deepEqual(data.bytes, sent);
      const { data: identity } = await controller.identify(1);
      assert.equal(text(identity, 64, 8).length > 0, true);
      assert.equal(ADMIN.identify, 6);
      assert.equal(FATAL, 2);
      assert.equal(NOWHERE % 4096n, 0n);
    });
  });
}
