/** What an NVMe controller answers to commands, good and bad; see controller.test.ts. */
import type { PciFunction } from '../../lib/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { ADMIN, NVM, type RawCommand, RawController, type RawQueue, text } from './raw.ts';
import { rawWorlds } from './raw-worlds.ts';

const ALL = 0xffff_ffff;
/** Blocks of a namespace of 128 MiB. */
const BLOCKS = 262_144;
const SUCCESS = 0;
const INVALID_OPCODE = 0x4001;
const INVALID_FIELD = 0x4002;
const INVALID_NAMESPACE = 0x400b;
const INVALID_PRP_OFFSET = 0x4013;
const LBA_RANGE = 0x4080;
const INVALID_COMPLETION_QUEUE = 0x4100;
const INVALID_QUEUE = 0x4101;
const INVALID_SIZE = 0x4102;
const INVALID_VECTOR = 0x4108;
const NOT_CHANGEABLE = 0x410e;

for (const world of rawWorlds) {
  /** QEMU 10 and newer answer some commands in other words than QEMU 7, which the model follows. */
  const isNew = world.qemu >= 10;

  describe(`commands of an NVMe controller, ${world.name}`, () => {
    let fn: PciFunction;
    let controller: RawController;
    let admin: RawQueue;
    let page: bigint;
    let bytes: Uint8Array;

    beforeEach(async () => {
      fn = await world.open();
      controller = await RawController.start(fn);
      admin = controller.admin;
      const memory = fn.dma.allocCoherent(16_384);
      page = memory.dmaAddress;
      bytes = memory.bytes;
    });

    afterEach(() => fn.close());

    /** Each with the status it ends with. */
    async function check(
      queue: RawQueue,
      cases: readonly (readonly [string, RawCommand, number])[],
    ): Promise<void> {
      for (const [what, command, expected] of cases) {
        const status = await queue.status(command);
        assert.equal(`${what}: 0x${status.toString(16)}`, `${what}: 0x${expected.toString(16)}`);
      }
    }

    describe('Identify', () => {
      it('of the controller', async () => {
        const { status, data } = await controller.identify(1);
        assert.equal(status, SUCCESS);
        assert.equal(data.getUint16(0, true), 0x1b36);
        assert.equal(data.getUint16(2, true), 0x1af4);
        for (const [offset, length] of [
          [4, 20],
          [24, 40],
          [64, 8],
        ] as const) {
          assert.match(text(data, offset, length), /^[\x21-\x7e][\x20-\x7e]*$/);
        }
        assert.equal(data.getUint8(77), 7, 'MDTS');
        assert.equal(data.getUint32(80, true), 0x0001_0400, 'VER');
        assert.equal(data.getUint8(111), 1, 'CNTRLTYPE');
        assert.equal(data.getUint8(259), 3, 'AERL');
        assert.equal(data.getUint8(512), 0x66, 'SQES');
        assert.equal(data.getUint8(513), 0x44, 'CQES');
        assert.equal(data.getUint32(516, true), 256, 'NN');
        assert.equal(
          data.getUint16(520, true) & 0x0d,
          0x0d,
          'ONCS: Compare, Dataset Management, Write Zeroes',
        );
        assert.equal(data.getUint8(525) & 1, 1, 'VWC');
        // Newer ones take an offset in the address field too.
        assert.equal(data.getUint32(536, true), isNew ? 0x8_0001 : 1, 'SGLS');
        assert.match(text(data, 768, 256), /^nqn\./);
      });

      it('of namespaces', async () => {
        const { status, data } = await controller.identify(0, 1);
        assert.equal(status, SUCCESS);
        for (const offset of [0, 8, 16]) assert.equal(data.getBigUint64(offset, true), BigInt(BLOCKS));
        const format = data.getUint8(26) & 0xf;
        assert.equal(data.getUint8(128 + 4 * format + 2), 9);
        assert.equal(data.getUint16(128 + 4 * format, true), 0);
        const none = await controller.identify(0, 2);
        assert.equal(none.status, SUCCESS);
        assert.equal(
          new Uint8Array(none.data.buffer).every((byte) => byte === 0),
          true,
        );
        for (const nsid of [0, 257, ALL])
          assert.equal((await controller.identify(0, nsid)).status, INVALID_NAMESPACE);
      });

      it('of the list of namespaces, and of their names', async () => {
        for (const [cns, after, first] of [
          [2, 0, 1],
          [2, 1, 0],
          [7, 0, 1],
        ] as const) {
          const { status, data } = await controller.identify(cns, after);
          assert.deepEqual([status, data.getUint32(0, true), data.getUint32(4, true)], [SUCCESS, first, 0]);
        }
        for (const nsid of [ALL, ALL - 1])
          assert.equal((await controller.identify(2, nsid)).status, INVALID_NAMESPACE);
        const { data } = await controller.identify(3, 1);
        assert.deepEqual([data.getUint8(0), data.getUint8(1), data.getUint8(4)], [4, 1, 0]);
        assert.equal((await controller.identify(3, 2)).status, INVALID_FIELD);
        assert.equal((await controller.identify(3, 0)).status, INVALID_NAMESPACE);
      });

      it('of command sets', async () => {
        assert.equal((await controller.identify(0x1c)).data.getUint8(0) & 1, 1);
        assert.equal((await controller.identify(5, 1)).status, SUCCESS);
        assert.equal((await controller.identify(6)).status, SUCCESS);
        assert.equal((await controller.identify(6, 0, 0xff << 24)).status, INVALID_FIELD);
        for (const cns of [0x12, 0x33, 0xff])
          assert.equal((await controller.identify(cns)).status, INVALID_FIELD);
      });
    });

    it('refuses admin commands it does not know, SGLs and fused operations', async () => {
      const identify = { opcode: ADMIN.identify, cdw10: 1, prp1: page };
      await check(admin, [
        ...[0x0d, 0x10, 0x11, 0x14, 0x18, 0x84, 0xff].map(
          (opcode) => [`opcode ${opcode}`, { opcode }, INVALID_OPCODE] as const,
        ),
        ['SGL', { ...identify, flags: 0x40 }, INVALID_FIELD],
        ['fused', { ...identify, flags: 1 }, 0x0002],
      ]);
    });

    it('refuses completion queues that cannot be', async () => {
      await controller.createQueue(1, 16);
      const create = { opcode: ADMIN.createCompletionQueue, prp1: page, cdw10: (15 << 16) | 2, cdw11: 1 };
      await check(admin, [
        ['number 0', { ...create, cdw10: 15 << 16 }, INVALID_QUEUE],
        ['number 65', { ...create, cdw10: (15 << 16) | 65 }, INVALID_QUEUE],
        ['taken', { ...create, cdw10: (15 << 16) | 1 }, INVALID_QUEUE],
        ['one entry', { ...create, cdw10: 2 }, INVALID_SIZE],
        ['2049 entries', { ...create, cdw10: (2048 << 16) | 2 }, INVALID_SIZE],
        ['offset', { ...create, prp1: page + 8n }, INVALID_PRP_OFFSET],
        ['not contiguous', { ...create, cdw11: 0 }, INVALID_FIELD],
        ['vector 1 without MSI-X', { ...create, cdw11: (1 << 16) | 3 }, INVALID_VECTOR],
        ['vector 65', { ...create, cdw11: (65 << 16) | 3 }, INVALID_VECTOR],
        ['64, of 2048 entries', { ...create, cdw10: (2047 << 16) | 64 }, SUCCESS],
      ]);
    });

    it('takes vectors once MSI-X is on', async () => {
      fn.interrupts.msix(1);
      const create = {
        opcode: ADMIN.createCompletionQueue,
        prp1: page,
        cdw10: (15 << 16) | 2,
        cdw11: (1 << 16) | 3,
      };
      await check(admin, [
        ['vector 65', { ...create, cdw11: (65 << 16) | 3 }, INVALID_VECTOR],
        ['vector 1', create, SUCCESS],
      ]);
    });

    it('refuses submission queues that cannot be, and to delete what is not there', async () => {
      await controller.createQueue(1, 16);
      const create = {
        opcode: ADMIN.createSubmissionQueue,
        prp1: page,
        cdw10: (15 << 16) | 2,
        cdw11: (1 << 16) | 1,
      };
      const deletes = (opcode: number, id: number) => ({ opcode, cdw10: id });
      await check(admin, [
        ['completion queue 0', { ...create, cdw11: 1 }, INVALID_COMPLETION_QUEUE],
        ['completion queue 9', { ...create, cdw11: (9 << 16) | 1 }, INVALID_COMPLETION_QUEUE],
        ['number 0', { ...create, cdw10: 15 << 16 }, INVALID_QUEUE],
        ['number 65', { ...create, cdw10: (15 << 16) | 65 }, INVALID_QUEUE],
        ['taken', { ...create, cdw10: (15 << 16) | 1 }, INVALID_QUEUE],
        ['one entry', { ...create, cdw10: 2 }, INVALID_SIZE],
        ['2049 entries', { ...create, cdw10: (2048 << 16) | 2 }, INVALID_SIZE],
        ['offset', { ...create, prp1: page + 8n }, INVALID_PRP_OFFSET],
        ['not contiguous', { ...create, cdw11: 1 << 16 }, INVALID_FIELD],
        ['delete completion queue in use', deletes(ADMIN.deleteCompletionQueue, 1), 0x010c],
        ['delete completion queue 0', deletes(ADMIN.deleteCompletionQueue, 0), INVALID_COMPLETION_QUEUE],
        ['delete completion queue 5', deletes(ADMIN.deleteCompletionQueue, 5), INVALID_COMPLETION_QUEUE],
        ['delete submission queue 0', deletes(ADMIN.deleteSubmissionQueue, 0), INVALID_QUEUE],
        ['delete submission queue 5', deletes(ADMIN.deleteSubmissionQueue, 5), INVALID_QUEUE],
      ]);
    });

    it('Abort finds nothing to abort any more', async () => {
      const done = await admin.run({ opcode: ADMIN.abort, cdw10: 7 << 16 });
      assert.deepEqual([done.status, done.result & 1], [SUCCESS, 1]);
      assert.equal(await admin.status({ opcode: ADMIN.abort, cdw10: 5 }), INVALID_FIELD);
    });

    describe('features', () => {
      const get = (cdw10: number, more: Partial<RawCommand> = {}): RawCommand => ({
        opcode: ADMIN.getFeatures,
        cdw10,
        ...more,
      });
      const set = (cdw10: number, cdw11: number, more: Partial<RawCommand> = {}): RawCommand => ({
        opcode: ADMIN.setFeatures,
        cdw10,
        cdw11,
        ...more,
      });

      it('have values and capabilities', async () => {
        for (const [feature, value, capabilities] of [
          [0x01, 7, 0],
          [0x02, 0, 0],
          [0x04, 0x157, 4],
          [0x06, 1, 4],
          [0x07, 0x003f_003f, 4],
          [0x08, 0, 0],
          [0x09, 0x0001_0000, 0],
          [0x0a, 0, isNew ? 4 : 0],
        ] as const) {
          const done = await admin.run(get(feature));
          assert.deepEqual([feature, done.status, done.result], [feature, SUCCESS, value]);
          const { result } = await admin.run(get(feature | (3 << 8)));
          assert.deepEqual([feature, result], [feature, capabilities]);
        }
        await check(
          admin,
          [0x00, 0x03, 0x0c, 0x0d, 0x10, 0x80].map((feature) => [
            `feature ${feature}`,
            get(feature),
            INVALID_FIELD,
          ]),
        );
        await check(admin, [
          ['error recovery of nothing', get(0x05), INVALID_NAMESPACE],
          ['error recovery of 2', get(0x05, { nsid: 2 }), INVALID_FIELD],
          ['error recovery of 1', get(0x05, { nsid: 1 }), SUCCESS],
          ['vector 65', get(0x09, { cdw11: 65 }), INVALID_FIELD],
        ]);
      });

      it('change where they can', async () => {
        await check(admin, [
          ['write cache off', set(0x06, 0), SUCCESS],
          ['arbitration', set(0x01, 0), NOT_CHANGEABLE],
          ['coalescing', set(0x08, 0), NOT_CHANGEABLE],
          ['vector', set(0x09, 0), NOT_CHANGEABLE],
          ['unknown', set(0x0c, 0), INVALID_FIELD],
          ['saved', set(0x04, 0x157, { cdw10: 0x8000_0004 }), 0x410d],
          ['of a namespace', set(0x04, 0x157, { nsid: 1 }), 0x410f],
          ['of no namespace', set(0x04, 0x157, { nsid: 257 }), INVALID_NAMESPACE],
          ['threshold of no kind', set(0x04, 0x0020_0157), INVALID_FIELD],
          // A status of commands in general for QEMU 7, of this command by the specification.
          ['command set', set(0x19, 1), world.simulated || isNew ? 0x412b : 0x402b],
        ]);
        assert.equal((await admin.run(get(0x06))).result, 0);
        assert.equal((await admin.run(set(0x06, 1))).status, SUCCESS);
        assert.equal((await admin.run(get(0x06))).result, 1);
        await admin.run(set(0x04, 0x0010_0007));
        assert.equal((await admin.run(get(0x04, { cdw11: 0x0010_0000 }))).result, 7);
        assert.equal((await admin.run(get(0x04, { cdw11: 0x0001_0000 }))).result, 0);
        await admin.run(set(0x04, 0x0010_0000));
      });

      it('grant all queues there are, before the first is created', async () => {
        const done = await admin.run(set(0x07, 0x0003_0003));
        assert.deepEqual([done.status, done.result], [SUCCESS, 0x003f_003f]);
        await check(admin, [
          ['65,536 queues', set(0x07, 0xffff_0000), INVALID_FIELD],
          ['65,536 queues', set(0x07, 0xffff), INVALID_FIELD],
        ]);
        await controller.createQueue(1, 8);
        assert.equal(await admin.status(set(0x07, 0)), 0x400c);
      });
    });

    it('has log pages', async () => {
      const log = (lid: number, dwords: number, more: Partial<RawCommand> = {}): RawCommand => ({
        opcode: ADMIN.getLogPage,
        nsid: ALL,
        prp1: page,
        cdw10: ((dwords - 1) << 16) | lid,
        ...more,
      });
      await check(admin, [
        ['SMART', log(2, 128), SUCCESS],
        ['SMART of 1', log(2, 128, { nsid: 1 }), SUCCESS],
        ['SMART of 2', log(2, 128, { nsid: 2 }), INVALID_NAMESPACE],
        ['error', log(1, 16), SUCCESS],
        ['error behind its end', log(1, 16, { cdw12: 64 }), INVALID_FIELD],
        ['at an odd place', log(1, 1, { cdw12: 2 }), INVALID_FIELD],
        ['more than a command may have', log(1, 1, { cdw11: 2 }), INVALID_FIELD],
        ['unknown', log(0x80, 1), INVALID_FIELD],
      ]);
      bytes.fill(0xcc);
      assert.equal(await admin.status(log(3, 128)), SUCCESS);
      assert.equal(bytes[0], 1);
      assert.match(Buffer.from(bytes.subarray(8, 16)).toString(), /^\S+ *$/);
      assert.equal(bytes[512], 0xcc);
      assert.equal(await admin.status(log(2, 2, { cdw12: 4 })), SUCCESS);
      assert.equal(await admin.status(log(2, 1)), SUCCESS);
      // Kelvin.
      assert.equal(bytes[1]! | (bytes[2]! << 8), 0x143);
      assert.equal(await admin.status(log(5, 1024)), SUCCESS);
      const effects = new DataView(bytes.buffer, bytes.byteOffset, 4096);
      assert.equal(effects.getUint32(4 * ADMIN.identify, true) & 1, 1);
      assert.equal(effects.getUint32(1024 + 4 * NVM.read, true), 1);
      assert.equal(effects.getUint32(1024 + 4 * NVM.write, true), 3);
    });

    describe('of an I/O queue', () => {
      let queue: RawQueue;

      beforeEach(async () => {
        queue = await controller.createQueue(1, 16);
      });

      const read = (): RawCommand => ({ opcode: NVM.read, nsid: 1, prp1: page });

      it('are refused where there is nothing', async () => {
        await check(queue, [
          ['last block', { ...read(), cdw10: BLOCKS - 1 }, SUCCESS],
          ['behind the last', { ...read(), cdw10: BLOCKS }, LBA_RANGE],
          ['over the last', { ...read(), cdw10: BLOCKS - 1, cdw12: 1 }, LBA_RANGE],
          ['far beyond', { ...read(), cdw10: ALL, cdw11: ALL }, LBA_RANGE],
          ['a write there', { ...read(), opcode: NVM.write, cdw10: BLOCKS }, LBA_RANGE],
          ['namespace 0', { ...read(), nsid: 0 }, INVALID_NAMESPACE],
          ['namespace 2', { ...read(), nsid: 2 }, INVALID_FIELD],
          ['namespace 257', { ...read(), nsid: 257 }, INVALID_NAMESPACE],
          ['every namespace', { ...read(), nsid: ALL }, isNew ? INVALID_NAMESPACE : INVALID_FIELD],
          ['opcode 4', { ...read(), opcode: 4 }, INVALID_OPCODE],
          ['opcode 0x7f', { ...read(), opcode: 0x7f }, INVALID_OPCODE],
          ['fused', { ...read(), flags: 1 }, 0x0002],
          ['too large, and out of range', { ...read(), cdw10: BLOCKS, cdw12: 1024 }, INVALID_FIELD],
        ]);
      });

      it('flush', async () => {
        await check(queue, [
          ['one', { opcode: NVM.flush, nsid: 1 }, SUCCESS],
          ['all', { opcode: NVM.flush, nsid: ALL }, SUCCESS],
          ['none', { opcode: NVM.flush, nsid: 2 }, INVALID_FIELD],
          ['nothing', { opcode: NVM.flush, nsid: 0 }, INVALID_NAMESPACE],
        ]);
      });

      it('write zeroes, of any size', async () => {
        const place = { nsid: 1, cdw10: 1000, cdw12: 7 };
        bytes.fill(0x77, 0, 4096);
        await check(queue, [
          ['write', { ...place, opcode: NVM.write, prp1: page }, SUCCESS],
          ['zeroes', { ...place, opcode: NVM.writeZeroes, cdw10: 1001, cdw12: 2 }, SUCCESS],
          ['read', { ...place, opcode: NVM.read, prp1: page }, SUCCESS],
        ]);
        const zeros = bytes.indexOf(0);
        assert.equal(zeros, 512);
        assert.equal(
          bytes.subarray(512, 2048).every((byte) => byte === 0),
          true,
        );
        assert.equal(
          bytes.subarray(2048, 4096).every((byte) => byte === 0x77),
          true,
        );
        await check(queue, [
          ['32 MiB', { opcode: NVM.writeZeroes, nsid: 1, cdw12: 0xffff }, SUCCESS],
          ['over the end', { opcode: NVM.writeZeroes, nsid: 1, cdw10: BLOCKS - 1, cdw12: 1 }, LBA_RANGE],
          ['read', { ...place, opcode: NVM.read, prp1: page }, SUCCESS],
        ]);
        assert.equal(
          bytes.subarray(0, 4096).every((byte) => byte === 0),
          true,
        );
      });

      it('compare', async () => {
        const place = { nsid: 1, cdw10: 2000, cdw12: 8, prp1: page, prp2: page + 4096n };
        for (let i = 0; i < 4608; i++) bytes[i] = i % 253;
        await check(queue, [
          ['write', { ...place, opcode: NVM.write }, SUCCESS],
          ['the same', { ...place, opcode: NVM.compare }, SUCCESS],
        ]);
        bytes[4607]!++;
        await check(queue, [
          ['one byte differs', { ...place, opcode: NVM.compare }, isNew ? 0x4285 : 0x0285],
          ['out of range', { ...place, opcode: NVM.compare, cdw10: BLOCKS }, LBA_RANGE],
        ]);
      });

      it('deallocate ranges, and leave alone what is out of range', async () => {
        const place = { nsid: 1, cdw10: 3000, cdw12: 7 };
        bytes.fill(0x66, 4096, 8192);
        await check(queue, [['write', { ...place, opcode: NVM.write, prp1: page + 4096n }, SUCCESS]]);
        const ranges = new Uint32Array(bytes.buffer, bytes.byteOffset, 8);
        ranges.set([0, 8, 3000, 0, 0, 8, BLOCKS - 7, 0]);
        await check(queue, [
          [
            'not asked to',
            { opcode: NVM.datasetManagement, nsid: 1, prp1: page, cdw10: 1, cdw11: 0 },
            SUCCESS,
          ],
          ['two ranges', { opcode: NVM.datasetManagement, nsid: 1, prp1: page, cdw10: 1, cdw11: 4 }, SUCCESS],
          [
            'of no namespace',
            { opcode: NVM.datasetManagement, nsid: 2, prp1: page, cdw11: 4 },
            INVALID_FIELD,
          ],
          ['read', { ...place, opcode: NVM.read, prp1: page + 4096n }, SUCCESS],
        ]);
      });
    });
  });
}
