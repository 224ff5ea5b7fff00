/** Memory whose ArrayBuffers rest between two allocations (lib/memory/resting.ts), under a program that does anything. */
import { readSync } from 'node:fs';
import { markAsUntransferable } from 'node:worker_threads';
import { MemfdMemory } from '../../lib/index.ts';
import { detach, renew } from '../../lib/memory/detach.ts';
import { RestingBuffers } from '../../lib/memory/resting.ts';
import { assert, it } from '../harness.ts';
import { describeNative } from '../native/support.ts';
import { PAGE } from '../page.ts';
import { Random } from '../random.ts';

const NODE = Number(process.versions.node.split('.')[0]);
/** Most of them rest; the last is too long for that. */
const SIZES = [1, 100, PAGE - 1, PAGE, PAGE, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE, 16 * PAGE, 40 * PAGE];
const STEPS = 3000;

type Transferable = ArrayBuffer & { transfer(): ArrayBuffer };

interface Owned {
  readonly buffer: ArrayBuffer;
  readonly views: readonly ArrayBufferView[];
  readonly value: number;
}

function holds(bytes: Uint8Array, value: number): boolean {
  return Buffer.alloc(bytes.length, value).equals(bytes);
}

describeNative('memfd memory whose buffers rest', (addon) => {
  it('hands out no buffer twice, only zeros, and leaves no view of what is freed', () => {
    const random = new Random();
    const seed = `seed ${random.seed}`;
    const seen = new WeakSet<ArrayBuffer>();
    const marked: ArrayBuffer[] = [];
    for (let round = 0; round < 3; round++) {
      const memory = new MemfdMemory();
      const live: Owned[] = [];
      const stolen: { readonly bytes: Uint8Array; readonly value: number }[] = [];
      let quarantined = 0;

      const allocate = (): void => {
        const size = random.pick(SIZES);
        const buffer = memory.allocate(size);
        assert.ok(!seen.has(buffer), seed);
        seen.add(buffer);
        assert.equal(buffer.byteLength, size, seed);
        const { fd, offset } = memory.fileOf(buffer)!;
        const pages = new Uint8Array(Math.ceil(size / PAGE) * PAGE);
        readSync(fd, pages, 0, pages.length, offset);
        assert.ok(holds(pages, 0), seed);
        const value = random.between(1, 255);
        const bytes = new Uint8Array(buffer).fill(value);
        readSync(fd, pages, 0, pages.length, offset);
        assert.ok(holds(pages.subarray(0, size), value), `${seed}: it is the memory of the file`);
        live.push({ buffer, value, views: [bytes, new Uint8Array(buffer, size - 1)] });
      };
      const leave = (): Owned => {
        const [owned] = live.splice(random.below(live.length), 1);
        return owned!;
      };
      const free = ({ buffer, value, views }: Owned): void => {
        assert.ok(holds(new Uint8Array(buffer), value), seed);
        memory.free(buffer);
        assert.deepEqual([buffer.byteLength, ...views.map((view) => view.byteLength)], [0, 0, 0], seed);
        assert.throws(() => memory.free(buffer), { code: 'EINVAL' });
      };
      const steal = ({ buffer, value }: Owned): void => {
        stolen.push({ bytes: new Uint8Array((buffer as Transferable).transfer()), value });
        quarantined += Math.ceil(stolen.at(-1)!.bytes.length / PAGE) * PAGE;
        memory.free(buffer);
      };
      const mark = (owned: Owned): void => {
        markAsUntransferable(owned.buffer);
        if (NODE < 24) {
          free(owned);
          return;
        }
        marked.push(owned.buffer);
        stolen.push({ bytes: new Uint8Array(owned.buffer), value: owned.value });
        quarantined += Math.ceil(owned.buffer.byteLength / PAGE) * PAGE;
        memory.free(owned.buffer);
      };

      for (let step = 0; step < STEPS; step++) {
        const dice = random.below(100);
        if (live.length === 0 || (dice < 50 && live.length < 120)) allocate();
        else if (dice < 97) free(leave());
        else if (dice < 98) mark(leave());
        else if (NODE >= 22) steal(leave());
        assert.equal(memory.quarantined, quarantined, seed);
      }
      for (const { buffer, value } of live) assert.ok(holds(new Uint8Array(buffer), value), seed);
      for (const { bytes, value } of stolen) assert.ok(holds(bytes, value), seed);
      memory.close();
      assert.ok(
        live.every(({ views }) => views.every(({ byteLength }) => byteLength === 0)),
        seed,
      );
      for (const { bytes } of stolen) assert.ok(holds(bytes, 0), seed);
    }
    // The runtime aborts at the end of an environment where a buffer of an addon has a key.
    for (const buffer of marked) addon.unlock(buffer);
  });

  it('keeps a buffer for the same run and size alone, once, and detaches what it does not keep', () => {
    const resting = new RestingBuffers(addon);
    const region = addon.regionCreate(256 * PAGE, false);
    const carve = (page: number, size: number) => addon.regionCarve(region, page * PAGE, size) as ArrayBuffer;
    const first = carve(5, PAGE);
    resting.put(5, first);
    assert.equal(resting.take(6, PAGE), undefined);
    assert.equal(resting.take(5 + 64, PAGE), undefined, 'the same slot');
    assert.equal(resting.take(5, PAGE), first);
    assert.equal(resting.take(5, PAGE), undefined);
    resting.put(5, first);
    const second = carve(5 + 64, PAGE);
    resting.put(5 + 64, second);
    assert.equal(first.byteLength, 0, 'there was no room for both');
    assert.equal(resting.take(5 + 64, 100), undefined);
    assert.equal(second.byteLength, 0, 'it has the wrong size');
    const third = carve(7, PAGE);
    resting.put(7, third);
    resting.clear();
    assert.equal(third.byteLength, 0);
    assert.equal(resting.take(7, PAGE), undefined);
    addon.regionRevoke(region);
  });

  it('renews a buffer: the same bytes, no view of the old one, no transfer list takes it', () => {
    const region = addon.regionCreate(PAGE, false);
    const old = addon.regionCarve(region, 0, PAGE) as ArrayBuffer;
    const view = new Uint8Array(old).fill(7);
    const fresh = renew(addon, old)!;
    assert.deepEqual([old.byteLength, view.length, fresh.byteLength], [0, 0, PAGE]);
    assert.ok(holds(new Uint8Array(fresh), 7));
    const send = () => structuredClone(fresh, { transfer: [fresh] });
    if (NODE < 22) assert.ok(holds(new Uint8Array(send()), 7), 'a copy');
    else assert.throws(send, { name: 'DataCloneError' });
    assert.equal(fresh.byteLength, PAGE);
    addon.regionZero(region, 0, 1);
    assert.ok(holds(new Uint8Array(fresh), 0));
    assert.ok(detach(addon, fresh));
    assert.equal(fresh.byteLength, 0);
    addon.regionRevoke(region);
  });
});
