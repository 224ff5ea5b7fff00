/** One driver, two worlds: this file runs on the simulation and, inside the virtual machine, on VFIO. */
import { createHash, randomInt } from 'node:crypto';
import { setImmediate as tick } from 'node:timers/promises';
import { Edu, MAX_TRANSFER } from '../../examples/edu/driver.ts';
import { type CoherentBuffer, DmaError, dmaBitMask } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { owned } from '../owned.ts';
import { awake } from './awake.ts';
import { worlds } from './worlds.ts';

const DEVICE_ROOM = 4095;

/** Deterministic bytes and numbers, so that a failure can be repeated from its seed. */
function generator(seed: number): { bytes(length: number): Uint8Array; below(limit: number): number } {
  let counter = 0;
  const block = (): Buffer => createHash('sha256').update(`${seed}:${counter++}`).digest();
  return {
    bytes(length) {
      const blocks = Array.from({ length: Math.ceil(length / 32) }, block);
      return new Uint8Array(Buffer.concat(blocks).subarray(0, length));
    },
    below: (limit) => block().readUInt32LE(0) % limit,
  };
}

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof DmaError && error.code === code;
}

for (const world of worlds) {
  describe(`edu on ${world.name}`, () => {
    it('identifies itself and is alive', async () => {
      using edu = await owned(world.open(), (fn) => new Edu(fn, { dmaBits: world.dmaBits }));
      assert.equal(edu.identify().major, 1);
      for (const word of [0, 1, 0x8000_0000, 0xffff_ffff, 0x1234_5678]) assert.ok(edu.isAlive(word));
    });

    it(`computes factorials by interrupt, ${world.factorials} of them, none lost`, async () => {
      using edu = await owned(world.open(), (fn) => new Edu(fn, { dmaBits: world.dmaBits }));
      let expected = 1;
      for (let n = 1; n <= 12; n++) {
        expected *= n;
        assert.equal(await awake(edu.factorial(n)), expected);
      }
      for (let i = 12; i < world.factorials; i++) await awake(edu.factorial(i % 20));
      await tick();
      assert.equal(edu.interrupt.count, world.factorials);
    });

    it(`moves random payloads both ways at every alignment, ${world.transfers} transfers`, async () => {
      using edu = await owned(world.open(), (fn) => new Edu(fn, { dmaBits: world.dmaBits }));
      const seed = Number(process.env.USERDMA_TEST_SEED ?? randomInt(2 ** 31));
      const random = generator(seed);
      for (let i = 0; i < world.transfers / 2; i++) {
        const length = i === 0 ? MAX_TRANSFER : i === 1 ? 1 : 1 + random.below(MAX_TRANSFER);
        // QEMU before 8.2 stops the machine at the last byte of the device's memory.
        const deviceOffset = random.below(DEVICE_ROOM - length + 1);
        const room = 4096 - length;
        const sent = random.bytes(length);
        edu.page.bytes.fill(0xee);
        await edu.write(sent, deviceOffset, random.below(room + 1));
        edu.page.bytes.fill(0xdd);
        const pageOffset = random.below(room + 1);
        const got = await edu.read(length, deviceOffset, pageOffset);
        const where = `seed ${seed}, round ${i}, ${length} bytes at ${pageOffset}`;
        assert.deepEqual(got, sent, where);
        const rest = [
          ...edu.page.bytes.subarray(0, pageOffset),
          ...edu.page.bytes.subarray(pageOffset + length),
        ];
        assert.ok(
          rest.every((byte) => byte === 0xdd),
          `${where}: bytes beside the transfer changed`,
        );
      }
    });

    it('moves memory of the program itself, from wherever it lies', async () => {
      using edu = await owned(world.open(), (fn) => new Edu(fn, { dmaBits: world.dmaBits }));
      const slab = Buffer.alloc(20_000);
      for (const [from, to, length] of [
        [0, 4096, 1],
        [1, 8191, 4095],
        [63, 12_289, 65],
        [4095, 16_000, 2049],
      ] as const) {
        slab.fill(0xee);
        const sent = slab.subarray(from, from + length);
        for (let i = 0; i < length; i++) sent[i] = (i * 7 + from) & 0xff;
        const expected = Buffer.from(slab);
        sent.copy(expected, to);
        await edu.send(sent);
        await edu.receive(slab.subarray(to, to + length));
        assert.ok(slab.equals(expected), `${length} bytes from ${from} to ${to}`);
      }
    });

    it(`hands out only addresses under the mask, also after ${world.allocations} allocations`, async () => {
      using edu = await owned(world.open(), (fn) => new Edu(fn, { dmaBits: world.dmaBits }));
      const { dma } = edu.fn;
      const limit = 1n << BigInt(world.dmaBits);
      const held: CoherentBuffer[] = [];
      for (let i = 0; i < world.allocations; i++) {
        const size = 1 + ((i * 7919) % 16384);
        const buffer = dma.allocCoherent(size);
        assert.ok(buffer.dmaAddress + BigInt(size) <= limit);
        const pages = 2 ** Math.ceil(Math.log2(Math.ceil(size / 4096)));
        assert.equal(buffer.dmaAddress % BigInt(pages * 4096), 0n, 'naturally aligned');
        held.push(buffer);
        if (held.length > 100) held.splice((i * 31) % held.length, 1)[0]?.free();
      }
      for (const buffer of held) buffer.free();
    });

    it('refuses a mask with no address under it, and changes nothing', async () => {
      using fn = await world.open();
      fn.dma.setMaskAndCoherent(dmaBitMask(world.dmaBits));
      for (const set of ['setMask', 'setCoherentMask', 'setMaskAndCoherent'] as const) {
        assert.throws(() => fn.dma[set](dmaBitMask(12)), hasCode('EIO'));
        assert.equal(fn.dma.mask, dmaBitMask(world.dmaBits));
        assert.equal(fn.dma.coherentMask, dmaBitMask(world.dmaBits));
      }
      assert.equal(fn.dma.supported(dmaBitMask(12)), false);
      assert.equal(fn.dma.supported(dmaBitMask(64)), true);
    });

    const translated = world.translated ? it : () => {};
    translated('cannot reach an address that was never mapped, nor one that was freed', async () => {
      using edu = await owned(world.open(), (fn) => new Edu(fn, { dmaBits: world.dmaBits }));
      const { dma } = edu.fn;
      await edu.write(new Uint8Array(2048).fill(0xa5));
      const before = Array.from({ length: 16 }, (_, i) => fill(dma.allocCoherent(4096), i));
      const victim = dma.allocCoherent(4096);
      const stale = victim.dmaAddress;
      victim.free();
      // The freed memory is handed out again, at another address or the same: the device keeps to what is mapped now.
      dma.setCoherentMask(dmaBitMask(24));
      const after = Array.from({ length: 16 }, (_, i) => fill(dma.allocCoherent(4096), 16 + i));
      const never = 0x10_0000n;
      assert.ok(
        [...before, ...after].every((buffer) => buffer.dmaAddress !== never && buffer.dmaAddress !== stale),
      );
      for (const address of [stale, never]) await edu.writeAnywhere(address, 2048);
      for (const [i, buffer] of [...before, ...after].entries()) {
        assert.ok(
          buffer.bytes.every((byte) => byte === i + 1),
          `buffer ${i} changed`,
        );
      }
      // and the device is none the worse for it
      assert.deepEqual(await edu.read(16), new Uint8Array(16).fill(0xa5));
    });

    it('leaves no live view behind: free, close, and a second close', async () => {
      const edu = await owned(world.open(), (fn) => new Edu(fn, { dmaBits: world.dmaBits }));
      const one = edu.fn.dma.allocCoherent(100);
      const view = new Uint32Array(one.buffer);
      assert.equal(view.length, 25);
      one.free();
      assert.equal(view.length, 0);
      assert.equal(one.bytes.length, 0);
      assert.throws(() => one.free(), hasCode('EINVAL'));
      assert.throws(() => one.dmaAddress, hasCode('EINVAL'));
      const { page, fn } = edu;
      edu.close();
      edu.close();
      assert.equal(page.bytes.length, 0);
      assert.throws(() => fn.dma.allocCoherent(1), hasCode('ENODEV'));
      assert.throws(() => fn.bar(0), hasCode('ENODEV'));
      assert.throws(() => fn.config.vendorId, hasCode('ENODEV'));
      await assert.rejects(edu.interrupt.wait(), hasCode('ENODEV'));
    });

    it('refuses bad sizes and stays usable', async () => {
      using edu = await owned(world.open(), (fn) => new Edu(fn, { dmaBits: world.dmaBits }));
      const { dma } = edu.fn;
      for (const size of [
        0,
        -1,
        1.5,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        2 ** 53,
        '4096' as unknown as number,
      ]) {
        assert.throws(() => dma.allocCoherent(size), hasCode('EINVAL'), String(size));
      }
      assert.throws(() => dma.allocCoherent(2 ** 45), hasCode('ENOMEM'));
      await edu.write(Uint8Array.of(1, 2, 3));
      assert.deepEqual(await edu.read(3), Uint8Array.of(1, 2, 3));
    });

    it('refuses bad register accesses', async () => {
      using edu = await owned(world.open(), (fn) => new Edu(fn, { dmaBits: world.dmaBits }));
      const bar = edu.fn.bar(0);
      const { size } = bar.info;
      for (const offset of [
        -4,
        1,
        2,
        size,
        size - 2,
        Number.NaN,
        2 ** 32,
        2 ** 53,
        '0' as unknown as number,
      ]) {
        assert.throws(() => bar.read32(offset), hasCode('EINVAL'), `read ${offset}`);
        assert.throws(() => bar.write32(offset, 0), hasCode('EINVAL'), `write ${offset}`);
      }
      assert.throws(() => bar.write32(0, 2 ** 32), hasCode('EINVAL'));
      assert.throws(() => bar.write64(0x80, -1n << 64n), hasCode('EINVAL'));
      assert.throws(() => edu.fn.bar(1), hasCode('EINVAL'));
      edu.fn.config.command &= ~2;
      assert.throws(() => bar.read32(0), hasCode('EIO'));
      edu.fn.config.command |= 2;
      assert.equal(edu.identify().major, 1);
    });
  });
}

function fill(buffer: CoherentBuffer, index: number): CoherentBuffer {
  assert.ok(
    buffer.bytes.every((byte) => byte === 0),
    'zeroed',
  );
  buffer.bytes.fill(index + 1);
  return buffer;
}
