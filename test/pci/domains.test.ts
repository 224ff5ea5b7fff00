/** Several functions and their IOMMU domains: shared because they must be, because it is wanted, or not at all. */
import { Edu } from '../../examples/edu/driver.ts';
import { DmaError, type OpenPciOptions, openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { codeOf } from '../failures.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { DMA_BITS, type Member, newTrio } from './trio.ts';

const DEVICE_MEMORY = 0x40000n;
const FROM_DEVICE = 2;
const SEED = Number(process.env.USERDMA_TEST_SEED ?? Math.floor(Math.random() * 2 ** 32));

async function rejects(promise: Promise<unknown>, code: string, words = /./): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof DmaError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, words);
    return true;
  });
}

describe('functions and their domains', () => {
  const trio = newTrio();
  const opened: Edu[] = [];
  let before: unknown;

  async function open(member: Member, options?: OpenPciOptions): Promise<Edu> {
    const edu = new Edu(await trio.open(member, options), { dmaBits: DMA_BITS[member] });
    opened.push(edu);
    return edu;
  }

  beforeEach(() => {
    before = trio.held();
  });
  afterEach(() => {
    const faults = [...trio.faults()];
    // What the devices did: the driver's own mistakes are made on purpose here.
    const mistakes = opened
      .flatMap(({ fn }) => fn.dma.debug?.reports ?? [])
      .filter(({ kind }) => kind.startsWith('device'));
    for (const edu of opened.splice(0)) edu.close();
    assert.deepEqual(trio.held(), before, 'nothing is left behind');
    assert.deepEqual(faults, []);
    assert.deepEqual(
      mistakes.map(({ message }) => message),
      [],
    );
  });

  it('are in one domain when they are in one group', async () => {
    const first = await open('first');
    const twin = await open('twin');
    assert.ok(first.fn.domain !== undefined);
    assert.equal(twin.fn.domain, first.fn.domain);
    assert.deepEqual(
      first.fn.domain.devices.map(({ name }) => name),
      [first.fn.address, twin.fn.address],
    );
    await rejects(trio.open('first'), 'EBUSY');
    await rejects(trio.open('twin', { domain: first.fn.domain }), 'EBUSY');
    assert.equal(first.fn.domain.devices.length, 2);
  });

  it('are in domains of their own when they are in two, and reach nothing of each other', async () => {
    const first = await open('first');
    const other = await open('other');
    assert.notEqual(other.fn.domain, first.fn.domain);
    assert.equal(
      codeOf(() => other.fn.dma.addressOf(first.page.bytes)),
      'EINVAL',
    );
    // The same address in both, of different memory.
    other.fn.dma.setCoherentMask(first.fn.dma.coherentMask);
    using page = other.fn.dma.allocCoherent(4096);
    assert.equal(page.dmaAddress, first.page.dmaAddress);
    await first.write(Uint8Array.of(1, 2, 3));
    await other.transfer(DEVICE_MEMORY, page.dmaAddress, 4, FROM_DEVICE);
    assert.deepEqual([...first.page.bytes.subarray(0, 4)], [1, 2, 3, 0]);
    await rejects(trio.open('twin', { domain: other.fn.domain! }), 'EBUSY', /another domain/);
  });

  for (const [how, partner] of [
    ['of one group', 'twin'],
    ['that are to share a domain', 'other'],
  ] as const) {
    describe(how, () => {
      async function openBoth(): Promise<readonly [Edu, Edu]> {
        const first = await open('first');
        const second = await open(partner, partner === 'twin' ? {} : { domain: first.fn.domain! });
        assert.equal(second.fn.domain, first.fn.domain);
        return [first, second];
      }

      it('use memory of either as their own', async () => {
        const [a, b] = await openBoth();
        assert.notEqual(a.page.dmaAddress, b.page.dmaAddress);
        assert.equal(b.fn.dma.addressOf(a.page.bytes), a.page.dmaAddress);
        {
          using mapping = b.fn.dma.mapSingle(a.page.bytes.subarray(64, 128), 'bidirectional');
          assert.equal(mapping.way, 'arithmetic');
          assert.equal(mapping.dmaAddress, a.page.dmaAddress + 64n);
        }
        // One buffer, two devices: what one wrote there the other reads.
        await a.write(Uint8Array.of(11, 22, 33, 44));
        a.page.bytes.fill(0);
        await a.transfer(DEVICE_MEMORY, a.page.dmaAddress, 4, FROM_DEVICE);
        await b.transfer(a.page.dmaAddress, DEVICE_MEMORY, 4, 0);
        assert.deepEqual([...(await b.read(4))], [11, 22, 33, 44]);
        const payload = new Uint8Array(100).fill(7);
        using lent = a.fn.dma.mapSingle(payload, 'to-device');
        await b.transfer(lent.dmaAddress, DEVICE_MEMORY, 100, 0);
        assert.deepEqual(await b.read(100), payload);
      });

      for (const closed of [0, 1] as const) {
        it(`go on when the ${closed === 0 ? 'first' : 'second'} one is closed`, async () => {
          const both = await openBoth();
          const [gone, left] = closed === 0 ? both : [both[1], both[0]];
          // Left to close: memory, blocks of a pool, mappings in place and copied, reserved addresses.
          const { dma } = gone.fn;
          const lost = dma.allocCoherent(8192);
          const block = dma.createPool('lost', { size: 64 }).alloc()!.bytes;
          const pinned = dma.mapSingle(new Uint8Array(100_000), 'to-device');
          const bounced = dma.mapSingle(new Uint8Array(10), 'from-device');
          const range = dma.reserveIova(8192)!;
          using kept = left.fn.dma.allocCoherent(8192);
          kept.bytes.fill(0x77);
          const mapping = left.fn.dma.mapSingle(new Uint8Array(200).fill(3), 'to-device');
          const interrupts = left.interrupt.count;

          gone.close();
          assert.deepEqual([lost.bytes.length, block.length, gone.page.bytes.length], [0, 0, 0]);
          for (const use of [() => pinned.unmap(), () => bounced.unmap(), () => lost.free()]) {
            assert.equal(codeOf(use), 'EINVAL');
          }
          assert.equal(range.reserved, false);
          assert.equal(left.fn.domain!.closed, false);
          assert.deepEqual(
            left.fn.domain!.devices.map(({ name }) => name),
            [left.fn.address],
          );
          assert.ok(kept.bytes.every((byte) => byte === 0x77));
          await left.transfer(mapping.dmaAddress, DEVICE_MEMORY, 200, 0);
          mapping.unmap();
          assert.deepEqual(await left.read(200), new Uint8Array(200).fill(3));
          assert.equal(left.interrupt.count, interrupts + 2);
          const again = await open(closed === 0 ? 'first' : partner, { domain: left.fn.domain! });
          assert.equal(again.fn.domain, left.fn.domain);
          await again.write(Uint8Array.of(5));
        });
      }

      it('do not go with one that is taken away', async () => {
        const [a, b] = await openBoth();
        const shared = a.fn.dma.allocCoherent(4096);
        const wait = b.interrupt.wait();
        await trio.takeAway('first');
        assert.equal(a.fn.gone.aborted, true);
        assert.equal(b.fn.gone.aborted, false);
        assert.equal(
          codeOf(() => a.fn.dma.allocCoherent(64)),
          'ENODEV',
        );
        b.start(DEVICE_MEMORY, shared.dmaAddress, 64, FROM_DEVICE);
        assert.equal(await wait, 1);
        b.fn.bar(0).write32(0x64, 0x100);
        a.close();
        assert.equal(shared.bytes.length, 0);
        await b.write(Uint8Array.of(1));
        b.close();
        await trio.putBack('first');
      });
    });
  }

  it('have a domain until the last of them is closed', async () => {
    const first = await open('first');
    const { domain } = first.fn;
    const twin = await open('twin');
    const other = await open('other', { domain: domain! });
    assert.equal(domain!.devices.length, 3);
    twin.close();
    first.close();
    assert.equal(domain!.closed, false);
    await other.write(Uint8Array.of(1));
    other.close();
    assert.equal(domain!.closed, true);
    await rejects(trio.open('first', { domain: domain! }), 'ENODEV', /closed/);
    const again = await open('first');
    assert.notEqual(again.fn.domain, domain);
  });

  it('cannot be in a domain of another world', async () => {
    const source = simulate(new EduModel(), { iommu: false });
    const first = await open('first');
    await rejects(openPci(source, { domain: first.fn.domain! }), 'EINVAL');
    using direct = await openPci(source);
    assert.equal(direct.domain, undefined);
    if (trio.simulated) return;
    using simulated = await openPci(simulate(new EduModel()));
    await rejects(trio.open('twin', { domain: simulated.domain! }), 'EBUSY');
    await rejects(trio.open('other', { domain: simulated.domain! }), 'EINVAL');
    await rejects(trio.open('other', { domain: first.fn.domain!, hugepages: true }), 'EINVAL', /huge/);
  });

  it(`never get one address twice, under random use (seed ${SEED})`, async () => {
    const random = generator(SEED);
    const below = (n: number): number => Math.floor(random() * n);
    const first = await open('first');
    let second: Edu | undefined;
    interface Piece {
      readonly owner: PciFunction;
      readonly start: number;
      readonly end: number;
      readonly bytes: Uint8Array | undefined;
      readonly mark: number;
      release(): void;
    }
    let pieces: Piece[] = [];
    const put = (
      owner: PciFunction,
      address: bigint,
      size: number,
      rest: Pick<Piece, 'bytes' | 'release'>,
    ): void => {
      const start = Number(address);
      const end = start + size;
      const met = pieces.find((one) => one.start < end && start < one.end);
      assert.equal(met, undefined, `${start.toString(16)}-${end.toString(16)} is out already`);
      const bits = owner === first.fn ? DMA_BITS.first : DMA_BITS.other;
      assert.ok(end <= 2 ** bits, 'beyond the mask');
      const mark = below(255) + 1;
      rest.bytes?.fill(mark);
      pieces.push({ owner, start, end, mark, ...rest });
    };
    const check = ({ bytes, mark }: Piece): void => {
      if (bytes !== undefined) assert.ok(bytes.length > 0 && bytes.every((byte) => byte === mark));
    };
    for (let i = 0; i < trio.operations; i++) {
      if (second === undefined && below(20) === 0) second = await open('other', { domain: first.fn.domain! });
      const owner = second === undefined || below(2) === 0 ? first.fn : second.fn;
      const { dma } = owner;
      const size = 1 + below(below(10) === 0 ? 200_000 : 10_000);
      switch (below(7)) {
        case 0:
        case 1: {
          const buffer = dma.allocCoherent(size);
          put(owner, buffer.dmaAddress, size, { bytes: buffer.bytes, release: () => buffer.free() });
          break;
        }
        case 2: {
          const buffer = dma.allocNoncontiguous(size, 'bidirectional');
          put(owner, buffer.dmaAddress, size, { bytes: undefined, release: () => buffer.free() });
          break;
        }
        case 3: {
          const mapping = dma.mapSingle(new Uint8Array(size), 'to-device');
          put(owner, mapping.dmaAddress, size, { bytes: undefined, release: () => mapping.unmap() });
          break;
        }
        case 4: {
          const range = dma.reserveIova(size)!;
          put(owner, range.dmaAddress, size, { bytes: undefined, release: () => range.free() });
          break;
        }
        default: {
          if (pieces.length === 0) break;
          const [piece] = pieces.splice(below(pieces.length), 1) as [Piece];
          check(piece);
          piece.release();
        }
      }
      if (second !== undefined && below(100) === 0) {
        // With everything it has.
        const { fn } = second;
        const rest = pieces.filter((piece) => piece.owner === fn);
        for (const piece of pieces) check(piece);
        second.close();
        for (const { bytes } of rest) assert.equal(bytes?.length ?? 0, 0);
        pieces = pieces.filter((piece) => piece.owner !== fn);
        for (const piece of pieces) check(piece);
        second = undefined;
      }
    }
    for (const piece of pieces) {
      check(piece);
      piece.release();
    }
  });
});

/** Numbers from 0 to 1, the same for the same seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
