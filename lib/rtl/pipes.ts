/**
 * Two pipes to a child process, for synchronous reads and writes. Node's own pipes to a child do not block at our
 * end. So these are FIFOs: they are made in a folder of their own, opened at both ends by this process, and unlinked
 * at once.
 *
 * The order of opening matters. Opening a FIFO only for reading blocks until a writer comes. So it is first opened
 * without blocking, then for writing, and then again for reading, with blocking.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DmaError } from '../errors.ts';

export interface Pipe {
  readonly read: number;
  readonly write: number;
}

/** @throws DmaError EOPNOTSUPP a system without FIFOs · EMFILE, EACCES the system's error */
export function openPipes(): { readonly toChild: Pipe; readonly fromChild: Pipe } {
  if (process.platform === 'win32') {
    throw new DmaError('EOPNOTSUPP', 'a simulator process needs FIFOs, which this system lacks', {
      remedy: 'build the design as WebAssembly: userdma rtl build --wasm',
    });
  }
  const folder = mkdtempSync(join(tmpdir(), 'userdma-rtl-'));
  const opened: number[] = [];
  try {
    const names = [join(folder, 'to'), join(folder, 'from')];
    execFileSync('mkfifo', ['-m', '600', ...names]);
    const [toChild, fromChild] = names.map((name) => openPipe(name, opened)) as [Pipe, Pipe];
    return { toChild, fromChild };
  } catch (error) {
    for (const fd of opened) closeSync(fd);
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function openPipe(name: string, opened: number[]): Pipe {
  const first = openSync(name, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const write = openSync(name, constants.O_WRONLY);
    opened.push(write);
    const read = openSync(name, constants.O_RDONLY);
    opened.push(read);
    return { read, write };
  } finally {
    closeSync(first);
  }
}
