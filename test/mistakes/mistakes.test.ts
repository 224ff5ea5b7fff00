/**
 * Copies of the edu driver with one mistake each, and what dma-debug says of it: the kind, and the very line. A file marks
 * its lines: `the mapping`, `the release`, `the mistake`; and `noticed here` where the mistake itself is no call.
 */
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { setTimeout as pass } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Edu, EduOptions } from '../../examples/edu/driver.ts';
import { DmaError, type DmaReport, type PciFunction, type ReportKind } from '../../lib/index.ts';
import { skipWithout } from '../absent.ts';
import { assert, describe, it } from '../harness.ts';
import { WORLDS, type World } from './worlds.ts';

interface Mistake {
  readonly file: string;
  readonly kind: ReportKind;
  /** What real hardware shows of it. Default: nothing. */
  readonly hardware?: ReportKind;
  /** Where it can be made. Default: everywhere. */
  readonly where?: (world: World) => boolean;
  /** The device never answers, so that the driver's deadline, which is real time, has to pass. Default false. */
  readonly silent?: boolean;
}

const translated = (world: World) => world.translated;
const lagging = (world: World) => world.lagging;

const MISTAKES: readonly Mistake[] = [
  { file: 'forgets-unmap', kind: 'pending-at-close', hardware: 'pending-at-close' },
  { file: 'unmaps-twice', kind: 'released-twice', hardware: 'released-twice' },
  { file: 'uses-address-after-unmap', kind: 'used-after-release', hardware: 'used-after-release' },
  { file: 'keeps-address-after-unmap', kind: 'device-after-release' },
  { file: 'syncs-after-unmap', kind: 'used-after-release', hardware: 'used-after-release' },
  { file: 'syncs-outside', kind: 'sync-out-of-range', hardware: 'sync-out-of-range' },
  { file: 'maps-for-writing-only', kind: 'device-wrong-direction' },
  { file: 'maps-for-reading-only', kind: 'device-wrong-direction' },
  { file: 'unmaps-too-early', kind: 'device-after-release' },
  { file: 'transfers-too-much', kind: 'device-outside-mapping' },
  { file: 'starts-before-the-mapping', kind: 'device-outside-mapping' },
  {
    file: 'writes-while-device-reads',
    kind: 'cpu-wrote-while-device-owned',
    hardware: 'cpu-wrote-while-device-owned',
  },
  {
    file: 'writes-while-device-writes',
    kind: 'cpu-wrote-while-device-owned',
    hardware: 'cpu-wrote-while-device-owned',
  },
  { file: 'reads-without-sync', kind: 'not-synced-for-cpu' },
  { file: 'never-syncs', kind: 'not-synced-for-cpu' },
  { file: 'forgets-sync-for-device', kind: 'not-synced-for-device' },
  { file: 'writes-before-unmap', kind: 'not-synced-for-device' },
  { file: 'forgets-first-sync', kind: 'device-wrote-unowned' },
  { file: 'frees-page-in-flight', kind: 'freed-while-device-uses', hardware: 'iommu-fault' },
  { file: 'frees-page-before-stop', kind: 'freed-while-device-uses', where: lagging },
  { file: 'unmaps-before-stop', kind: 'device-after-release', where: lagging },
  { file: 'frees-block-in-flight', kind: 'freed-while-device-uses' },
  { file: 'uses-freed-block', kind: 'used-after-release', hardware: 'used-after-release' },
  { file: 'writes-freed-block', kind: 'pool-block-poisoned', hardware: 'pool-block-poisoned' },
  { file: 'maps-twice', kind: 'overlapping-mappings', hardware: 'overlapping-mappings' },
  { file: 'shares-cache-line', kind: 'shared-cache-line', where: ({ coherent }) => !coherent },
  { file: 'segment-too-long', kind: 'segment-too-long', hardware: 'segment-too-long' },
  { file: 'leaks-page', kind: 'pending-at-close', hardware: 'pending-at-close' },
  { file: 'leaks-pool', kind: 'pending-at-close', hardware: 'pending-at-close' },
  { file: 'leaks-addresses', kind: 'pending-at-close', hardware: 'pending-at-close', where: translated },
  { file: 'forgets-iova-sync', kind: 'iova-not-synced', where: translated },
  { file: 'cuts-address', kind: 'device-read-unowned', where: ({ dmaBits }) => dmaBits > 32 },
  { file: 'tells-wrong-address', kind: 'device-wrote-unowned', hardware: 'iommu-fault' },
  { file: 'no-bus-master', kind: 'no-bus-master', silent: true },
  { file: 'destroys-busy-pool', kind: 'pool-busy', hardware: 'pool-busy' },
  { file: 'frees-twice', kind: 'released-twice', hardware: 'released-twice' },
];

type Driver = new (fn: PciFunction, options: EduOptions) => Edu;

const extension = extname(fileURLToPath(import.meta.url));

function urlOf({ file }: Mistake): URL {
  return new URL(`./${file}${extension}`, import.meta.url);
}

/** The kernel logs ten faults at most in so many milliseconds; some IOMMUs have one for each word of a transfer. */
const RATE_LIMIT = 5500;

/** All that is reported while the driver sends a little, and is closed. */
async function reportsOf(mistake: Mistake, world: World): Promise<readonly DmaReport[]> {
  const { Mistaken } = (await import(urlOf(mistake).href)) as { readonly Mistaken: Driver };
  const fn = await world.open({ debug: { print: false, numErrors: 0 } });
  const driver = new Mistaken(fn, { dmaBits: world.dmaBits, ...(mistake.silent ? { timeout: 200 } : {}) });
  try {
    await driver.send(Uint8Array.from({ length: 1000 }, (_, i) => i));
  } catch (error) {
    // What is always checked is thrown as well.
    if (!(error instanceof DmaError)) throw error;
  } finally {
    driver.close();
  }
  return fn.dma.debug!.reports;
}

/** `file:line` of the line that has a mark; undefined when none has. */
function markedLine(mistake: Mistake, mark: string): string | undefined {
  const lines = readFileSync(urlOf(mistake), 'utf8').split('\n');
  const at = lines.findIndex((line) => line.trimEnd().endsWith(`// ${mark}`));
  return at < 0 ? undefined : `/mistakes/${mistake.file}${extension}:${at + 1}:`;
}

function firstFrame(stack: string | undefined): string {
  return stack?.split('\n')[0] ?? 'no stack';
}

function checkLines(mistake: Mistake, { mappedAt, releasedAt, mistakeAt, message }: DmaReport): void {
  const expected = [
    ['the mapping', [mappedAt]],
    ['the release', [releasedAt]],
    ['noticed here', [mistakeAt]],
    // What was wrong may be the mapping, or that it ended.
    ['the mistake', [mistakeAt, releasedAt, mappedAt]],
  ] as const;
  for (const [mark, stacks] of expected) {
    const line = markedLine(mistake, mark);
    if (line === undefined) continue;
    const frames = stacks.map(firstFrame);
    assert.ok(
      frames.some((frame) => frame.includes(line)),
      `${mark} is at ${line}, and the report has ${frames.join(' and ')}: ${message}`,
    );
  }
}

describe('a driver with a mistake', () => {
  for (const world of WORLDS) {
    for (const mistake of MISTAKES) {
      const kind = world.simulated ? mistake.kind : mistake.hardware;
      if (kind === undefined || mistake.where?.(world) === false) continue;
      it(`${mistake.file}: ${kind}, on ${world.name}`, async () => {
        if (kind === 'iommu-fault') {
          skipWithout('log of faults');
          await pass(RATE_LIMIT);
        }
        const reports = await reportsOf(mistake, world);
        const found = reports.filter((report) => report.kind === kind);
        const all = reports.map((report) => `${report.kind}: ${report.message}`).join('\n');
        assert.equal(found.length, 1, `reports:\n${all}`);
        assert.equal(reports.length, 1, `more than the one mistake:\n${all}`);
        checkLines(mistake, found[0]!);
      });
    }
  }

  it('is made in every class there is at least once', () => {
    assert.ok(MISTAKES.length >= 22);
    assert.equal(new Set(MISTAKES.map(({ file }) => file)).size, MISTAKES.length);
  });
});
