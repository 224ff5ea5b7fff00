/**
 * The kernel has no memory, at each place of a call in turn (/proc/thread-self/fail-nth, Documentation/fault-injection).
 * Each call either succeeds or throws a DmaError, leaves nothing behind when it fails, and works when it is called again.
 * Opening and resetting are left out: there the kernel's ACPI interpreter does not survive it (Linux 7.3).
 */
import { closeSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { DmaError } from '../../../lib/errors.ts';
import { dmaBitMask, exportBar, openPci, type PciFunction } from '../../../lib/index.ts';
import { afterAll, assert, beforeAll, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';
import { holdings } from '../holdings.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const EDU = device('USERDMA_TEST_EDU');
const PEER = device('USERDMA_TEST_EDU_WIDE');

let nth: number;

beforeAll(() => {
  for (const kind of ['failslab', 'fail_page_alloc']) {
    const set = (name: string, value: string): void =>
      writeFileSync(`/sys/kernel/debug/${kind}/${name}`, value);
    set('ignore-gfp-wait', 'N');
    // Each failure prints a stack otherwise.
    set('verbose', '0');
  }
  writeFileSync('/sys/kernel/debug/fail_page_alloc/min-order', '0');
  nth = openSync('/proc/thread-self/fail-nth', 'r+');
});

afterAll(() => closeSync(nth));

/** Calls it; the `place`th allocation in the kernel fails. Returns the error, and whether there were that many. */
function failing(place: number, call: () => void): { error?: unknown; failed: boolean } {
  const left = Buffer.alloc(16);
  let error: unknown;
  writeSync(nth, `${place}`, 0);
  try {
    call();
  } catch (thrown) {
    error = thrown;
  }
  const length = readSync(nth, left, 0, left.length, 0);
  writeSync(nth, '0', 0);
  return { error, failed: Number(left.toString('latin1', 0, length)) === 0 };
}

/** @param step the call, which returns how to undo it @param check what has to hold before and after */
function sweep(what: string, step: () => () => void, state: () => unknown = holdings): void {
  step()();
  const before = state();
  const codes = new Map<string, number>();
  let place = 1;
  for (; ; place++) {
    let undo: (() => void) | undefined;
    const { error, failed } = failing(place, () => {
      undo = step();
    });
    if (error !== undefined) {
      assert.ok(error instanceof DmaError, `${what}, allocation ${place}: ${String((error as Error).stack)}`);
      codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
    }
    undo?.();
    assert.deepEqual(state(), before, `${what}, allocation ${place}: ${String(error)}`);
    if (!failed) break;
  }
  step()();
  assert.ok(codes.size > 0, `${what}: nothing ever failed`);
  const list = [...codes].map(([code, count]) => `${count} ${code}`).join(', ');
  console.log(`  ${what}: ${place - 1} places, ${list}`);
}

for (const iommu of ['iommufd', 'container'] as const) {
  describe(`a kernel without memory, through ${iommu}`, () => {
    describe('with a function that is open', () => {
      let fn: PciFunction;
      let peer: PciFunction;
      const live = () => [fn.dma.live.length, holdings()];

      beforeAll(async () => {
        fn = await openPci(EDU, { iommu, streaming: { copybreak: PAGE } });
        fn.dma.setMaskAndCoherent(dmaBitMask(28));
        peer = await openPci(PEER, { iommu });
      });
      afterAll(() => {
        fn.close();
        peer.close();
      });

      it('maps memory that it pins', () => {
        const view = new Uint8Array(256 * PAGE);
        sweep(
          'map',
          () => {
            const mapping = fn.dma.mapSingle(view, 'bidirectional');
            assert.equal(mapping.way, 'pinned');
            return () => mapping.unmap();
          },
          live,
        );
      });

      it('unmaps it whatever fails', () => {
        const view = new Uint8Array(256 * PAGE);
        for (let place = 1, failed = true; failed; place++) {
          const mapping = fn.dma.mapSingle(view, 'bidirectional');
          const result = failing(place, () => mapping.unmap());
          assert.equal(result.error, undefined, `allocation ${place}: ${String(result.error)}`);
          assert.equal(fn.dma.live.length, 0);
          failed = result.failed;
        }
      });

      it('allocates memory', () => {
        sweep(
          'allocCoherent',
          () => {
            const memory = fn.dma.allocCoherent(8 * MIB);
            return () => memory.free();
          },
          live,
        );
      });

      it('arms interrupts', () => {
        sweep(
          'interrupts',
          () => {
            const interrupt = fn.interrupts.msi(0);
            return () => interrupt.close();
          },
          live,
        );
      });

      it('maps registers of another function', () => {
        sweep(
          'mapResource',
          () => {
            const mapping = fn.dma.mapResource(peer.bar(0), 0, PAGE, 'bidirectional');
            return () => mapping.unmap();
          },
          live,
        );
      });

      if (iommu === 'iommufd') {
        it('exports registers', () => {
          sweep(
            'exportBar',
            () => {
              const exported = exportBar(peer.bar(0));
              return () => exported.close();
            },
            live,
          );
        });
      }
    });
  });
}
