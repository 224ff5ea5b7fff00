/**
 * Binding a PCI function to vfio-pci or to another driver, and giving it back to its former driver
 * (Documentation/ABI/testing/sysfs-bus-pci: driver_override, unbind, drivers_probe). The file /run/userdma
 * remembers the former driver until the next boot.
 */
import { chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { argumentError, checkBoolean, checkOptions, checkText, type OptionChecks } from '../arguments.ts';
import { DmaError, type ErrnoName, errnoName } from '../errors.ts';
import { readText } from '../files.ts';
import { noFunction } from './absent.ts';
import { DEVICES, type FunctionFacts, isVfioDriver, nodeOf, readFacts } from './facts.ts';
import { usesOf } from './use.ts';

/** Options of `bindPci` and `unbindPci`. */
export interface BindOptions {
  /** Default `vfio-pci`. Use `uio_pci_generic` for openUio and openPciUnsafe. */
  readonly driver?: string;
  /** Bind the function although this machine uses it. */
  readonly force?: boolean;
  /** The user, by name or number, who becomes the owner of the nodes: of the IOMMU group, and of the function. */
  readonly user?: string;
  /** Bind the function again at every boot, through a udev rule. */
  readonly persist?: boolean;
  /** Prefix of /sys, /dev, /etc and /run, so that a tree of files can stand for a machine. */
  readonly root?: string;
}

const CHECKS: OptionChecks<Required<BindOptions>> = {
  driver: checkText,
  force: checkBoolean,
  user: checkText,
  persist: checkBoolean,
  root: checkText,
};

/** The result of a binding. */
export interface Bound {
  readonly address: string;
  /** The driver of the function now. */
  readonly driver: string | undefined;
  /** The driver of the function before. */
  readonly former: string | undefined;
}

/**
 * Binds a function to a driver for user space.
 * @throws DmaError EINVAL malformed address, name or user · ENODEV no such function, or no such driver · EBUSY this
 *   machine uses it · EACCES not root · EIO the driver refused it; it is back with its former driver
 */
export function bindPci(text: string, options: BindOptions = {}): Bound {
  checkOptions<BindOptions>(options, 'bindPci', CHECKS);
  const { driver = 'vfio-pci', force = false, root = '' } = options;
  if (!/^[\w-]+$/.test(driver)) {
    throw new DmaError('EINVAL', `${JSON.stringify(driver)} is not the name of a driver`, {
      remedy: 'pass the name of a kernel driver, e.g. vfio-pci',
    });
  }
  const owner = options.user === undefined ? undefined : userId(options.user);
  const facts = existing(text, root);
  const { address, driver: former } = facts;
  const uses = force || former === driver ? [] : usesOf(address, root);
  if (uses.length > 0) {
    throw new DmaError('EBUSY', `${address} is in use: ${uses.join('; ')}`, {
      remedy: 'unmount or switch it off first, or force it, which this machine may not survive',
    });
  }
  needDriver(driver, root);
  if (former !== driver) take(facts, driver, root);
  try {
    if (owner !== undefined) ownNode(facts, owner, root);
    if (options.persist) persist(facts, driver, options.user, root);
  } catch (error) {
    if (former !== driver) takeBack(address, driver, root);
    throw error;
  }
  return { address, driver, former };
}

/** Gives the function to a driver, and remembers the former one. If the driver refuses it, it is back with that. */
function take(facts: FunctionFacts, driver: string, root: string): void {
  const { address, driver: former } = facts;
  give(facts, driver, root);
  if (readFacts(address, root).driver !== driver) {
    takeBack(address, former, root);
    const without = isVfioDriver(driver) && facts.group === undefined;
    throw new DmaError('EIO', `${driver} did not take ${address}; it is back with ${former ?? 'no driver'}`, {
      remedy: without
        ? 'it has no IOMMU: switch that on, or, for openPciUnsafe, VFIO without one: ' +
          'echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode'
        : 'the kernel log (dmesg) may say why',
    });
  }
  if (!isVfioDriver(former)) write(memory(address, root), `${former ?? ''}\n`);
}

/**
 * Takes a function away from its driver for user space. The kernel then finds a driver for it: the former one,
 * when it is known.
 * @throws DmaError EINVAL malformed address · ENODEV no such function · EBUSY it is not bound to a driver for
 *   user space · EACCES not root
 */
export function unbindPci(text: string, options: Pick<BindOptions, 'root'> = {}): Bound {
  checkOptions<Pick<BindOptions, 'root'>>(options, 'unbindPci', { root: checkText });
  const { root = '' } = options;
  const { address, driver } = existing(text, root);
  const remembered = readText(memory(address, root))?.trim();
  if (
    driver !== undefined &&
    remembered === undefined &&
    !isVfioDriver(driver) &&
    !driver.startsWith('uio')
  ) {
    throw new DmaError('EBUSY', `${address} is bound to ${driver}, a driver of the kernel`, {
      remedy: 'it needs no unbind: the kernel drives it already',
    });
  }
  // After a boot nothing is remembered. The kernel's list of drivers then says which one it is for.
  const wanted = remembered || readText(`${root}${DEVICES}/${address}/modalias`)?.trim();
  if (wanted) modprobe(wanted);
  takeBack(address, driver, root);
  rmSync(memory(address, root), { force: true });
  rmSync(rule(address, root), { force: true });
  return { address, driver: readFacts(address, root).driver, former: driver };
}

function existing(text: string, root: string): FunctionFacts {
  const facts = readFacts(text, root);
  if (facts.exists) return facts;
  throw noFunction(facts);
}

function needDriver(driver: string, root: string): void {
  if (existsSync(`${root}/sys/bus/pci/drivers/${driver}`)) return;
  const said = modprobe(driver);
  if (existsSync(`${root}/sys/bus/pci/drivers/${driver}`)) return;
  throw new DmaError('ENODEV', `the kernel has no driver ${driver}${said && `: ${said}`}`, {
    remedy: `as root: modprobe ${driver}; the kernel needs the module`,
  });
}

/** The module is loaded here: starting a program is rare, and most programs that load this file never do. */
function runProgram(name: string, ...words: string[]) {
  return process.getBuiltinModule('node:child_process').spawnSync(name, words, { encoding: 'utf8' });
}

/** The complaint that modprobe prints. */
function modprobe(module: string): string {
  const run = runProgram('modprobe', module);
  return (run.error?.message ?? run.stderr ?? '').trim();
}

function give({ address, driver }: FunctionFacts, to: string, root: string): void {
  const folder = `${root}${DEVICES}/${address}`;
  write(`${folder}/driver_override`, `${to}\n`);
  if (driver !== undefined) write(`${folder}/driver/unbind`, address);
  probe(address, root);
}

function takeBack(address: string, driver: string | undefined, root: string): void {
  const folder = `${root}${DEVICES}/${address}`;
  write(`${folder}/driver_override`, '\n');
  if (driver !== undefined && existsSync(`${folder}/driver`)) write(`${folder}/driver/unbind`, address);
  probe(address, root);
}

/** If the driver refuses the function, the write fails. The caller reads afterwards which driver has the function. */
function probe(address: string, root: string): void {
  try {
    writeFileSync(`${root}/sys/bus/pci/drivers_probe`, address);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES')
      throw writeError('/sys/bus/pci/drivers_probe', error);
  }
}

function ownNode({ address, group, driver }: FunctionFacts, owner: number, root: string): void {
  if (driver?.startsWith('uio')) return;
  // The node of the function itself (iommufd) is there once VFIO has it, in kernels that have such nodes.
  const own = nodeOf(address, root);
  for (const node of [`/dev/vfio/${group}`, ...(own === undefined ? [] : [own])]) {
    try {
      chownSync(root + node, owner, -1);
    } catch (error) {
      throw group === undefined
        ? new DmaError('ENODEV', `${address} has no IOMMU group, so there is no node to give away`)
        : writeError(root + node, error);
    }
  }
}

function userId(user: string): number {
  if (user.includes('\0')) throw argumentError('the user', user, 'pass a name or a number');
  if (/^\d+$/.test(user)) return Number(user);
  const line = (readText('/etc/passwd') ?? '').split('\n').find((entry) => entry.startsWith(`${user}:`));
  const text = line?.split(':')[2] ?? runProgram('id', '-u', user).stdout;
  const id = Number(text || Number.NaN);
  if (Number.isInteger(id)) return id;
  throw new DmaError('EINVAL', `there is no user ${user}`, {
    remedy: 'name one of this system, or a number',
  });
}

/**
 * The rule runs when the kernel tells udev of the function, at boot and when it is plugged in. Its former driver may
 * have it already then, and the module of the new one may be loaded, so that only a probe binds it.
 */
function persist(
  { address, group }: FunctionFacts,
  driver: string,
  user: string | undefined,
  root: string,
): void {
  const script = [
    `/sbin/modprobe ${driver}`,
    `[ -e /sys/bus/pci/drivers/${driver}/%k ] || { [ ! -e /sys%p/driver ] || echo %k > /sys%p/driver/unbind`,
    'echo %k > /sys/bus/pci/drivers_probe',
    '}',
  ].join('; ');
  const match = `ACTION=="add", SUBSYSTEM=="pci", KERNEL=="${address}"`;
  const lines = [
    `${match}, ATTR{driver_override}="${driver}", RUN+="/bin/sh -c '${script}'"`,
    ...(user === undefined
      ? []
      : [
          `SUBSYSTEM=="vfio", KERNEL=="${group}", OWNER="${user}"`,
          `SUBSYSTEM=="vfio-dev", KERNELS=="${address}", OWNER="${user}"`,
        ]),
  ];
  write(rule(address, root), `${lines.join('\n')}\n`);
}

function rule(address: string, root: string): string {
  return `${root}/etc/udev/rules.d/10-userdma-${address}.rules`;
}

function memory(address: string, root: string): string {
  return `${root}/run/userdma/${address}`;
}

function write(path: string, text: string): void {
  try {
    if (!path.includes('/sys/')) mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  } catch (error) {
    throw writeError(path, error);
  }
}

function writeError(path: string, cause: unknown): DmaError {
  const { code, errno = 0 } = cause as NodeJS.ErrnoException;
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
  const name: ErrnoName = denied ? 'EACCES' : errnoName(errno);
  return new DmaError(name, `${path} cannot be written (${code})`, {
    syscall: 'write',
    cause,
    remedy: code === 'EROFS' ? 'run it outside the container, where /sys can be written' : 'run it as root',
  });
}
