/**
 * VFIO, udmabuf, DMA heaps and u-dma-buf at the native border, on a kernel that is faithful, one that lies, and one that
 * runs out of memory. USERDMA_TEST_KERNELS says how many lying kernels there are (default 300).
 */
import { assert, it } from '../harness.ts';
import { noFakeKernel, runUnderFakeKernel } from './fake-kernel.ts';
import { describeNative, type Outcome } from './support.ts';

const KERNELS = Number(process.env.USERDMA_TEST_KERNELS ?? 300);

/** What a script printed last, as JSON, after it ended well. */
function result(outcome: Outcome): unknown {
  assert.deepEqual([outcome.status, outcome.signal, outcome.stderr], [0, null, '']);
  return JSON.parse(outcome.stdout);
}

const PRINT = `const print = (value) => {
  console.log(JSON.stringify(value, (_, one) => typeof one === 'bigint' ? one + 'n' : one));
  setImmediate(() => process.exit()); // the close callbacks of interrupts come first
};`;

describeNative(
  'on a faithful kernel',
  () => {
    const script = `${PRINT} const before = held(); const seen = session(); setImmediate(() => print({ seen, before, after: held() }));`;

    it('every function gives what VFIO and dma-buf say, and closing leaves nothing', () => {
      const { seen, before, after } = result(runUnderFakeKernel(script)) as {
        seen: Record<string, unknown>;
        before: object;
        after: object;
      };
      assert.deepEqual(after, before);
      for (const name of ['ioasDevice', 'ioasDeviceWithToken', 'device10', 'registers'])
        assert.ok((seen[name] as number) > 0, name);
      const expected: Record<string, unknown> = {
        groupStatus7: 1,
        groupAttach7: 0,
        iommu: 0,
        groupOpen10: 0,
        noIommu: 0,
        mapWithout: -25,
        held: 1,
        map: 0,
        mapTwice: -17,
        mapForeign: 0,
        ioasMap: 0,
        ioasMapNext: 0,
        ioasMapTwice: -17,
        ioasMapForeign: 0,
        ioasMapNothing: -22,
        ioasMapWindow: 0,
        ioasMapPorts: -22,
        noRegisters: -22,
        ioasUnmapCut: -22,
        ioasUnmapNone: 0,
        ioasUnmapForeign: 4096,
        ioasUnmap: 4096,
        size0: 16384,
        size1: 64,
        size3: 0,
        size7: 4096,
        size9: -22,
        bar3: -22,
        configRead: 0x406,
        rom: 0,
        mapWindow: 0,
        irqs0: 1,
        irqs1: 4,
        irqs2: 16,
        irqs5: 0,
        resizable1: 0,
        resizable2: 1,
        arm2: 0,
        trigger2: 0,
        unmask0: 0,
        unmask2: -22,
        off2: 0,
        reset: 0,
        hotInfo: [7, 0, 0, 16, 8, 0, 0, 24],
        hot: 0,
        unmapWindow: 8192,
        unmapForeign: 4096,
        unmapPart: -22,
        unmap: 8192,
        bufSize: 8192,
        bufSync: 0,
        nodeSync: 0,
      };
      for (const [key, value] of Object.entries(expected)) assert.deepEqual(seen[key], value, key);
      assert.deepEqual(seen.info, {
        pageSizes: '18446744073709547520n',
        ranges: ['0n', '4276092927n', '4277141504n', '281474976710655n'],
        available: 1024,
      });
    });

    it('registers are single accesses, mapped or by the file, and 64 bits only where they are mapped', () => {
      const { seen } = result(runUnderFakeKernel(script)) as { seen: Record<string, unknown> };
      // BAR 0 is mapped around a hole, BAR 1 is ports, BAR 2 is mapped, BAR 4 may not be written: it is not mapped.
      for (const [bar, at, wide] of [
        [0, 48, true],
        [0, 4096, false],
        [0, 8192, true],
        [1, 48, false],
        [2, 65528, true],
        [4, 4096, false],
      ] as const) {
        assert.equal(seen[`read${bar}@${at}`], at + bar);
        assert.equal(seen[`read64${bar}@${at}`], wide ? `${at}n` : -95);
      }
      assert.equal(seen['read2@256'], -1); // reserved
      assert.equal(seen['read1@4096'], -22);
    });
  },
  noFakeKernel,
);

describeNative(
  'on a kernel that lies',
  () => {
    it(`nothing crashes and nothing is left, with ${KERNELS} of them`, () => {
      const script = `${PRINT}
        const before = held();
        const differences = [];
        let calls = 0, errors = 0;
        const run = (seed) => {
          if (seed > ${KERNELS}) return print({ differences, calls, errors });
          kernel.hostile(seed);
          session((name, value) => { calls++; if (typeof value === 'number' && value < 0) errors++; });
          kernel.hostile(0);
          setImmediate(() => {
            if (JSON.stringify(held()) !== JSON.stringify(before)) { differences.push([seed, held()]); return print({ differences, calls, errors, before }); }
            run(seed + 1);
          });
        };
        run(1);`;
      const { differences, calls, errors } = result(runUnderFakeKernel(script)) as {
        differences: unknown[];
        calls: number;
        errors: number;
      };
      assert.deepEqual(differences, []);
      // It lied, and not in each answer.
      assert.ok(calls > 200 * KERNELS && errors > 20 * KERNELS && errors < calls, `${errors} of ${calls}`);
    });
  },
  noFakeKernel,
);

describeNative(
  'without memory',
  () => {
    it('each allocation that fails is an error of one call, and nothing is left', () => {
      const script = `${PRINT}
        session(); // what is allocated once stays
        const before = held();
        const bad = [];
        let nth = 0, failed = 0;
        const allowed = new Set([-12, -24, -22, -5, -9, -17, -95, -28, -1, -25]);
        const next = () => {
          kernel.fail(++nth);
          let short = false;
          session((name, value) => {
            if (value === -12 || value === -24) short = true;
            if (typeof value === 'number' && value < 0 && !allowed.has(value)) bad.push([nth, name, value]);
          });
          const { allocations } = kernel.report();
          kernel.fail(0);
          if (short) failed++;
          setImmediate(() => {
            if (JSON.stringify(held()) !== JSON.stringify(before)) bad.push([nth, 'left', held(), before]);
            if (allocations >= nth && bad.length === 0) next(); else print({ bad, nth, failed });
          });
        };
        next();`;
      const { bad, nth, failed } = result(runUnderFakeKernel(script)) as {
        bad: unknown[];
        nth: number;
        failed: number;
      };
      assert.deepEqual(bad, []);
      assert.ok(nth > 60 && failed > 40, `${failed} of ${nth}`);
    });
  },
  noFakeKernel,
);
