/** The programs that a build calls. If one is missing, the error names it, with the package that contains it. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { DmaError } from '../../errors.ts';

/** Runs a program to its end. @throws DmaError EIO it failed, with its output */
export async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const printed: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => printed.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => printed.push(bytes));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  const text = Buffer.concat(printed).toString();
  if (status === 0) return text;
  throw new DmaError('EIO', `${command} failed:\n${text.trim().split('\n').slice(0, 20).join('\n')}`, {
    remedy: 'mend what it says',
  });
}

/** The first of these commands that exists. @throws DmaError ENOENT none exists */
export function findTool(names: readonly string[], what: string, packages: string): string {
  for (const name of names) {
    if (spawnSync(name, ['--version'], { stdio: 'ignore' }).error === undefined) return name;
  }
  throw missingTool(`${what} (${names.join(', ')})`, packages);
}

export function checkFile(path: string, what: string, packages: string): void {
  if (!existsSync(path)) throw missingTool(what, packages);
}

function missingTool(what: string, packages: string): DmaError {
  return new DmaError('ENOENT', `${what} is not installed`, { remedy: `apt-get install ${packages}` });
}

/** Verilator's folder of headers and runtime. */
export async function verilatorRoot(verilator: string): Promise<string> {
  const text = await run(verilator, ['--getenv', 'VERILATOR_ROOT']);
  return text.trim();
}
