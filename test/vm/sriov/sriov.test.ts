/** Virtual functions of QEMU's NVMe controller: created, opened with their token, used by the driver, and removed. */
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { NvmeController } from '../../../examples/nvme/controller.ts';
import { bindPci, disableSriov, enableSriov, openPci, readSriov } from '../../../lib/index.ts';
import { deviceOrSkip } from '../../absent.ts';
import { afterEach, assert, beforeEach, describe, it } from '../../harness.ts';
import { userdma } from '../command-line.ts';
import { device, rejects } from '../devices.ts';
import { bind } from '../uio.ts';

const PF = device('USERDMA_TEST_SRIOV');
const NIC = device('USERDMA_TEST_EDU');
const PARAMETER = '/sys/module/vfio_pci/parameters/enable_sriov';
const TOTAL = 4;
/** Virtualization Management (NVMe 1.4, 5.22). */
const VIRTUALIZATION = 0x1c;
const ACTION = { primaryFlexible: 1, offline: 7, assign: 8, online: 9 } as const;
const RESOURCE = { queues: 0, interrupts: 1 } as const;

describe('virtual functions', () => {
  beforeEach(async () => {
    writeFileSync(PARAMETER, '1');
    await disableSriov(PF);
  });
  afterEach(() => disableSriov(PF));

  it('are created and removed', async () => {
    assert.deepEqual(readSriov(PF), { totalVfs: TOTAL, numVfs: 0, virtualFunctions: [] });
    const addresses = await enableSriov(PF, 2);
    assert.equal(addresses.length, 2);
    assert.deepEqual(readSriov(PF), { totalVfs: TOTAL, numVfs: 2, virtualFunctions: addresses });
    await rejects(enableSriov(PF, 3), 'EBUSY', 'has 2 virtual functions', 'disableSriov');
    await disableSriov(PF);
    assert.deepEqual(readSriov(PF)!.virtualFunctions, []);
    assert.equal((await enableSriov(PF, TOTAL)).length, TOTAL);
  });

  it('are created and removed by the command', async () => {
    const shown = await userdma('sriov', PF, '2');
    assert.deepEqual([shown.status, shown.stderr], [0, '']);
    assert.match(shown.stdout, new RegExp(`^${PF}: 2 of ${TOTAL} virtual functions\n`));
    const { stdout } = await userdma('sriov', PF, '--json');
    assert.deepEqual(JSON.parse(stdout), readSriov(PF));
    assert.match((await userdma('sriov', PF, '0')).stdout, /: 0 of 4 /);
    const { status, stderr } = await userdma('sriov', PF, '9');
    assert.equal(status, 2);
    assert.match(stderr, /has no 9 virtual functions; pass 1 to 4/);
  });

  it('are refused where there are none, or not so many', async () => {
    for (const count of [0, -1, 1.5, 'x', undefined])
      await rejects(enableSriov(PF, count as number), 'EINVAL');
    await rejects(enableSriov(PF, TOTAL + 1), 'EINVAL', 'has no 5 virtual functions', 'pass 1 to 4');
    await rejects(enableSriov(NIC, 1), 'EOPNOTSUPP', 'capability SR-IOV');
    await rejects(enableSriov('0000:00:1e.7', 1), 'ENODEV');
    const [vf] = await enableSriov(PF, 1);
    await rejects(enableSriov(vf!, 1), 'EOPNOTSUPP', `one itself, of ${PF}`);
    await disableSriov(PF);
    writeFileSync(PARAMETER, '0');
    await rejects(enableSriov(PF, 1), 'EOPNOTSUPP', /vfio-pci.* creates no/, `echo 1 > ${PARAMETER}`);
    bind(PF, undefined);
    await rejects(enableSriov(PF, 1), 'EOPNOTSUPP', /none.* creates no/, 'bind it to');
    bind(PF, 'vfio-pci');
  });

  for (const iommu of ['iommufd', 'container'] as const) {
    it(`are opened with the token of their physical function: ${iommu}`, async () => {
      const vfToken = randomUUID();
      // In this order: the kernel resets a function that is opened, and QEMU's virtual ones do not outlive that.
      using physical = await openPci(PF, { vfToken, iommu });
      const [first, second] = await enableSriov(PF, 2);
      await rejects(openPci(first!, { iommu }), 'EACCES', 'with a token only', PF);
      await rejects(openPci(first!, { iommu, vfToken: randomUUID() }), 'EACCES', 'another token', PF);
      using vf = await openPci(first!, { vfToken, iommu });
      using other = await openPci(second!, { vfToken, iommu });
      assert.deepEqual(
        [vf.domain!.name, vf.config.classCode],
        [iommu === 'iommufd' ? iommu : 'type1', 0x010802],
      );
      // A controller that has no resources yet reads as zeros.
      assert.equal(vf.bar(0).read32(8), 0);
      // The physical function may not change hands while they are in use.
      physical.close();
      await rejects(openPci(PF, { iommu }), 'EACCES', 'its virtual functions');
      await rejects(openPci(PF, { iommu, vfToken: randomUUID() }), 'EACCES');
      (await openPci(PF, { iommu, vfToken })).close();
      other.close();
    });

    it(`take no token where their physical function is not bound to vfio-pci: ${iommu}`, async () => {
      await rejects(
        openPci(NIC, { iommu, vfToken: randomUUID() }),
        'EINVAL',
        'takes no token',
        'leave vfToken out',
      );
      bind(PF, 'nvme');
      try {
        const [vf] = await enableSriov(PF, 1);
        bindPci(vf!);
        await rejects(openPci(vf!, { iommu, vfToken: randomUUID() }), 'EINVAL', 'takes no token');
        using fn = await openPci(vf!, { iommu });
        assert.equal(fn.config.classCode, 0x010802);
        fn.close();
        await disableSriov(PF);
      } finally {
        bind(PF, 'vfio-pci');
      }
    });
  }

  it('are no token: EINVAL', async () => {
    for (const vfToken of ['', 'x', randomUUID().slice(1), `${randomUUID()}0`, 7]) {
      await rejects(openPci(PF, { vfToken: vfToken as string }), 'EINVAL', 'UUID');
    }
  });

  it('that are open are asked back when they are removed', async () => {
    const vfToken = randomUUID();
    const [first] = await enableSriov(PF, 1);
    using physical = await openPci(PF, { vfToken });
    using vf = await openPci(first!, { vfToken });
    let asked = 0;
    vf.onReleaseRequest(() => void asked++);
    await disableSriov(PF);
    assert.deepEqual([asked, vf.gone.aborted, physical.gone.aborted], [1, true, false]);
  });

  it('work as disks: one writes, the physical function reads', async () => {
    const vfToken = randomUUID();
    await using physical = await NvmeController.open(await openPci(PF, { vfToken }));
    const manage = (controller: number, action: number, resource: number, count = 0) =>
      physical.admin.execute(
        { opcode: VIRTUALIZATION, dword10: action | (resource << 8) | (controller << 16), dword11: count },
        'Virtualization Management',
      );
    // The physical function gives its flexible resources away, which holds from its next reset on.
    for (const kind of Object.values(RESOURCE)) await manage(0, ACTION.primaryFlexible, kind, 0);
    await physical.reset();
    const [first] = await enableSriov(PF, 1);
    await manage(1, ACTION.assign, RESOURCE.queues, 2);
    await manage(1, ACTION.assign, RESOURCE.interrupts, 1);
    await manage(1, ACTION.online, 0);
    await using virtual = await NvmeController.open(await openPci(first!, { vfToken }));
    const mine = await virtual.namespace(1);
    const theirs = await physical.namespace(1);
    const bytes = Uint8Array.from({ length: 8192 }, (_, i) => (i * 7) & 0xff);
    await mine.write(100, bytes);
    const read = new Uint8Array(8192);
    await theirs.read(100, read);
    assert.deepEqual(read, bytes);
  });
});

describe('virtual functions of a network card', () => {
  const VFS = 8;
  const address = (): string => deviceOrSkip('USERDMA_TEST_IGB');

  it('are opened with the token, and have registers and interrupts of their own', async () => {
    const igb = address();
    writeFileSync(PARAMETER, '1');
    const vfToken = randomUUID();
    using physical = await openPci(igb, { vfToken });
    assert.equal(readSriov(igb)!.totalVfs, VFS);
    const addresses = await enableSriov(igb, VFS);
    assert.equal(addresses.length, VFS);
    await rejects(openPci(addresses[0]!), 'EACCES', igb);
    for (const one of [addresses[0]!, addresses[VFS - 1]!]) {
      using vf = await openPci(one, { vfToken });
      assert.equal(vf.config.classCode, physical.config.classCode);
      assert.ok(vf.interrupts.limit('msix') >= 1);
      using vector = vf.interrupts.msix(0);
      vector.trigger();
      assert.equal(await vector.wait(), 1);
      assert.notEqual(vf.bar(0).read32(8), 0xffff_ffff, 'status');
      assert.equal(vf.reset().kind, 'function');
    }
    await disableSriov(igb);
  });
});
