/** Handing a disk to Linux's own driver, NVMe's or virtio's, and taking it back. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { assert } from '../../harness.ts';

const PCI = '/sys/bus/pci';
const PATIENCE = 10_000;
const MIB = 2 ** 20;

function bind(address: string, driver: string): void {
  const device = `${PCI}/devices/${address}`;
  if (existsSync(`${device}/driver`)) writeFileSync(`${device}/driver/unbind`, address);
  // Without an override the driver of its class takes it.
  writeFileSync(`${device}/driver_override`, `${driver}\n`);
  writeFileSync(`${PCI}/drivers_probe`, address);
}

/** Bound to Linux's own driver. Resolves with its block device, once that is there. */
export async function giveToLinux(address: string): Promise<string> {
  bind(address, '');
  for (let waited = 0; waited < PATIENCE; waited += 10) {
    const node = nvmeNode(address) ?? virtioNode(address);
    if (node !== undefined && existsSync(node)) return node;
    await delay(10);
  }
  assert.fail(`no block device of ${address}`);
}

function nvmeNode(address: string): string | undefined {
  const [controller] = list(`${PCI}/devices/${address}/nvme`);
  return controller === undefined ? undefined : `/dev/${controller}n1`;
}

function virtioNode(address: string): string | undefined {
  const device = `${PCI}/devices/${address}`;
  const virtio = list(device).find((name) => /^virtio\d+$/.test(name));
  const [disk] = virtio === undefined ? [] : list(`${device}/${virtio}/block`);
  return disk === undefined ? undefined : `/dev/${disk}`;
}

function list(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Bound to vfio-pci again. */
export function takeFromLinux(address: string): void {
  bind(address, 'vfio-pci');
}

/** The first `size` bytes of a block device, a multiple of 1 MiB, past the page cache. */
export function readBlockDevice(node: string, size: number): Buffer {
  const flags = ['bs=1M', `count=${size / MIB}`, 'iflag=direct', 'status=none'];
  const { status, stdout, stderr } = spawnSync('dd', [`if=${node}`, ...flags], { maxBuffer: 2 * size });
  assert.equal(status, 0, String(stderr));
  return stdout;
}

/** Write the first bytes of a block device, a multiple of 1 MiB, past the page cache and through the disk's. */
export function writeBlockDevice(node: string, bytes: Uint8Array): void {
  const flags = ['bs=1M', 'iflag=fullblock', 'oflag=direct', 'conv=fsync', 'status=none'];
  const { status, stderr } = spawnSync('dd', [`of=${node}`, ...flags], { input: bytes });
  assert.equal(status, 0, String(stderr));
}
