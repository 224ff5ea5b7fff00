/** Huge pages (hugetlbfs): the kinds that a program can ask for, and the reasons if there are none. */

import { readdirSync, readFileSync } from 'node:fs';
import { argumentError, type Check } from '../arguments.ts';
import { DmaError, errnoName } from '../errors.ts';

/**
 * - false: ordinary pages.
 * - true: huge pages of the system's default size. A size, as a number of bytes for those without a name: huge pages of
 *   that size. Both are strict: an allocation fails if too few are reserved.
 * - 'prefer': the default size while there are free ones, then ordinary pages. The library reports that it fell back.
 */
export type HugePages = boolean | '2MiB' | '1GiB' | number | 'prefer';

const SIZES: Readonly<Record<'2MiB' | '1GiB', number>> = { '2MiB': 2 ** 21, '1GiB': 2 ** 30 };
/** No processor has smaller ones, and ordinary pages are up to this size. */
const SMALLEST = 2 ** 16;
const FOLDER = '/sys/kernel/mm/hugepages';

/** The argument of the native functions for a kind of pages. @throws DmaError EINVAL not a kind of pages */
export function pageKind(hugepages: HugePages): boolean | number {
  checkHugePages(hugepages, 'option hugepages');
  if (typeof hugepages === 'boolean' || typeof hugepages === 'number') return hugepages;
  return hugepages === 'prefer' ? true : SIZES[hugepages];
}

export const checkHugePages: Check = (value, what) => {
  if (typeof value === 'boolean' || value === 'prefer') return;
  if (typeof value === 'string' && Object.hasOwn(SIZES, value)) return;
  if (
    typeof value === 'number' &&
    value >= SMALLEST &&
    value <= 2 ** 40 &&
    Number.isInteger(Math.log2(value))
  )
    return;
  const names = Object.keys(SIZES).map((name) => `'${name}'`);
  throw argumentError(
    what,
    value,
    `pass true or false or ${names.join(' or ')} or 'prefer' or a power of two of bytes`,
  );
};

/** e.g. `2 MiB`, `64 KiB`. */
function sizeText(bytes: number): string {
  return bytes < 2 ** 20 ? `${bytes / 1024} KiB` : `${bytes / 2 ** 20} MiB`;
}

/**
 * Why there is no region of `bytes` in huge pages: none are reserved (-ENOMEM), or the system has no such size
 * (-ENODEV).
 */
export function noHugePages(bytes: number, kind: boolean | number, errno: number): DmaError {
  const code = errnoName(errno);
  const syscall = 'memfd_create';
  if (code === 'ENODEV') {
    const what = typeof kind === 'number' ? `huge pages of ${sizeText(kind)}` : 'huge pages';
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
  const boot = kind >= 2 ** 30 ? `, or at boot with hugepagesz=${kind / 2 ** 30}G hugepages=N` : '';
  return new DmaError(code, `${needed} huge pages of ${sizeText(kind)} wanted, ${freePages(folder)} free`, {
    syscall,
    remedy: `reserve some (write how many to ${folder}/nr_hugepages${boot}) or open without hugepages`,
  });
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
