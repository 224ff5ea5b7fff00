/** The modules of one kernel: found by name, ordered by dependency, decompressed. Nothing needs installing. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { HarnessError, packagesHint } from './harness-error.ts';

/** Without these the guest cannot reach its root or open a device. */
export const requiredModules: readonly string[] = [
  ...['virtio_pci', 'virtio_console', '9pnet_virtio', '9p', 'overlay'],
  ...['vfio_iommu_type1', 'vfio-pci'],
];
/** Taken along where the kernel has them. */
export const optionalModules: readonly string[] = [
  'virtio-iommu',
  'udmabuf',
  'nvme',
  'crc32c_generic', // ext4 asks for it by another name
  'ext4',
  'virtio_blk',
  'uio_pci_generic',
  'uio_netx',
  'aer_inject',
];

export interface Module {
  readonly name: string;
  readonly content: Buffer;
  /** Names of the modules that must be loaded before this one. */
  readonly needs: readonly string[];
}

/** The kernel treats `-` and `_` in module names as the same character. */
const canonical = (name: string) => name.replaceAll('-', '_');

const decompressors: Record<string, readonly string[]> = { '.xz': ['xz', '-dc'], '.zst': ['zstd', '-dcq'] };

function readModule(file: string): Buffer {
  const suffix = /\.(xz|zst|gz)$/.exec(file)?.[0] ?? '';
  if (suffix === '') return readFileSync(file);
  if (suffix === '.gz') return gunzipSync(readFileSync(file));
  const [tool, ...args] = decompressors[suffix]!;
  try {
    return execFileSync(tool!, [...args, file], { maxBuffer: 1 << 28 });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw new HarnessError(`${tool} is needed to read ${file}; ${packagesHint}`);
  }
}

/** Dependencies as the module states them itself (section .modinfo, entries separated by NUL). */
function dependencies(content: Buffer): string[] {
  const list = /(?:^|\0)depends=([^\0]*)\0/.exec(content.toString('latin1'))?.[1] ?? '';
  return list
    .split(',')
    .filter((name) => name !== '')
    .map(canonical);
}

/** The modules that a kernel has as files, and those that are built into it. */
export class ModuleTree {
  readonly #files = new Map<string, string>();
  readonly #builtin: ReadonlySet<string>;

  /** @param folder `/lib/modules/<version>` of the kernel. */
  constructor(folder: string) {
    const kernel = join(folder, 'kernel');
    for (const file of existsSync(kernel) ? readdirSync(kernel, { recursive: true }) : []) {
      const match = /([^/]+)\.ko(?:\.(?:xz|zst|gz))?$/.exec(String(file));
      if (match) this.#files.set(canonical(match[1]!), join(kernel, String(file)));
    }
    const list = join(folder, 'modules.builtin');
    const lines = existsSync(list) ? readFileSync(list, 'utf8').split('\n') : [];
    this.#builtin = new Set(lines.map((line) => canonical(basename(line, '.ko'))));
  }

  /** Whether the kernel has it, as a module or built in. */
  has(name: string): boolean {
    return this.#files.has(canonical(name)) || this.#builtin.has(canonical(name));
  }

  /** The named modules and all they need, each after its dependencies. Names without a file are left out. */
  closure(names: readonly string[]): Module[] {
    const done = new Map<string, Module>();
    const visit = (name: string): void => {
      const file = this.#files.get(name);
      if (file === undefined || done.has(name)) return;
      const content = readModule(file);
      const needs = dependencies(content);
      needs.forEach(visit);
      done.set(name, { name, content, needs });
    };
    names.map(canonical).forEach(visit);
    return [...done.values()];
  }
}
