import { beforeEach, describe, expect, it } from 'vitest';
import type { DmaDirection } from '../../lib/direction.ts';
import { BounceSlots } from '../../lib/dma/bounce/slots.ts';
import { DmaDevice } from '../../lib/dma/device.ts';
import type { StreamingMapping } from '../../lib/dma/streaming/mapping.ts';
import { DMA_ATTR } from '../../lib/dma/words/attributes.ts';
import { dmaBitMask } from '../../lib/dma/words/mask.ts';
import type { DmaError } from '../../lib/errors.ts';
import { expectCode } from './sim-fixture.ts';
import { detach, expectBytes, PAGE, pattern, type World, world } from './streaming-fixture.ts';

const SLOT = 2048;
const forced = { bounce: { force: true } };

describe('slots', () => {
  it('are handed out in runs that are aligned to themselves and never overlap', () => {
    const slots = new BounceSlots(256);
    // Neighbours: what is free at the end of one must not go on in the next.
    expect(slots.takeRoom(6)).toBe(192);
    expect(slots.takeRoom(6)).toBe(128);
    expect(slots.takeRoom(5)).toBe(96);
    slots.giveRoom(96, 5);
    slots.openChunk(128, 6);
    slots.openChunk(192, 6);
    const taken = new Map<number, number>();
    const owner = new Array<number>(256).fill(-1);
    let seed = 12345;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    for (let step = 0; step < 20_000; step++) {
      const order = random(7);
      if (random(2) === 0 || taken.size === 0) {
        let slot = slots.take(order);
        if (slot < 0) slot = slots.takeFresh(order);
        if (slot < 0) continue;
        const run = owner.slice(slot, slot + 2 ** order);
        if (slot % 2 ** order !== 0 || slot < 128 || run.some((other) => other >= 0)) {
          expect.unreachable(`slot ${slot} of order ${order}`);
        }
        owner.fill(slot, slot, slot + 2 ** order);
        taken.set(slot, order);
      } else {
        const slot = [...taken.keys()][random(taken.size)]!;
        slots.give(slot);
        owner.fill(-1, slot, slot + 2 ** taken.get(slot)!);
        taken.delete(slot);
      }
    }
    expect(slots.used).toBe(owner.filter((slot) => slot >= 0).length);
    expect(slots.peak).toBeGreaterThan(64);
    for (const slot of taken.keys()) slots.give(slot);
    expect(slots.used).toBe(0);
    // Everything merges again.
    expect(slots.takeFresh(7)).toBe(-1);
    expect([slots.takeFresh(6), slots.takeFresh(6)].sort((a, b) => a - b)).toEqual([128, 192]);
    expect(slots.takeFresh(0)).toBe(-1);
    expect(slots.takeRoom(7)).toBe(0);
    expect(slots.takeRoom(0)).toBe(-1);
    expect(slots.takeRoom(9)).toBe(-1);
  });

  it('of a closed chunk come back when it opens again, less those still taken', () => {
    const slots = new BounceSlots(8);
    expect(slots.takeRoom(3)).toBe(0);
    slots.openChunk(0, 3);
    const kept = slots.takeFresh(1);
    const returned = slots.takeFresh(0);
    slots.closeChunk(0, 3);
    expect(slots.isUnused(0, 3)).toBe(false);
    slots.give(returned);
    expect(slots.takeFresh(0)).toBe(-1);
    slots.openChunk(0, 3);
    const all: number[] = [];
    for (let slot = slots.takeFresh(0); slot >= 0; slot = slots.takeFresh(0)) all.push(slot);
    expect(all.sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7].filter((slot) => slot !== kept && slot !== kept + 1));
  });
});

describe.each<DmaDirection>(['to-device', 'from-device', 'bidirectional'])(
  'a bounced %s mapping',
  (direction) => {
    const reads = direction !== 'from-device';
    const writes = direction !== 'to-device';
    const SIZE = 1500;
    let here: World;
    let source: Uint8Array<ArrayBuffer>;
    let mapping: StreamingMapping;

    const deviceWrites = (offset: number, size: number): boolean =>
      here.space.write(mapping.dmaAddress + BigInt(offset), new Uint8Array(size).fill(0xee));

    beforeEach(() => {
      here = world(forced);
      source = pattern(SIZE);
      mapping = here.dma.mapSingle(source, direction);
    });

    it('copies in at map, whatever the direction, also with SKIP_CPU_SYNC', () => {
      expect(mapping.bounced).toBe(true);
      expectBytes(here.deviceReads(mapping.dmaAddress, SIZE), pattern(SIZE));
      mapping.unmap();
      source.fill(9);
      const skipping = here.dma.mapSingle(source, direction, DMA_ATTR.SKIP_CPU_SYNC);
      expect(here.deviceReads(skipping.dmaAddress, SIZE)).toEqual(source);
    });

    it('copies out at unmap what the device wrote, and nothing else changes', () => {
      deviceWrites(100, 200);
      mapping.unmap();
      const expected = pattern(SIZE);
      if (writes) expected.fill(0xee, 100, 300);
      expectBytes(source, expected);
    });

    it('copies nothing out at unmap with SKIP_CPU_SYNC', () => {
      mapping.unmap();
      mapping = here.dma.mapSingle(source, direction, DMA_ATTR.SKIP_CPU_SYNC);
      deviceWrites(0, SIZE);
      mapping.unmap();
      expectBytes(source, pattern(SIZE));
    });

    it('syncs a slice for the CPU and nothing but the slice', () => {
      const written = pattern(SIZE, 9);
      here.space.write(mapping.dmaAddress, written);
      const expected = pattern(SIZE);
      // The same slice twice, one of the same length elsewhere, and the rest.
      for (const [offset, size] of [
        [7, 64],
        [7, 64],
        [107, 64],
        [1000, 500],
      ] as const) {
        mapping.syncForCpu(offset, size);
        if (writes) expected.set(written.subarray(offset, offset + size), offset);
        expectBytes(source, expected);
      }
      mapping.syncForCpu();
      expectBytes(source, writes ? written : expected);
    });

    it('syncs a slice for the device and nothing but the slice', () => {
      const expected = pattern(SIZE);
      for (const [offset, size, seed] of [
        [7, 64, 3],
        [7, 64, 4],
        [107, 64, 4],
        [1000, 500, 5],
      ] as const) {
        source.set(pattern(SIZE, seed));
        mapping.syncForDevice(offset, size);
        if (reads) expected.set(source.subarray(offset, offset + size), offset);
        expectBytes(here.deviceReads(mapping.dmaAddress, SIZE), expected);
      }
      mapping.syncForDevice();
      expectBytes(here.deviceReads(mapping.dmaAddress, SIZE), reads ? source : expected);
    });

    it('survives the loss of its buffer: the slot comes back, and the loss is told when bytes are lost', () => {
      detach(source.buffer);
      if (writes) expectCode('EINVAL', () => mapping.syncForCpu());
      else mapping.syncForCpu();
      if (reads) expectCode('EINVAL', () => mapping.syncForDevice());
      else mapping.syncForDevice();
      expect(mapping.mapped).toBe(true);
      if (writes) expectCode('EINVAL', () => mapping.unmap());
      else mapping.unmap();
      expect(mapping.mapped).toBe(false);
      expect(here.dma.bounceStats.usedSlots).toBe(0);
    });
  },
);

describe('the bounce buffer', () => {
  it.each([1, 63, 64, 2047, 2048, 2049, 4096, 5000, 65_536, 200_000, 262_144])(
    'puts zeros around %i bytes',
    (size) => {
      const { dma, space, deviceReads } = world(forced);
      const run = Math.max(SLOT, 2 ** Math.ceil(Math.log2(size)));
      // What was there before: another mapping's bytes, all over the run.
      const before = dma.mapSingle(pattern(run, 7), 'bidirectional');
      const address = before.dmaAddress;
      before.unmap();
      const mapping = dma.mapSingle(pattern(size), 'from-device');
      expect(mapping.dmaAddress).toBe(address);
      const seen = deviceReads(address, run);
      expectBytes(seen.subarray(0, size), pattern(size));
      expect(seen.subarray(size).every((byte) => byte === 0)).toBe(true);
      space.write(mapping.dmaAddress, new Uint8Array(size).fill(0xee));
      mapping.unmap();
      const small = dma.mapSingle(pattern(1), 'to-device');
      const rest = deviceReads(small.dmaAddress, SLOT);
      expect(rest.subarray(1).every((byte) => byte === 0)).toBe(true);
    },
  );

  it('aligns mappings of a page or more to a page, and all to a slot', () => {
    const { dma } = world(forced);
    for (const size of [1, 2048, 4095, 4096, 4097, 12_000, 262_144]) {
      const mapping = dma.mapSingle(new Uint8Array(size), 'to-device');
      expect(mapping.low % (size >= PAGE ? PAGE : SLOT)).toBe(0);
    }
  });

  it('keeps the low address bits that minAlignMask names, for every offset', () => {
    const { dma, space, deviceReads } = world(forced);
    dma.limits.minAlignMask = 0xfff;
    const memory = pattern(3 * PAGE);
    const answer = pattern(4096, 5);
    for (const offset of [0, 1, 511, 2047, 2048, 2049, 4095, 4097, 8191]) {
      for (const size of [1, 100, 2048, 4096]) {
        const mapping = dma.mapSingle(memory.subarray(offset, offset + size), 'bidirectional');
        expect(mapping.low & 0xfff).toBe(offset & 0xfff);
        expectBytes(deviceReads(mapping.dmaAddress, size), memory.subarray(offset, offset + size));
        const pad = offset & 0xfff;
        const before = deviceReads(mapping.dmaAddress - BigInt(pad), pad);
        expect(before.every((byte) => byte === 0)).toBe(true);
        space.write(mapping.dmaAddress, answer.subarray(0, size));
        mapping.unmap();
        expectBytes(memory.subarray(offset, offset + size), answer.subarray(0, size));
      }
    }
    expect(dma.bounceStats.usedSlots).toBe(0);
  });

  it('crosses no segment boundary that it need not cross, and longer mappings do not care', () => {
    const { dma, deviceReads } = world(forced);
    dma.limits.segmentBoundary = 0x3fff;
    for (const size of [1, 3000, 9000, 16_384]) {
      for (let i = 0; i < 20; i++) {
        const { low } = dma.mapSingle(new Uint8Array(size), 'to-device');
        expect(low >>> 14).toBe((low + size - 1) >>> 14);
      }
    }
    const long = dma.mapSingle(pattern(16_385), 'to-device');
    expectBytes(deviceReads(long.dmaAddress, 16_385), pattern(16_385));
  });

  it('is full when it is, says how full, and is as before when something is unmapped', () => {
    const { dma } = world({ bounce: { force: true, total: 32_768 } });
    const held = Array.from({ length: 8 }, () => dma.mapSingle(new Uint8Array(4096), 'to-device'));
    const before = dma.bounceStats;
    try {
      dma.mapSingle(new Uint8Array(100), 'to-device', DMA_ATTR.NO_WARN);
      expect.unreachable();
    } catch (error) {
      expect((error as DmaError).code).toBe('ENOMEM');
      expect((error as DmaError).message).toMatch(/100 bytes.*total 16 slots of 2048 bytes, used 16/);
    }
    expect(dma.bounceStats).toEqual({ ...before, failures: 1 });
    held[3]!.unmap();
    // Two small ones where a large one was, and a large one where they were.
    const small = [
      dma.mapSingle(new Uint8Array(1), 'to-device'),
      dma.mapSingle(new Uint8Array(1), 'to-device'),
    ];
    expectCode('ENOMEM', () => dma.mapSingle(new Uint8Array(1), 'to-device'));
    for (const mapping of small) mapping.unmap();
    dma.mapSingle(new Uint8Array(4096), 'to-device');
    expect(dma.bounceStats.peakSlots).toBe(16);
  });

  it('counts', () => {
    const { dma } = world(forced);
    const mapping = dma.mapSingle(new Uint8Array(1000), 'bidirectional');
    mapping.syncForCpu(0, 10);
    mapping.syncForDevice(0, 20);
    mapping.unmap();
    expect(dma.bounceStats).toMatchObject({
      slotSize: 2048,
      totalSlots: 32_768,
      backedSlots: 1024,
      usedSlots: 0,
      peakSlots: 1,
      maps: 1,
      bytesIn: 1020,
      bytesOut: 1010,
      failures: 0,
    });
  });

  it('gives up what a narrower mask left unused when there is no room for more', () => {
    const { dma, space, memory, deviceReads } = world({ bounce: { total: 2 ** 21, force: true } });
    const first = dma.mapSingle(pattern(100), 'to-device');
    const second = dma.mapSingle(pattern(100), 'to-device');
    dma.setMask(dmaBitMask(28));
    first.unmap();
    // Somebody uses it.
    expectCode('ENOMEM', () => dma.mapSingle(pattern(100), 'to-device'));
    const { dmaAddress } = second;
    second.unmap();
    const third = dma.mapSingle(pattern(100, 3), 'to-device');
    expect(third.dmaAddress < 2n ** 28n).toBe(true);
    expect(deviceReads(third.dmaAddress, 100)).toEqual(pattern(100, 3));
    expect([space.stats.mappings, memory.used, dma.bounceStats.backedSlots]).toEqual([1, 2 ** 21, 1024]);
    space.read(dmaAddress, new Uint8Array(1));
    expect(space.faults.list.length).toBe(1);
    third.unmap();
    // And back: what was closed stays so while it has no memory.
    dma.setMask(dmaBitMask(64));
    expect(dma.mapSingle(pattern(9), 'to-device').dmaAddress < 2n ** 28n).toBe(true);
    dma.close();
  });

  it('stays without memory where there is none under a narrower mask, and recovers', () => {
    const { dma, memory } = world({ bounce: { total: 2 ** 21, force: true } });
    dma.mapSingle(pattern(100), 'to-device').unmap();
    dma.setMaskAndCoherent(dmaBitMask(22));
    // All there is below 4 MiB but page 0, which is never used.
    const walls = Array.from({ length: 10 }, (_, i) => dma.allocCoherent(2 ** (21 - i)));
    for (let again = 0; again < 2; again++) {
      expectCode('ENOMEM', () => dma.mapSingle(pattern(100), 'to-device'));
      expect([memory.used, dma.bounceStats.backedSlots]).toEqual([2 ** 22 - PAGE, 0]);
    }
    dma.setMask(dmaBitMask(64));
    const mapping = dma.mapSingle(pattern(100), 'to-device');
    expect(dma.bounceStats.backedSlots).toBe(1024);
    mapping.unmap();
    for (const wall of walls) wall.free();
    dma.close();
  });

  it('takes half as much, and half of that, where there is no room for a whole chunk', () => {
    const { dma, memory } = world(forced);
    dma.setMaskAndCoherent(dmaBitMask(22));
    const walls = Array.from({ length: 9 }, (_, i) => dma.allocCoherent(2 ** (21 - i)));
    // One page of 4 MiB is left: two slots.
    const both = [0, 1].map(() => dma.mapSingle(pattern(100), 'to-device'));
    expect(dma.bounceStats).toMatchObject({ backedSlots: 2, usedSlots: 2 });
    expectCode('ENOMEM', () => dma.mapSingle(pattern(100), 'to-device'));
    for (const one of both) one.unmap();
    walls[0]!.free();
    // A quarter of what is below the mask, at most: the rest is for others.
    dma.mapSingle(pattern(PAGE + 1), 'to-device');
    expect(dma.bounceStats.backedSlots).toBe(2 + 256);
    for (const wall of walls.slice(1)) wall.free();
    expect(memory.used).toBe(258 * SLOT);
    dma.close();
  });

  it('gives up unused chunks when somebody else needs the room, and keeps those in use', () => {
    const { dma, memory, deviceReads } = world(forced);
    dma.setMaskAndCoherent(dmaBitMask(13));
    dma.mapSingle(pattern(100), 'to-device').unmap();
    expect(dma.bounceStats.backedSlots).toBe(2);
    // There is one page, and the bounce buffer has it.
    const ring = dma.allocCoherent(64);
    expect([ring.low, dma.bounceStats.backedSlots, memory.used]).toEqual([PAGE, 0, PAGE]);
    expectCode('ENOMEM', () => dma.mapSingle(pattern(100), 'to-device'));
    ring.free();
    const mapping = dma.mapSingle(pattern(100), 'to-device');
    expectCode('ENOMEM', () => dma.allocCoherent(64));
    expectBytes(deviceReads(mapping.dmaAddress, 100), pattern(100));
    dma.close();
  });

  it('of another device in the domain gives up unused chunks too', () => {
    const { dma } = world(forced);
    const other = new DmaDevice({ name: 'other', domain: dma.domain!, bounce: { force: true } });
    dma.setMaskAndCoherent(dmaBitMask(13));
    other.setMaskAndCoherent(dmaBitMask(13));
    for (const one of [dma, other, dma]) one.mapSingle(pattern(100), 'to-device').unmap();
    expect([dma.bounceStats.backedSlots, other.bounceStats.backedSlots]).toEqual([2, 0]);
    dma.close();
    other.mapSingle(pattern(100), 'to-device').unmap();
    other.close();
  });

  it('uses no memory above the mask, also when the mask is narrowed later', () => {
    // The window above 4 GiB only: the first chunk lies high.
    const low = { start: 0x10_0000, end: 0xff_ffff };
    const high = { start: 2 ** 33, end: 2 ** 34 };
    const { dma } = world(forced, { ranges: [low, high] });
    dma.setMask(dmaBitMask(64));
    const filler = dma.allocCoherent(8 * 2 ** 20);
    const fillers = [filler];
    for (;;) {
      try {
        fillers.push(dma.allocCoherent(2 ** 20));
      } catch {
        break;
      }
    }
    const far = dma.mapSingle(new Uint8Array(10), 'to-device');
    expect(far.high).toBeGreaterThan(0);
    for (const buffer of fillers) buffer.free();
    dma.setMask(dmaBitMask(24));
    const near = dma.mapSingle(new Uint8Array(10), 'to-device');
    expect(near.dmaAddress).toBeLessThan(2n ** 24n);
    far.unmap();
    for (let i = 0; i < 100; i++) {
      expect(dma.mapSingle(new Uint8Array(10), 'to-device').dmaAddress).toBeLessThan(2n ** 24n);
    }
    dma.setMask(dmaBitMask(64));
    expect(dma.bounceStats.backedSlots).toBe(2048);
  });

  it('is ENOMEM when there is no memory for it', () => {
    const { dma } = world(forced, {}, { limit: PAGE - 1 });
    expectCode('ENOMEM', () => dma.mapSingle(new Uint8Array(1), 'to-device'));
    expect(dma.bounceStats).toMatchObject({ usedSlots: 0, failures: 1 });
  });

  it.each([
    { total: 0 },
    { total: Number.NaN },
    { total: 2 ** 40 },
    { maxMapping: 0 },
    { maxMapping: 2 ** 20, total: 2 ** 19 },
  ])('refuses %j', (bounce) => {
    expectCode('EINVAL', () => world({ bounce }));
  });

  it('takes longer mappings when told to', () => {
    const { dma, deviceReads } = world({ bounce: { force: true, maxMapping: 5 * 2 ** 20 } });
    const mapping = dma.mapSingle(pattern(5 * 2 ** 20), 'to-device');
    expectBytes(deviceReads(mapping.dmaAddress, 5 * 2 ** 20), pattern(5 * 2 ** 20));
  });
});
