/**
 * Virtual functions (SR-IOV): the kernel creates and removes them when it is told their number
 * (Documentation/ABI/testing/sysfs-bus-pci: sriov_numvfs). The driver of the physical function does the work.
 */
import { writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { argumentError, checkOptions, checkText, describe } from '../arguments.ts';
import { DmaError, type ErrnoName, errnoName } from '../errors.ts';
import { linkTarget, listFolder, readText } from '../files.ts';
import { noFunction } from './absent.ts';
import { DEVICES, type FunctionFacts, isVfioDriver, readFacts } from './facts.ts';

/** The virtual functions of a physical one. */
export interface Sriov {
  /** The most that the device can have (sriov_totalvfs). */
  readonly totalVfs: number;
  /** The number that it has now (sriov_numvfs). */
  readonly numVfs: number;
  /** Their addresses, in their order. */
  readonly virtualFunctions: readonly string[];
}

/** Options of `enableSriov` and `disableSriov`. */
export interface SriovOptions {
  /** Prefix of /sys, so that a tree of files can stand for a machine. */
  readonly root?: string;
}

/**
 * The virtual functions of a function (pci_sriov_get_totalvfs, pci_num_vf); undefined if it can have none.
 * @throws DmaError EINVAL malformed address
 */
export function readSriov(text: string, options: SriovOptions = {}): Sriov | undefined {
  checkOptions<SriovOptions>(options, 'readSriov', { root: checkText });
  const { root = '' } = options;
  const folder = `${root}${DEVICES}/${readFacts(text, root).address}`;
  const total = readText(`${folder}/sriov_totalvfs`);
  if (total === undefined) return undefined;
  const links = listFolder(folder).filter((name) => /^virtfn\d+$/.test(name));
  const inOrder = links.sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)));
  return {
    totalVfs: Number(total),
    numVfs: Number(readText(`${folder}/sriov_numvfs`)),
    virtualFunctions: inOrder.map((name) => basename(linkTarget(`${folder}/${name}`) ?? '')),
  };
}

/**
 * Creates virtual functions (pci_enable_sriov). The kernel offers them to its drivers at once; `bindPci` gives them to
 * vfio-pci. If the physical function is bound to vfio-pci itself, they are bound to vfio-pci, and each of them is
 * opened with the token of the physical function (`openPci(..., { vfToken })`).
 * @param address of the physical function
 * @param count from 1 to `totalVfs`
 * @returns their addresses
 * @throws DmaError EINVAL malformed address, or more than there are · ENODEV no such function · EOPNOTSUPP the
 *   function, or its driver, has none · EBUSY it has some already · EACCES not root · ENOMEM no room for their
 *   registers or bus numbers
 */
export async function enableSriov(
  address: string,
  count: number,
  options: SriovOptions = {},
): Promise<readonly string[]> {
  checkOptions<SriovOptions>(options, 'enableSriov', { root: checkText });
  if (!(Number.isInteger(count) && count > 0)) {
    throw argumentError('the number of virtual functions', count, 'pass a whole number from 1 on');
  }
  const facts = physical(address, options);
  const { totalVfs, numVfs } = readSriov(facts.address, options)!;
  if (count > totalVfs) {
    throw new DmaError('EINVAL', `${facts.address} has no ${describe(count)} virtual functions`, {
      remedy: totalVfs === 0 ? 'its firmware or its driver allows none' : `pass 1 to ${totalVfs}`,
    });
  }
  if (numVfs > 0) throw hasSome(facts.address, numVfs);
  await setNumber(facts, count, options);
  return readSriov(facts.address, options)!.virtualFunctions;
}

/**
 * Removes all virtual functions (pci_disable_sriov). The kernel asks programs that have them open to close them, and
 * waits until they did (`PciFunction.onReleaseRequest`).
 * @throws DmaError EINVAL malformed address · ENODEV no such function · EOPNOTSUPP it has no virtual functions ·
 *   EACCES not root · EBUSY the driver of the kernel does not remove them now
 */
export async function disableSriov(address: string, options: SriovOptions = {}): Promise<void> {
  checkOptions<SriovOptions>(options, 'disableSriov', { root: checkText });
  await setNumber(physical(address, options), 0, options);
}

/** @throws DmaError ENODEV, EOPNOTSUPP */
function physical(text: string, { root = '' }: SriovOptions): FunctionFacts {
  const facts = readFacts(text, root);
  if (!facts.exists) throw noFunction(facts);
  if (facts.hasVirtualFunctions) return facts;
  throw new DmaError('EOPNOTSUPP', `${facts.address} has no virtual functions`, {
    remedy:
      facts.physicalFunction === undefined
        ? 'use a function with the capability SR-IOV (userdma show), in a kernel with CONFIG_PCI_IOV'
        : `it is one itself, of ${facts.physicalFunction}`,
  });
}

/** In a thread: removing functions waits until the programs that have them open, perhaps this one, close them. */
async function setNumber(facts: FunctionFacts, count: number, { root = '' }: SriovOptions): Promise<void> {
  try {
    await writeFile(`${root}${DEVICES}/${facts.address}/sriov_numvfs`, String(count));
  } catch (cause) {
    throw refusal(facts, count, cause);
  }
}

function refusal({ address, driver }: FunctionFacts, count: number, cause: unknown): DmaError {
  const code = errnoName((cause as NodeJS.ErrnoException).errno ?? 0);
  const fail = (reason: ErrnoName, what: string, remedy: string): DmaError =>
    new DmaError(reason, `${address}: ${what}`, { syscall: 'write sriov_numvfs', remedy, cause });
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return fail('EACCES', 'no permission to change the number of its virtual functions', 'run as root');
    case 'ENOENT':
      return fail(
        'EOPNOTSUPP',
        `its driver (${driver ?? 'none'}) creates no virtual functions`,
        whichDriver(driver),
      );
    case 'EBUSY':
      return fail(
        code,
        'it has virtual functions, or is being taken away',
        'remove them first, or try again',
      );
    case 'ENOMEM':
      return fail(
        code,
        `there is no room for ${count} virtual functions`,
        'ask for fewer, or boot with pci=realloc,assign-busses, so that their registers and buses get addresses',
      );
    default:
      return fail(
        code,
        `${count} virtual functions are refused (${code})`,
        'the kernel log (dmesg) may say why',
      );
  }
}

function whichDriver(driver: string | undefined): string {
  return isVfioDriver(driver)
    ? 'as root: echo 1 > /sys/module/vfio_pci/parameters/enable_sriov'
    : "bind it to the kernel's own driver of the device, or to vfio-pci with its parameter enable_sriov=1";
}

function hasSome(address: string, numVfs: number): DmaError {
  return new DmaError('EBUSY', `${address} has ${numVfs} virtual functions`, {
    remedy: `the number cannot be changed, only set to 0: disableSriov, or userdma sriov ${address} 0`,
  });
}
