/** A device of the virtual machine that is pulled out and put back. */
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { until } from '../until.ts';
import type { Monitor } from './monitor.ts';

export interface Pluggable {
  /** Where it is in the guest. */
  readonly address: string;
  /** QEMU's name for it. */
  readonly id: string;
  /** QEMU's properties of it, `driver` and `bus` among them. */
  readonly properties: Readonly<Record<string, string | number>>;
}

/** The e1000e of the machine `pcie`. */
export const NIC: Pluggable = {
  address: process.env.USERDMA_TEST_NIC ?? '',
  id: 'nic',
  properties: { driver: 'e1000e', netdev: 'net0', bus: 'port6' },
};

const PCI = '/sys/bus/pci';
/** Milliseconds until a command is sent, which brings what QEMU has to say. */
const PATIENCE = 1000;
/** Milliseconds between two looks. */
const LOOK = 5;

/** As somebody does who presses the button of the slot: the kernel asks the driver for the device, and waits. */
export async function pullOut(monitor: Monitor, { id }: Pluggable): Promise<void> {
  monitor.forgetEvents();
  await monitor.execute('device_del', { id });
  // The event comes when QEMU has let go of all that the device used, which may be long after the device is no longer
  // found. Now and then it arrives only with the answer to the next command: so there is one.
  const isGone = async () => {
    if (await monitor.event('DEVICE_DELETED', id, PATIENCE)) return true;
    await monitor.execute('query-status');
    return false;
  };
  await until(isGone, `${id} leaves its slot`, LOOK);
}

/** Taken by a program: the kernel asks the driver for the device, and waits, not in this thread. */
export function remove(address: string): Promise<void> {
  const child = spawn('/bin/sh', ['-c', `echo 1 > ${PCI}/devices/${address}/remove`], { stdio: 'ignore' });
  return new Promise((resolve, reject) => child.on('error', reject).on('exit', () => resolve()));
}

/** Found again by the kernel, and given to vfio-pci. */
export async function findAgain(address: string): Promise<void> {
  writeFileSync(`${PCI}/rescan`, '1');
  await bindVfio(address);
}

/** Back into its slot, and to vfio-pci. */
export async function putBack(monitor: Monitor, { address, id, properties }: Pluggable): Promise<void> {
  await monitor.execute('device_add', { id, ...properties });
  await until(
    () => existsSync(`${PCI}/devices/${address}/driver_override`),
    `${address} is there again`,
    LOOK,
  );
  await bindVfio(address);
}

/** To vfio-pci, whatever has it. */
export async function bindVfio(address: string): Promise<void> {
  const device = `${PCI}/devices/${address}`;
  writeFileSync(`${device}/driver_override`, 'vfio-pci');
  // One that has just arrived is seen some time before drivers may have it, and the kernel may have one of its own.
  const isBound = () => {
    if (existsSync(`${PCI}/drivers/vfio-pci/${address}`)) return true;
    if (existsSync(`${device}/driver`)) writeFileSync(`${device}/driver/unbind`, address);
    writeFileSync(`${PCI}/drivers_probe`, address);
    return false;
  };
  await until(isBound, `vfio-pci has ${address}`, LOOK);
}
