/**
 * Memory from huge pages: there when the system has reserved some; when it has not, an error that says how, or ordinary
 * pages and a word about it.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Edu } from '../../examples/edu/driver.ts';
import { type HugePages, MemfdMemory, openPci } from '../../lib/index.ts';
import type { Type1Info } from '../../lib/native/vfio.ts';
import { awake } from '../edu/awake.ts';
import { afterAll, assert, describe, it } from '../harness.ts';
import { owned } from '../owned.ts';
import { device, refuses } from './devices.ts';
import { openSpace } from './space.ts';

const RESERVED = '/proc/sys/vm/nr_hugepages';
const GIGANTIC = '/sys/kernel/mm/hugepages/hugepages-1048576kB';
const MIB = 2 ** 20;

function free(): number {
  return Number(/HugePages_Free:\s*(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
}

/** Pages that the page tables of the IOMMU take. */
function tablePages(): number {
  writeFileSync('/proc/sys/vm/stat_refresh', '1');
  return Number(/^nr_iommu_pages (\d+)$/m.exec(readFileSync('/proc/vmstat', 'utf8'))?.[1]);
}

/** What it takes to map 32 MiB: entries of the kernel's list, and pages of page tables. */
function costOfMapping(hugepages: HugePages): { mappings: number; tables: number } {
  const { space, native, container } = openSpace(device('USERDMA_TEST_EDU'));
  const memory = new MemfdMemory({ hugepages });
  try {
    const available = () => (native.vfioIommuInfo(container) as Type1Info).available!;
    const buffer = memory.allocate(32 * MIB);
    const before = { available: available(), tables: tablePages() };
    space.map(64 * MIB, buffer, 0, 32 * MIB, 'read-write');
    return { mappings: before.available - available(), tables: tablePages() - before.tables };
  } finally {
    space.close();
    memory.close();
  }
}

describe('memory from huge pages', () => {
  afterAll(() => writeFileSync(RESERVED, '0'));

  for (const hugepages of [true, '2MiB', 'prefer'] as const) {
    it(`moves bytes, and goes back when the function is closed (${hugepages})`, async () => {
      writeFileSync(RESERVED, '4');
      assert.equal(free(), 4);
      {
        using edu = await owned(openPci(device('USERDMA_TEST_EDU'), { hugepages }), (fn) => new Edu(fn));
        assert.equal(free(), 3, 'the transfer page is carved from one');
        const sent = Uint8Array.from({ length: 1000 }, (_, i) => i % 253);
        await edu.write(sent);
        assert.deepEqual(await edu.read(1000), sent);
        const large = edu.fn.dma.allocCoherent(4 * MIB);
        assert.equal(free(), 1);
        large.free();
      }
      assert.equal(free(), 4);
    });
  }

  it('is mapped in pages of 2 MiB by the IOMMU: one mapping, and hardly a page table', () => {
    writeFileSync(RESERVED, '16');
    assert.equal(free(), 16);
    const ordinary = costOfMapping(false);
    const huge = costOfMapping('2MiB');
    assert.deepEqual([ordinary.mappings, huge.mappings], [1, 1]);
    // A page of page table leads to 2 MiB in pages of 4 KiB.
    assert.ok(ordinary.tables >= 16, `${ordinary.tables} for ordinary pages`);
    assert.ok(huge.tables <= ordinary.tables - 16, `${huge.tables} for huge ones`);
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
    const hugepages = '4MiB' as '2MiB';
    refuses(() => new MemfdMemory({ hugepages }), 'EINVAL', `'2MiB'`);
    await assert.rejects(openPci(device('USERDMA_TEST_EDU'), { hugepages }), { code: 'EINVAL' });
    (await openPci(device('USERDMA_TEST_EDU'))).close();
  });

  it('is made of ordinary pages where huge ones are only preferred, which is said once', async () => {
    writeFileSync(RESERVED, '2');
    const warnings: string[] = [];
    const listen = ({ message }: Error) => void warnings.push(message);
    process.on('warning', listen);
    const memory = new MemfdMemory({ hugepages: 'prefer' });
    memory.allocate(2 * MIB);
    const fallback = () => memory.fallback?.code;
    assert.equal(fallback(), undefined);
    memory.allocate(8 * MIB);
    assert.equal(fallback(), 'ENOMEM');
    assert.equal(free(), 1);
    memory.allocate(2 * MIB);
    assert.equal(free(), 0, 'what is left is taken all the same');
    memory.allocate(64 * MIB);
    memory.close();
    using edu = await owned(
      openPci(device('USERDMA_TEST_EDU'), { hugepages: 'prefer' }),
      (fn) => new Edu(fn),
    );
    writeFileSync(RESERVED, '0');
    edu.fn.dma.allocCoherent(16 * MIB);
    await new Promise(setImmediate);
    process.off('warning', listen);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /ordinary pages are taken instead of huge ones.*vm\.nr_hugepages/);
  });
});
