/** Letting the line of a UIO device fire again: a 1 to its file, or the command register of uio_pci_generic. */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DmaError } from '../../lib/errors.ts';
import { rearmOf } from '../../lib/uio/rearm.ts';

let root: string;
let device: string;
let fd: number;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userdma-rearm-'));
  device = join(root, 'sys/class/uio/uio0/device');
  mkdirSync(device, { recursive: true });
  fd = openSync(join(root, 'node'), 'w+');
});
afterEach(() => {
  closeSync(fd);
  rmSync(root, { recursive: true });
});

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof DmaError) return error.code;
    throw error;
  }
  return 'none';
}

/** Configuration space with this command register and interrupt pin. */
function config(command: number, pin: number): Buffer {
  const bytes = Buffer.alloc(256);
  bytes.writeUInt16LE(command, 4);
  bytes[0x3d] = pin;
  return bytes;
}

describe('a driver that takes it from the device file', () => {
  it('gets a 1 of four bytes each time', () => {
    const { rearm } = rearmOf('uio0', fd, root);
    rearm();
    rearm();
    const bytes = readFileSync(join(root, 'node'));
    expect([bytes.length, bytes.readInt32LE(0), bytes.readInt32LE(4)]).toEqual([8, 1, 1]);
  });

  it('is gone when the file takes nothing', () => {
    const closed = openSync(join(root, 'node'), 'r');
    expect(codeOf(() => rearmOf('uio0', closed, root).rearm())).toBe('ENODEV');
    closeSync(closed);
  });
});

describe('uio_pci_generic', () => {
  beforeEach(() => symlinkSync('../../drivers/uio_pci_generic', join(device, 'driver')));

  it('has its Interrupt Disable bit cleared, and nothing else of the command register changed', () => {
    writeFileSync(join(device, 'config'), config(0x0507, 1));
    const rearm = rearmOf('uio0', fd, root);
    rearm.rearm();
    expect(readFileSync(join(device, 'config')).readUInt16LE(4)).toBe(0x0107);
    rearm.close();
    expect(readFileSync(join(root, 'node'))).toHaveLength(0);
  });

  it('has no interrupt when the function pulls no line', () => {
    writeFileSync(join(device, 'config'), config(0x0407, 0));
    const rearm = rearmOf('uio0', fd, root);
    expect(codeOf(() => rearm.rearm())).toBe('EINVAL');
    expect(readFileSync(join(device, 'config')).readUInt16LE(4)).toBe(0x0407);
    rearm.close();
  });

  it('is gone when configuration space is', () => {
    expect(codeOf(() => rearmOf('uio0', fd, root))).toBe('ENODEV');
    writeFileSync(join(device, 'config'), '');
    const rearm = rearmOf('uio0', fd, root);
    expect(codeOf(() => rearm.rearm())).toBe('ENODEV');
    rearm.close();
  });
});
