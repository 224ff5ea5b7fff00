/** Huge pages (hugetlbfs): the kinds that a program can ask for, and the reasons if there are none. */

import { readdirSync, readFileSync } from 'node:fs';
import { oneOf } from '../arguments.ts';
import { DmaError, errnoName } from '../errors.ts';

/**
 * - false: ordinary pages.
 * - true: huge pages of the system's default size. A size: huge pages of that size. Both are strict: an allocation
 *   fails if too few are reserved.
 * - 'prefer': the default size while there are free ones, then ordinary pages. The library reports that it fell back.
 */
export type HugePages = boolean | '2MiB' | '1GiB' | 'prefer';

const SIZES: Readonly<Record<'2MiB' | '1GiB', number>> = { '2MiB': 2 ** 21, '1GiB': 2 ** 30 };
const FOLDER = '/sys/kernel/mm/hugepages';

/** The argument of the native functions for a kind of pages. @throws DmaError EINVAL not a kind of pages */
export function pageKind(hugepages: HugePages): boolean | number {
  checkHugePages(hugepages, 'option hugepages');
  if (typeof hugepages === 'boolean') return hugepages;
  return hugepages === 'prefer' ? true : SIZES[hugepages];
}

export const checkHugePages = oneOf(true, false, '2MiB', '1GiB', 'prefer');

/**
 * Why there is no region of `bytes` in huge pages: none are reserved (-ENOMEM), or the system has no such size
 * (-ENODEV).
 */
export function noHugePages(bytes: number, kind: boolean | number, errno: number): DmaError {
  const code = errnoName(errno);
  const syscall = 'memfd_create';
  if (code === 'ENODEV') {
    const what = typeof kind === 'number' ? `huge pages of ${kind / 2 ** 20} MiB` : 'huge pages';
    const sizes = sizesOfSystem();
    return new DmaError(code, `this system has no ${what}`, {
      syscall,
      remedy:
        sizes.length === 0
          ? 'open without hugepages'
          : `it has pages of ${sizes.join(', ')}, or open without`,
    });
  }
  if (typeof kind === 'boolean') {
    return new DmaError(code, `no huge pages for ${bytes} bytes`, {
      syscall,
      remedy: 'reserve some (sysctl vm.nr_hugepages=N) or open without hugepages',
    });
  }
  const folder = `${FOLDER}/hugepages-${kind / 1024}kB`;
  const needed = Math.ceil(bytes / kind);
  const boot = kind >= 2 ** 30 ? ', or at boot with hugepagesz=1G hugepages=N' : '';
  return new DmaError(
    code,
    `${needed} huge pages of ${kind / 2 ** 20} MiB wanted, ${freePages(folder)} free`,
    {
      syscall,
      remedy: `reserve some (write how many to ${folder}/nr_hugepages${boot}) or open without hugepages`,
    },
  );
}

/** e.g. `2048kB`. */
function sizesOfSystem(): string[] {
  try {
    return readdirSync(FOLDER).map((name) => name.replace('hugepages-', ''));
  } catch {
    return [];
  }
}

function freePages(folder: string): string {
  try {
    return readFileSync(`${folder}/free_hugepages`, 'utf8').trim();
  } catch {
    return 'none';
  }
}
