/**
 * The loops of DPDK (dpdk.c), where Debian's libdpdk-dev or another DPDK is installed. They run in a process of their
 * own, and this one waits for each, so that the two sides run in turn as in every other row.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';
import type { Timed } from './comparators.ts';

const SOURCE = join(packageRoot(), 'test', 'bench', 'dpdk.c');
const PROGRAM = join(packageRoot(), 'build', 'bench', 'dpdk');
/** Memory of the process alone, so that it needs neither rights nor huge pages, and sees no device. */
const OPTIONS = ['--no-huge', '--no-shconf', '--no-pci', '--no-telemetry', '-m', '64'];

/** The version of the installed DPDK, or undefined without one. */
export function dpdkVersion(): string | undefined {
  const { status, stdout } = spawnSync('pkg-config', ['--modversion', 'libdpdk'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Starts DPDK. The result makes loops of it by the names of dpdk.c. @throws Error it cannot be built or started */
export function startDpdk(): (loop: string) => Timed {
  build();
  const folder = mkdtempSync(join(tmpdir(), 'userdma-dpdk-'));
  const asked = pipe(join(folder, 'asked'));
  const answered = pipe(join(folder, 'answered'));
  rmSync(folder, { recursive: true });
  // When DPDK ends, whatever the reason, the shell says so, and nobody waits for it. When this process ends, DPDK reads
  // the end of its input.
  spawn('sh', ['-c', '"$@"; echo end', 'sh', PROGRAM, ...OPTIONS], {
    stdio: [asked.read, answered.write, 'ignore'],
  }).unref();
  closeSync(asked.read);
  closeSync(answered.write);
  const line = lines(answered.read);
  if (line() !== 'ready') throw new Error('DPDK does not start');
  return (loop) => (count) => {
    writeSync(asked.write, `${loop} ${count}\n`);
    const took = Number(line());
    if (!(took >= 0)) throw new Error(`DPDK ended in ${loop}`);
    return took;
  };
}

/** Both ends of a pipe that can be read and written synchronously; those of `spawn` cannot. */
function pipe(path: string): { readonly read: number; readonly write: number } {
  execFileSync('mkfifo', [path]);
  // Opening one end of a fifo waits for the other, but opening both does not.
  const both = openSync(path, 'r+');
  const ends = { read: openSync(path, 'r'), write: openSync(path, 'w') };
  closeSync(both);
  return ends;
}

function build(): void {
  if (existsSync(PROGRAM) && statSync(PROGRAM).mtimeMs > statSync(SOURCE).mtimeMs) return;
  const flags = execFileSync('pkg-config', ['--cflags', '--libs', 'libdpdk'], { encoding: 'utf8' });
  mkdirSync(join(PROGRAM, '..'), { recursive: true });
  execFileSync('cc', ['-O3', '-o', PROGRAM, SOURCE, ...flags.trim().split(/\s+/)]);
}

/** Reads line by line, and waits for each. */
function lines(fd: number): () => string {
  const bytes = Buffer.alloc(1);
  return () => {
    let text = '';
    while (readSync(fd, bytes) === 1 && bytes[0] !== 10) text += String.fromCharCode(bytes[0]!);
    return text;
  };
}
