/** userdma vm: a command in a virtual machine with devices of the caller's choice, without hardware and without root. */
import { cpSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { DmaError } from '../errors.ts';
import { parseAddress } from '../pci/address.ts';
import { cacheFolder, checkHost, guestEnvironment } from '../vm/host.ts';
import { prepareInitrd } from '../vm/initrd.ts';
import { findKernel, type Kernel } from '../vm/kernel.ts';
import { type Device, type Machine, VFIO_MODULES } from '../vm/machine.ts';
import { ModuleTree } from '../vm/modules.ts';
import { findQemu } from '../vm/qemu.ts';
import { exitStatus, explain, OWN_FILES, run } from '../vm/run.ts';
import { wholeNumber } from './whole-number.ts';

export interface VmOptions {
  readonly device: readonly string[];
  readonly disk: readonly string[];
  readonly module: readonly string[];
  readonly bind: readonly string[];
  readonly iommu: Machine['iommu'];
  readonly memory: string;
  readonly limit: string;
  readonly out?: string;
}

/** Runs `command` in the current folder inside a machine, and takes over its exit status. */
export async function vm(command: readonly string[], options: VmOptions): Promise<void> {
  const limit = wholeNumber('--limit', options.limit);
  const machine = machineOf(options);
  checkHost();
  const cache = cacheFolder();
  const kernel = findKernel(cache);
  const modules = machine.modules.map((line) => line.split(' ')[0]!);
  checkModules(kernel, modules);
  const outcome = await run({
    machine,
    qemu: findQemu(cache),
    kernel: kernel.image,
    initrd: prepareInitrd(kernel, cache, modules),
    command,
    folder: process.cwd(),
    environment: guestEnvironment(),
    limit,
    print: (text) => void process.stdout.write(text),
    ...(options.out === undefined ? {} : { collect: (share) => keep(share, options.out!) }),
  });
  if (outcome.kind !== 'exited') console.error(explain(outcome));
  else for (const trouble of outcome.troubles) console.error(`vm: ${trouble}`);
  process.exitCode = exitStatus(outcome);
}

/** The machine that the options describe. @throws DmaError EINVAL a disk without a device, or the other way round */
export function machineOf({ device, disk, module, bind, iommu, memory }: VmOptions): Machine {
  const images = disk.map((file) => resolve(file));
  const unused = new Set(images);
  const devices = device.map((qemu): Device => {
    const name = /(?:^|,)drive=([^,]*)/.exec(qemu)?.[1];
    if (name === undefined) return { qemu };
    const image = images[Number(/^disk(\d+)$/.exec(name)?.[1])];
    if (image === undefined) {
      throw new DmaError('EINVAL', `--device ${qemu}: there is no disk ${name}`, {
        remedy: 'disk0 is the image of the first --disk, disk1 that of the second',
      });
    }
    unused.delete(image);
    return { qemu, disk: name, image };
  });
  for (const image of unused) {
    throw new DmaError('EINVAL', `--disk ${image}: no device has it`, {
      remedy: `name it in a --device: drive=disk${images.indexOf(image)}`,
    });
  }
  return {
    name: 'user',
    iommu,
    clock: 'host',
    memory,
    modules: [...VFIO_MODULES, ...module],
    devices,
    bind: bind.map(parseAddress),
  };
}

/** @throws DmaError ENOSYS the kernel does not have them */
export function checkModules({ version, modules: folder }: Kernel, names: readonly string[]): void {
  const tree = new ModuleTree(folder);
  const missing = names.filter((name) => !tree.has(name));
  if (missing.length === 0) return;
  throw new DmaError('ENOSYS', `Linux ${version} has no module ${missing.join(', ')}`, {
    remedy: `check the name, or name another kernel in USERDMA_VM_KERNEL; modules are in ${folder}`,
  });
}

/** Copies the files that the command left on the share, and the kernel's console. */
export function keep(share: string, folder: string): void {
  cpSync(share, folder, { recursive: true, filter: (path) => !OWN_FILES.has(relative(share, path)) });
}
