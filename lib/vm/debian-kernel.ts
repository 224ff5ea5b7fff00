/** Debian's kernel packages, unpacked in the cache. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fetched, type PrivateApt, reason, unpack } from './apt.ts';
import { HarnessError } from './harness-error.ts';
import type { Kernel } from './kernel.ts';

/** Tried in this order. Both carry a 6.12 kernel with VFIO type1, udmabuf, dma-heaps and virtio-iommu. */
const suites = ['bookworm-backports', 'trixie'];

/** Debian's kernels for a processor, or for another size of its pages. */
export type Flavour = 'amd64' | 'arm64' | 'arm64-16k';

/** Always depends on the newest kernel of its suite. */
const metaPackage = (flavour: Flavour) => `linux-image-${flavour}`;
const ownNames = 'name USERDMA_VM_KERNEL (a bzImage) and USERDMA_VM_MODULES yourself';

/** Up to Linux 6 one package has it all. From 7 on, that package depends on those of the image and of the modules. */
function kernelPackages(apt: PrivateApt, flavour: Flavour): string[] {
  const [image] = apt.dependencies(metaPackage(flavour), /^linux-image-\d/);
  if (image === undefined) throw new Error(`no ${metaPackage(flavour)} in this suite`);
  return [image, ...apt.dependencies(image, /^linux-(?:binary|modules)-\d/)];
}

function kernelIn(root: string): Kernel {
  const all = join(root, 'lib/modules');
  const version = existsSync(all) ? readdirSync(all)[0] : undefined;
  if (version === undefined) throw new Error(`no kernel in ${root}`);
  const modules = join(all, version);
  // From Linux 7 on the image is beside the modules.
  const image = [join(root, 'boot', `vmlinuz-${version}`), join(modules, 'vmlinuz')].find(existsSync);
  if (image === undefined) throw new Error(`no image of Linux ${version} in ${root}`);
  return { version, image, modules };
}

function fetch(cache: string, suite: string, flavour: Flavour): Kernel {
  const fill = (apt: PrivateApt, unfinished: string) => {
    console.error(`vm: fetching the kernel ${flavour} of Debian's ${suite} (about 100 MB, once) ...`);
    unpack(
      kernelPackages(apt, flavour).map((name) => apt.download(name)),
      unfinished,
    );
    kernelIn(unfinished);
  };
  return kernelIn(fetched(cache, folderOf(suite, flavour), suite, fill, flavour.split('-')[0]));
}

const folderOf = (suite: string, flavour: Flavour) =>
  `debian-kernel-${suite}${flavour === 'amd64' ? '' : `-${flavour}`}`;

/**
 * The kernel in the cache, or a fresh one from the mirror.
 * @param suite whose newest kernel is wanted; without one, the first suite that can be had
 */
export function debianKernel(cache: string, suite?: string, flavour: Flavour = 'amd64'): Kernel {
  const wanted = suite === undefined ? suites : [suite];
  const failures: string[] = [];
  const isThere = (name: string) => existsSync(join(cache, folderOf(name, flavour)));
  for (const name of [...wanted].sort((a, b) => Number(isThere(b)) - Number(isThere(a)))) {
    try {
      return fetch(cache, name, flavour);
    } catch (error) {
      failures.push(`${name}: ${reason(error)}`);
    }
  }
  throw new HarnessError(`no kernel for the virtual machine (${failures.join('; ')}); ${ownNames}`);
}
