/**
 * The package as others use it: packed, installed in fresh projects by each package manager, and used there. Prints a table.
 *
 *      node dist/test/package/main.js [--tarball FILE] [part of a cell's name ...]
 *
 * Exit status 0: no cell failed. A cell whose tool cannot be installed is skipped, with the reason.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { packageRoot } from '../../lib/native/package-root.ts';
import { type Cell, NoTool } from './cell.ts';
import { cells } from './cells.ts';
import { contents, pack, sizes } from './pack.ts';

/** What every tarball has, and what none may have. */
const WANTED = ['dist/bundle/index.js', 'dist/lib/index.d.ts', 'native/binding.gyp', 'sbom.cdx.json'];
const ADDONS = ['x64', 'arm64'].map((arch) => `prebuilds/linux-${arch}/userdma.node`);

function contentFaults(tarball: string): string[] {
  const names = contents(tarball);
  return [
    ...[...WANTED, ...ADDONS].filter((name) => !names.includes(name)).map((name) => `${name} is missing`),
    ...names
      .filter((name) => /stale|\.test\.|^binding\.gyp$|^test\//.test(name))
      .map((name) => `${name} is in it`),
  ];
}

type Result = 'passed' | 'failed' | 'skipped';

interface Outcome {
  readonly result: Result;
  readonly why?: string;
}

function run(cell: Cell, tarball: string, work: string): Outcome {
  const folder = mkdtempSync(join(work, 'project-'));
  try {
    cell.run(folder, tarball);
    return { result: 'passed' };
  } catch (error) {
    if (error instanceof NoTool) return { result: 'skipped', why: error.message };
    const { stderr, stdout, message } = error as { stderr?: unknown; stdout?: unknown; message: string };
    return {
      result: 'failed',
      why: `${stderr || stdout || message}`.trim().split('\n').slice(-6).join('\n'),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function main(): number {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { tarball: { type: 'string' } },
  });
  const work = mkdtempSync(join(tmpdir(), 'userdma-package-'));
  chmodSync(work, 0o755); // one cell is another user, who has to reach its project
  try {
    const tarball = values.tarball ?? pack(packageRoot(), work);
    const table = new Table({ head: ['project', 'result'], style: { head: [], border: [] } });
    const chosen = cells.filter(
      ({ name }) => positionals.length === 0 || positionals.some((part) => name.includes(part)),
    );
    const counts = { passed: 0, failed: 0, skipped: 0 };
    const note = (name: string, { result, why }: Outcome) => {
      counts[result]++;
      const text = why === undefined ? result : `${result}: ${why}`;
      table.push([name, text]);
      console.log(`${name}: ${text}`);
    };
    const faults = contentFaults(tarball);
    const contentsOf: Outcome =
      faults.length === 0 ? { result: 'passed' } : { result: 'failed', why: faults.join('\n') };
    note('contents of the tarball', contentsOf);
    const { packed, withoutAddons } = sizes(tarball, ADDONS);
    table.push(['packed size', `${packed}, without the addons ${withoutAddons}`]);
    for (const cell of chosen) note(cell.name, run(cell, tarball, work));
    console.log(table.toString());
    console.log(`package: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
    return counts.failed === 0 ? 0 : 1;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

process.exitCode = main();
