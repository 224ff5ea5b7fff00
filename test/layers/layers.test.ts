/** The rules of .dependency-cruiser.js: a forbidden import of each kind, planted in a copy of the tree, is found; nothing else is. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { expect, it } from 'vitest';

interface Violation {
  /** A file; of a cycle of folders, a folder. */
  readonly from: string;
  readonly to: string;
  readonly rule: { readonly name: string };
}

/** Each file is planted with its text; the rule finds it, and where the rule is about folders, finds the folder. */
const PLANTS: readonly { readonly file: string; readonly text: string; readonly rule: string }[] = [
  up('lib/planted.ts', './rings/column.ts', 'floor-0-imports-no-higher-one'),
  up('lib/rings/planted.ts', '../memory/heap.ts', 'floor-1-imports-no-higher-one'),
  up('lib/iommu/planted.ts', '../dma/device.ts', 'floor-2-imports-no-higher-one'),
  up('lib/dma/pool/planted.ts', '../../debug/debug.ts', 'floor-3-imports-no-higher-one'),
  up('lib/debug/planted.ts', '../pci/function.ts', 'floor-4-imports-no-higher-one'),
  up('lib/uio/planted.ts', '../sim/model.ts', 'floor-5-imports-no-higher-one'),
  up('lib/sim/planted.ts', '../index.ts', 'floor-6-imports-no-higher-one'),
  up('lib/rtl/planted.ts', '../testing/index.ts', 'floor-7-imports-no-higher-one'),
  up('lib/testing/planted.ts', '../../examples/planted.ts', 'floor-8-imports-no-higher-one'),
  up('lib/dma/sg/planted.ts', '../../native/addon.ts', 'dma-knows-no-system'),
  up('lib/dma/sg/planted-too.ts', '../../sim/model.ts', 'dma-knows-no-system'),
  up('examples/planted.ts', '../test/planted.ts', 'examples-import-no-tests'),
  up('lib/registers/planted.ts', './nowhere.ts', 'nothing-unresolved'),
  // The folder `sg` imports `bounce` already.
  up('lib/dma/bounce/planted.ts', '../sg/table.ts', 'no-cycle-of-folders'),
  {
    file: 'lib/interrupts/planted-one.ts',
    text: "import { two } from './planted-two.ts';\nexport const one = 1;\nexport const sum = one + two;\n",
    rule: 'no-cycle-of-values',
  },
];

/** What does no harm: types may go round in a circle between files of one folder. */
const HARMLESS: Readonly<Record<string, string>> = {
  'test/planted.ts': 'export {};\n',
  'lib/interrupts/planted-two.ts': "import { one } from './planted-one.ts';\nexport const two = () => one;\n",
  'lib/native/planted-a.ts': "import type { B } from './planted-b.ts';\nexport interface A { b: B }\n",
  'lib/native/planted-b.ts': "import type { A } from './planted-a.ts';\nexport interface B { a: A }\n",
};

/** A type is enough: rules are about what a file knows. */
function up(file: string, to: string, rule: string) {
  return {
    file,
    text: `import type * as planted from '${to}';\nexport type Planted = typeof planted;\n`,
    rule,
  };
}

const ROOT = resolve(import.meta.dirname, '../..');

function violations(folder: string): readonly Violation[] {
  const cruiser = 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs';
  const run = spawnSync(
    process.execPath,
    ['--import', join(ROOT, 'test/layers/typescript.js'), cruiser, '-T', 'json', 'lib', 'examples'],
    { cwd: folder, encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  expect(run.stderr).toBe('');
  return JSON.parse(run.stdout).summary.violations;
}

it('a forbidden import of each kind is found, and nothing else is in the tree', { timeout: 600_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'layers-'));
  try {
    for (const name of ['lib', 'package.json', 'tsconfig.json', '.dependency-cruiser.js']) {
      cpSync(join(ROOT, name), join(folder, name), { recursive: true });
    }
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    const plant = (file: string, text: string): void => {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), text);
    };
    for (const [file, text] of Object.entries(HARMLESS)) plant(file, text);
    for (const { file, text } of PLANTS) plant(file, text);
    const found = violations(folder);
    for (const { file, rule } of PLANTS) {
      const where = rule === 'no-cycle-of-folders' ? dirname(file) : file;
      expect(found.filter(({ from, rule: { name } }) => name === rule && from === where)).not.toEqual([]);
    }
    const planted = ({ from, rule }: Violation): boolean =>
      rule.name === 'no-cycle-of-folders' || (from.includes('planted') && !from.includes('planted-a'));
    expect(found.filter((one) => !planted(one))).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
