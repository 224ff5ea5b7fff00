/** A device of the virtual machine that is pulled out and put back. */
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
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
/** Milliseconds until QEMU is asked instead of waited for. */
const PATIENCE = 1000;
/** Milliseconds until a wait is given up. */
const DEADLINE = 120_000;

/** As somebody does who presses the button of the slot: the kernel asks the driver for the device, and waits. */
export async function pullOut(monitor: Monitor, { id }: Pluggable): Promise<void> {
  monitor.forgetEvents();
  await monitor.execute('device_del', { id });
  // Now and then the event arrives only with the answer to the next command: so there is one.
  const isGone = async () =>
    (await monitor.event('DEVICE_DELETED', id, PATIENCE)) || !(await monitor.knows(id));
  await until(isGone, `${id} leaves its slot`);
}

/** Back into its slot, and to vfio-pci. */
export async function putBack(monitor: Monitor, { address, id, properties }: Pluggable): Promise<void> {
  await monitor.execute('device_add', { id, ...properties });
  await until(() => existsSync(`${PCI}/devices/${address}/driver_override`), `${address} is there again`);
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
  await until(isBound, `vfio-pci has ${address}`);
}

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + DEADLINE;
  while (!(await holds())) {
    if (performance.now() > end)
      throw new Error(`in ${DEADLINE / 1000} seconds it did not happen that ${what}`);
    await delay(5);
  }
}
