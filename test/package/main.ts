/**
 * The package as others use it: packed, installed in fresh projects by each package manager, and used there. Prints a table.
 *
 *      node dist/test/package/main.js [--tarball FILE] [part of a cell's name ...]
 *
 * Exit status 0: every cell passed.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { packageRoot } from '../../lib/native/package-root.ts';
import { type Cell, cells } from './cells.ts';
import { contents, pack } from './pack.ts';

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

function run(cell: Cell, tarball: string, work: string): string | undefined {
  const folder = mkdtempSync(join(work, 'project-'));
  try {
    cell.run(folder, tarball);
    return undefined;
  } catch (error) {
    const { stderr, stdout, message } = error as { stderr?: unknown; stdout?: unknown; message: string };
    return `${stderr || stdout || message}`.trim().split('\n').slice(-6).join('\n');
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
    const faults = contentFaults(tarball);
    table.push(['contents of the tarball', faults.join('\n') || 'passed']);
    let failed = faults.length > 0 ? 1 : 0;
    for (const cell of chosen) {
      const failure = run(cell, tarball, work);
      if (failure !== undefined) failed++;
      table.push([cell.name, failure ?? 'passed']);
    }
    console.log(table.toString());
    console.log(`package: ${chosen.length + 1 - failed} passed, ${failed} failed`);
    return failed === 0 ? 0 : 1;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

process.exitCode = main();
