/**
 * Memory from huge pages: there when the system has reserved some; when it has not, an error that says how, or ordinary
 * pages and a word about it.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Edu } from '../../examples/edu/driver.ts';
import { type HugePages, MemfdMemory, openPci } from '../../lib/index.ts';
import type { Type1Info } from '../../lib/native/vfio.ts';
import { skipWithout } from '../absent.ts';
import { awake } from '../edu/awake.ts';
import { afterAll, assert, describe, it } from '../harness.ts';
import { owned } from '../owned.ts';
import { device, refuses } from './devices.ts';
import { openSpace } from './space.ts';

const RESERVED = '/proc/sys/vm/nr_hugepages';
const KINDS = '/sys/kernel/mm/hugepages';
const GIGANTIC = `${KINDS}/hugepages-1048576kB`;
const MIB = 2 ** 20;
/** The default size: what one page of page table leads to in ordinary pages. 2 MiB, or 32 where they have 16 KiB. */
const HUGE = fact('Hugepagesize') * 1024;

function fact(name: string): number {
  return Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
}

function free(): number {
  return fact('HugePages_Free');
}

/** The sizes of which this machine has room for a few. */
function smallSizes(): number[] {
  const sizes = readdirSync(KINDS).map((name) => Number(/\d+/.exec(name)) * 1024);
  return sizes.filter((size) => size <= 32 * MIB);
}

/** Pages that the page tables of the IOMMU take. */
function tablePages(): number {
  writeFileSync('/proc/sys/vm/stat_refresh', '1');
  return Number(/^nr_iommu_pages (\d+)$/m.exec(readFileSync('/proc/vmstat', 'utf8'))?.[1]);
}

/** What it takes to map four huge pages: entries of the kernel's list, and pages of page tables. */
function costOfMapping(hugepages: HugePages): { mappings: number; tables: number } {
  const { space, native, container } = openSpace(device('USERDMA_TEST_EDU'));
  const memory = new MemfdMemory({ hugepages });
  try {
    const available = () => (native.vfioIommuInfo(container) as Type1Info).available!;
    const buffer = memory.allocate(4 * HUGE);
    const before = { available: available(), tables: tablePages() };
    space.map(8 * HUGE, buffer, 0, 4 * HUGE, 'read-write');
    return { mappings: before.available - available(), tables: tablePages() - before.tables };
  } finally {
    space.close();
    memory.close();
  }
}

describe('memory from huge pages', () => {
  afterAll(() => writeFileSync(RESERVED, '0'));

  for (const hugepages of [true, HUGE, 'prefer'] as const) {
    it(`moves bytes, and goes back when the function is closed (${hugepages})`, async () => {
      writeFileSync(RESERVED, '4');
      assert.equal(free(), 4);
      {
        using edu = await owned(openPci(device('USERDMA_TEST_EDU'), { hugepages }), (fn) => new Edu(fn));
        assert.equal(free(), 3, 'the transfer page is carved from one');
        const sent = Uint8Array.from({ length: 1000 }, (_, i) => i % 253);
        await edu.write(sent);
        assert.deepEqual(await edu.read(1000), sent);
        const large = edu.fn.dma.allocCoherent(2 * HUGE);
        assert.equal(free(), 1);
        large.free();
      }
      assert.equal(free(), 4);
    });
  }

  it('is mapped in huge pages by the IOMMU: one mapping, and hardly a page table', () => {
    skipWithout('page tables');
    writeFileSync(RESERVED, '4');
    assert.equal(free(), 4);
    const ordinary = costOfMapping(false);
    const huge = costOfMapping(HUGE);
    assert.deepEqual([ordinary.mappings, huge.mappings], [1, 1]);
    assert.ok(ordinary.tables >= 4, `${ordinary.tables} for ordinary pages`);
    assert.ok(huge.tables <= ordinary.tables - 4, `${huge.tables} for huge ones`);
  });

  it('comes in every size of the system, by number', () => {
    writeFileSync(RESERVED, '0');
    for (const size of smallSizes()) {
      const at = (name: string) => `${KINDS}/hugepages-${size / 1024}kB/${name}`;
      const left = () => Number(readFileSync(at('free_hugepages'), 'utf8'));
      // A region of memory has 2 MiB at least.
      const reserved = 2 * Math.ceil((2 * MIB) / size);
      writeFileSync(at('nr_hugepages'), String(reserved));
      const memory = new MemfdMemory({ hugepages: size });
      memory.allocate(size);
      assert.equal(left(), reserved / 2, `${size} bytes`);
      memory.close();
      assert.equal(left(), reserved, `${size} bytes`);
      writeFileSync(at('nr_hugepages'), '0');
      refuses(() => new MemfdMemory({ hugepages: size }).allocate(size), 'ENOMEM', at('nr_hugepages'));
    }
  });

  it('is refused when none are reserved, and the function can be opened without', async () => {
    writeFileSync(RESERVED, '0');
    {
      using fn = await openPci(device('USERDMA_TEST_EDU'), { hugepages: true });
      refuses(() => fn.dma.allocCoherent(4096), 'ENOMEM', 'vm.nr_hugepages');
    }
    {
      using fn = await openPci(device('USERDMA_TEST_EDU'), { hugepages: '2MiB' });
      const folder = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
      refuses(() => fn.dma.allocCoherent(3 * MIB), 'ENOMEM', '2 huge pages of 2 MiB wanted, 0 free', folder);
    }
    using edu = await owned(openPci(device('USERDMA_TEST_EDU')), (fn) => new Edu(fn));
    assert.equal(await awake(edu.factorial(4)), 24);
  });

  it('is refused in sizes that are not reserved, or that nobody has', async () => {
    const memory = new MemfdMemory({ hugepages: '1GiB' });
    if (existsSync(GIGANTIC)) refuses(() => memory.allocate(4096), 'ENOMEM', '1024 MiB', 'hugepagesz=1G');
    else refuses(() => memory.allocate(4096), 'ENODEV', '2048kB');
    memory.close();
    for (const hugepages of [
      '4MiB' as '2MiB',
      0,
      4096,
      3 * MIB,
      -2 * MIB,
      Number.NaN,
      Number.POSITIVE_INFINITY,
    ]) {
      refuses(() => new MemfdMemory({ hugepages }), 'EINVAL', `'2MiB'`);
      await assert.rejects(openPci(device('USERDMA_TEST_EDU'), { hugepages }), { code: 'EINVAL' });
    }
    refuses(() => new MemfdMemory({ hugepages: 4 * MIB }).allocate(1), 'ENODEV', '2048kB');
    (await openPci(device('USERDMA_TEST_EDU'))).close();
  });

  it('is made of ordinary pages where huge ones are only preferred, which is said once', async () => {
    writeFileSync(RESERVED, '2');
    const warnings: string[] = [];
    const listen = ({ message }: Error) => void warnings.push(message);
    process.on('warning', listen);
    const memory = new MemfdMemory({ hugepages: 'prefer' });
    memory.allocate(HUGE);
    const fallback = () => memory.fallback?.code;
    assert.equal(fallback(), undefined);
    memory.allocate(4 * HUGE);
    assert.equal(fallback(), 'ENOMEM');
    assert.equal(free(), 1);
    memory.allocate(HUGE);
    assert.equal(free(), 0, 'what is left is taken all the same');
    memory.allocate(2 * HUGE);
    memory.close();
    using edu = await owned(
      openPci(device('USERDMA_TEST_EDU'), { hugepages: 'prefer' }),
      (fn) => new Edu(fn),
    );
    writeFileSync(RESERVED, '0');
    edu.fn.dma.allocCoherent(2 * HUGE);
    await new Promise(setImmediate);
    process.off('warning', listen);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /ordinary pages are taken instead of huge ones.*vm\.nr_hugepages/);
  });
});
