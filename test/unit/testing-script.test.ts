import { AssertionError } from 'node:assert';
import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Edu } from '../../examples/edu/driver.ts';
import { openPci, type PciFunction } from '../../lib/index.ts';
import { type SimulatedSource, simulate } from '../../lib/sim/index.ts';
import { Captured, RegisterScript } from '../../lib/testing/index.ts';
import { owned } from '../owned.ts';
import { expectCode } from './sim-fixture.ts';

const BARS = [
  { index: 0, size: 4096 },
  { index: 2, size: 64, kind: 'io' },
] as const;

function newScript(): RegisterScript {
  return new RegisterScript({ bars: BARS });
}

function thrown(action: () => unknown): AssertionError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(AssertionError);
    return error as AssertionError;
  }
  return expect.unreachable('AssertionError expected');
}

async function open(script: RegisterScript): Promise<PciFunction> {
  return openPci(simulate(script.device));
}

describe('a driver that keeps to the script', () => {
  it('reads and writes with every width, and is done', async () => {
    const script = newScript()
      .read8(0, 1, 0xab)
      .read16(0, 2, 0xabcd)
      .read32(2, 4, 0xabcdef01)
      .read64(0, 8, 0x1122334455667788n)
      .write8(2, 3, 0xff)
      .write16(0, 2, 0xffff)
      .write32(0, 0x80, 0x1234)
      .write64(0, 0x88, 2n ** 64n - 1n)
      .read32(0, 0, () => 7, 3);
    using fn = await open(script);
    const [memory, io] = [fn.bar(0), fn.bar(2)];
    expect([memory.read8(1), memory.read16(2), io.read32(4), memory.read64(8)]).toEqual([
      0xab,
      0xabcd,
      0xabcdef01,
      0x1122334455667788n,
    ]);
    io.write8(3, -1);
    memory.write16(2, 0xffff);
    memory.write32(0x80, 0x1234);
    memory.write64(0x88, 2n ** 64n - 1n);
    for (let i = 0; i < 3; i++) {
      thrown(() => script.done());
      expect(memory.read32(0)).toBe(7);
    }
    script.done();
  });

  it('is shown what the device does: the edu driver on a device that is not there', async () => {
    const page = new Captured('page');
    const answer = Uint8Array.of(9, 8, 7);
    const script = new RegisterScript({
      bars: [{ index: 0, size: 1 << 20 }],
      config: { vendorId: 0x1234, deviceId: 0x11e8 },
    })
      .write64(0, 0x80, page.whole)
      .write64(0, 0x88, 0x40010)
      .write64(0, 0x90, 3)
      .write32(0, 0x98, 5)
      .dmaRead(page, Uint8Array.of(1, 2, 3))
      .interrupt()
      .read32(0, 0x24, 0x100)
      .write32(0, 0x64, 0x100)
      .write64(0, 0x80, 0x40000)
      .write64(0, 0x88, (value) => value === page.value)
      .write64(0, 0x90, 3)
      .write32(0, 0x98, 7)
      .dmaWrite(() => page.value, answer)
      .interrupt()
      .read32(0, 0x24, 0) // somebody else's
      .interrupt()
      .read32(0, 0x24, 0x100)
      .write32(0, 0x64, 0x100);
    const source: SimulatedSource = simulate(script.device);
    using edu = await owned(openPci(source), (fn) => new Edu(fn));
    await edu.write(Uint8Array.of(1, 2, 3), 0x10);
    expect(await edu.read(3)).toEqual(answer);
    expect(page.value).toBe(edu.page.dmaAddress);
    expect(source.faults).toEqual([]);
    script.done();
  });

  it('may write an address in two halves', async () => {
    const ring = new Captured();
    const script = newScript()
      .write32(0, 0, ring.low)
      .write32(0, 4, ring.high)
      .dmaWrite(ring, Uint8Array.of(5));
    using fn = await open(script);
    fn.setMaster();
    using buffer = fn.dma.allocCoherent(4096);
    fn.bar(0).write64LoHi(0, buffer.dmaAddress);
    await tick();
    expect(buffer.bytes[0]).toBe(5);
    script.done();
  });

  it('may write the halves in any order, and another value later', async () => {
    const [ring, other] = [new Captured(), new Captured()];
    const script = newScript()
      .write32(0, 4, ring.high)
      .write32(0, 0, ring.low)
      .write32(0, 0, other.low)
      .write32(0, 4, other.high);
    using fn = await open(script);
    fn.bar(0).write64HiLo(0, 0x1_8000_0002n);
    fn.bar(0).write64LoHi(0, 0xffff_ffff_0000_0001n);
    expect([ring.value, other.value]).toEqual([0x1_8000_0002n, 0xffff_ffff_0000_0001n]);
    script.done();
  });

  it('may be shown by the name of what was to be captured', async () => {
    const ring = new Captured('ring');
    const script = newScript()
      .write64(0, 0, ring.whole)
      .write32(0, 0, ring.low)
      .read8(0, 0, () => 1);
    using fn = await open(script);
    expect(thrown(() => fn.bar(0).write8(0, 1)).message).toMatch(
      /0x00 = ring\n.*0x00 = ring, low half\n.*0x00 -> what a function says\n/,
    );
  });

  it('may choose the order inside a group only', async () => {
    const make = () =>
      newScript()
        .anyOrder((script) => script.write32(0, 0, 1).write32(0, 4, 2).write32(0, 4, 3))
        .write32(0, 8, 4);
    const script = make();
    using fn = await open(script);
    for (const [offset, value] of [
      [4, 3],
      [0, 1],
      [4, 2],
      [8, 4],
    ] as const)
      fn.bar(0).write32(offset, value);
    script.done();

    const early = make();
    using other = await open(early);
    other.bar(0).write32(4, 2);
    const { message } = thrown(() => other.bar(0).write32(8, 4));
    expect(message).toContain('none of the accesses that are left in the group');
    expect(message).toContain('write32 BAR 0 +0x04 = 0x2 (done)');
    const twice = make();
    using third = await open(twice);
    third.bar(0).write32(4, 2);
    thrown(() => third.bar(0).write32(4, 2));
  });

  it('meets what the device does before its next access, when it leaves the device no time', async () => {
    const line = newScript().write32(0, 0, 1).interrupt().write32(0, 4, 1).lower().read32(0, 8, 0);
    using fn = await open(line);
    const interrupt = fn.interrupts.intx();
    fn.bar(0).write32(0, 1);
    fn.bar(0).write32(4, 1);
    expect(await interrupt.wait()).toBe(1);
    interrupt.unmask();
    fn.bar(0).read32(8);
    line.done();
    await tick();
    expect(interrupt.count).toBe(1);
  });
});

describe('a driver that does not', () => {
  const make = () => newScript().read32(0, 0, 1).write32(0, 0x80, 0x1234).write32(0, 0x84, 0);

  it('is told at that access what was expected, what came, and where', async () => {
    const script = make();
    using fn = await open(script);
    fn.bar(0).read32(0);
    const error = thrown(() => fn.bar(0).write32(0x80, 0x1235));
    expect(error.message).toBe(
      [
        'register script, step 2 of 3: the value is not the expected one',
        '    1  read32 BAR 0 +0x00 -> 0x1',
        '>   2  write32 BAR 0 +0x80 = 0x1234',
        '    3  write32 BAR 0 +0x84 = 0x0',
        '  got  write32 BAR 0 +0x80 = 0x1235',
      ].join('\n'),
    );
    expect(error).toMatchObject({
      expected: 'write32 BAR 0 +0x80 = 0x1234',
      actual: 'write32 BAR 0 +0x80 = 0x1235',
    });
    expect(error.stack).toContain('testing-script.test.ts');
    // From there on nothing is right, and the first mistake is the one that is shown.
    expect(thrown(() => fn.bar(0).write32(0x80, 0x1234))).toBe(error);
    expect(thrown(() => script.done())).toBe(error);
  });

  it.each<[string, (fn: PciFunction) => void]>([
    ['the offset', (fn) => fn.bar(0).write32(0x84, 0x1234)],
    ['the width', (fn) => fn.bar(0).write16(0x80, 0x1234)],
    ['the width', (fn) => fn.bar(0).write64(0x80, 0x1234n)],
    ['the kind of access', (fn) => fn.bar(0).read32(0x80)],
    ['the BAR', (fn) => fn.bar(2).write32(0x10, 0x1234)],
    ['the value', (fn) => fn.bar(0).write32(0x80, 0)],
  ])('in %s', async (what, access) => {
    using fn = await open(make());
    fn.bar(0).read32(0);
    expect(thrown(() => access(fn)).message).toContain(`step 2 of 3: ${what} is not the expected one`);
  });

  it('is told when it goes on after the end', async () => {
    const script = newScript().write8(0, 0, 1);
    using fn = await open(script);
    fn.bar(0).write8(0, 1);
    script.done();
    expect(thrown(() => fn.bar(0).write8(0, 1)).message).toContain('after 1 steps: the script is over');
    thrown(() => script.done());
  });

  it('is told when it stops before it', async () => {
    const script = make();
    using fn = await open(script);
    fn.bar(0).read32(0);
    expect(thrown(() => script.done()).message).toContain('step 2 of 3: 2 steps have not happened');
  });

  it('is told what the device found in memory, at its next access or at the end', async () => {
    const address = new Captured();
    const script = newScript()
      .write64(0, 0, address.whole)
      .dmaRead(address, Uint8Array.of(1, 2, 3))
      .dmaRead(address, Uint8Array.of(5))
      .read32(0, 0, 0);
    using fn = await open(script);
    fn.setMaster();
    using buffer = fn.dma.allocCoherent(4096);
    buffer.bytes.set([1, 2, 4]);
    fn.bar(0).write64(0, buffer.dmaAddress);
    await tick();
    const error = thrown(() => fn.bar(0).read32(0));
    expect(error.message).toContain('step 2 of 4: byte 2 is 0x04 in memory, 0x03 was expected');
    expect(thrown(() => script.done())).toBe(error);
  });

  it('or what the script itself does wrong', async () => {
    const script = newScript().write32(0, 0, 1).dmaWrite(new Captured('ring'), Uint8Array.of(1));
    using fn = await open(script);
    fn.bar(0).write32(0, 1);
    await tick();
    expect(thrown(() => script.done()).message).toContain('ring was used before it was captured');
  });
});

describe('a script that cannot be', () => {
  it('is refused where it is written', () => {
    for (const write of [
      () => newScript().read32(1, 0, 0),
      () => newScript().read32(0, 2, 0),
      () => newScript().read32(0, 4096, 0),
      () => newScript().write64(2, 60, 0),
      () => newScript().write8(0, 0, 256),
      () => newScript().write32(0, 0, -1),
      () => newScript().read16(0, 0, 0.5),
      () => newScript().read64(0, 0, 2n ** 64n),
      () => newScript().read32(0, 0, 0, 0),
      () => newScript().anyOrder((script) => script.write8(0, 0, 0).interrupt()),
      () => newScript().anyOrder((script) => script.anyOrder(() => {})),
    ]) {
      expectCode('EINVAL', write);
    }
  });
});
