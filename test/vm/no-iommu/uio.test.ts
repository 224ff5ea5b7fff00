/** UIO on a real kernel: uio_pci_generic for interrupts, and a driver with a map (uio_netx) on plain memory. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  type Bar,
  dmaBitMask,
  openPciUnsafe,
  openUio,
  type PciFunction,
  PhysicalHugepages,
  type PlatformDevice,
} from '../../../lib/index.ts';
import { afterAll, afterEach, assert, beforeAll, beforeEach, describe, it } from '../../harness.ts';
import { device, refuses } from '../devices.ts';
import { EduParts } from '../edu-parts.ts';
import { bind, nodeOf, reserveHugepages } from '../uio.ts';

const RAISE = 0x60;
const ACKNOWLEDGE = 0x64;

const rejects = (wait: Promise<unknown>, code: string): Promise<void> =>
  assert.rejects(wait, (error: Error & { code?: string }) => error.code === code);

/** Turns of the event loop: what has arrived is delivered in them. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
}

describe('the interrupt of uio_pci_generic', () => {
  const address = device('USERDMA_TEST_EDU');
  let fn: PciFunction;
  let bar: Bar;
  let uio: PlatformDevice;

  beforeAll(() => void reserveHugepages(4));
  afterAll(() => {
    bind(address, undefined);
    reserveHugepages(0);
  });
  beforeEach(async () => {
    bind(address, 'uio_pci_generic');
    fn = await openPciUnsafe(address, { memory: new PhysicalHugepages() });
    bar = fn.bar(0);
    uio = openUio(nodeOf(address));
  });
  afterEach(() => {
    uio.close();
    fn.close();
  });

  const raise = (): void => bar.write32(RAISE, 1);
  const service = (): void => {
    bar.write32(ACKNOWLEDGE, 1);
    uio.interrupt.unmask();
  };

  it('arrives one for one, and none is lost', async () => {
    const { interrupt } = uio;
    for (let i = 1; i <= 200; i++) {
      raise();
      assert.equal(await interrupt.wait(), 1);
      service();
    }
    assert.equal(interrupt.count, 200);
  });

  it('stays masked until it is let fire again', async () => {
    const { interrupt } = uio;
    raise();
    await interrupt.wait();
    bar.write32(ACKNOWLEDGE, 1);
    raise();
    await settle();
    assert.equal(interrupt.count, 1);
    interrupt.unmask();
    assert.equal(await interrupt.wait(), 1);
    service();
    await settle();
    assert.equal(interrupt.count, 2);
  });

  it('counts what comes while nobody looks', async () => {
    const { interrupt } = uio;
    for (let i = 0; i < 5; i++) {
      raise();
      service();
    }
    assert.equal(await interrupt.wait(), 5);
    raise();
    await settle();
    assert.equal(interrupt.count, 6);
    assert.equal(await interrupt.wait(), 1);
    service();
  });

  it('does not count what came before it was armed', async () => {
    raise();
    await uio.interrupt.wait();
    service();
    uio.interrupt.close();
    raise(); // not masked: counted by the kernel
    bar.write32(ACKNOWLEDGE, 1);
    const { interrupt } = uio;
    await settle();
    assert.equal(interrupt.count, 0);
    raise();
    assert.equal(await interrupt.wait(), 1);
    service();
  });

  it('can be listened to, iterated and given up', async () => {
    const heard: number[] = [];
    const stop = uio.interrupt.listen((count) => heard.push(count));
    raise();
    for await (const count of uio.interrupt) {
      assert.equal(count, 1);
      service();
      if (heard.length === 3) break;
      raise();
    }
    assert.deepEqual(heard, [1, 1, 1]);
    stop();
    const given = new AbortController();
    const wait = uio.interrupt.wait({ signal: given.signal });
    given.abort(new Error('enough'));
    await assert.rejects(wait, /enough/);
  });

  it('is the same as the INTx of the function', async () => {
    const intx = fn.interrupts.intx();
    raise();
    assert.deepEqual([await intx.wait(), await uio.interrupt.wait()].length, 2);
    service();
    intx.close();
  });

  it('ends with the driver: waits are rejected, and nothing crashes', async () => {
    const { interrupt } = uio;
    const intx = fn.interrupts.intx();
    const waits = [interrupt.wait(), intx.wait()];
    bind(address, undefined);
    for (const wait of waits) await rejects(wait, 'ENODEV');
    await rejects(interrupt.wait(), 'ENODEV');
    refuses(() => interrupt.listen(() => {}), 'ENODEV');
    interrupt.close();
    refuses(() => uio.interrupt, 'ENODEV');
    refuses(() => openUio(uio.node), 'ENODEV');
    assert.equal(bar.read32(0), 0x0100_00ed, 'the registers are still mapped');
  });

  it('serves a driver that is given parts', async () => {
    using composed = openUio(uio.node, { dma: { memory: new PhysicalHugepages({ below: dmaBitMask(28) }) } });
    fn.setMaster();
    composed.dma.setMaskAndCoherent(dmaBitMask(28));
    const edu = new EduParts({ registers: bar, interrupt: composed.interrupt, dma: composed.dma });
    const sent = Uint8Array.from({ length: 2000 }, (_, i) => i % 249);
    assert.deepEqual(await edu.echo(sent), sent);
  });

  it('comes with the registers where the kernel hands them out', () => {
    assert.equal(uio.name, 'uio_pci_generic');
    if (uio.maps.length === 0) {
      refuses(() => uio.registers(0), 'EINVAL', 'openPciUnsafe'); // a kernel whose driver knows of no BARs
    } else {
      assert.deepEqual([uio.maps[0]!.size, uio.maps[0]!.offset], [bar.size, 0]);
      bar.write32(0x04, 1);
      assert.equal(uio.registers(0).read32(0x04), 0xffff_fffe);
    }
    refuses(() => uio.registers(3), 'EINVAL', 'has no map 3');
    refuses(() => uio.dma, 'EINVAL', 'dma: { memory }');
  });

  it('is found by name, when only one has it', () => {
    using named = openUio('uio_pci_generic');
    assert.equal(named.node, uio.node);
    const other = device('USERDMA_TEST_EDU_WIDE');
    bind(other, 'uio_pci_generic');
    refuses(() => openUio('uio_pci_generic'), 'EINVAL', uio.node, nodeOf(other));
    bind(other, undefined);
    refuses(() => openUio('uio77'), 'ENODEV', `${uio.node} (uio_pci_generic)`);
  });

  it('is for those who may open the node', () => {
    const child = fileURLToPath(new URL('../uio-child.js', import.meta.url));
    const output = execFileSync(process.execPath, [child, uio.node], { encoding: 'utf8' });
    assert.match(output, /^EACCES .*chown \S+ \/dev\/uio\d+.*SUBSYSTEM=="uio", OWNER="\S+"/);
  });

  it('cannot be used once closed', () => {
    const { interrupt } = uio;
    uio.close();
    uio.close();
    assert.equal(uio.closed, true);
    for (const use of [() => uio.interrupt, () => uio.dma, () => uio.registers(), () => interrupt.unmask()]) {
      refuses(use, 'ENODEV');
    }
  });
});

describe('a UIO device with registers', () => {
  const address = device('USERDMA_TEST_IVSHMEM');

  beforeAll(() => {
    bind(address, 'netx');
    reserveHugepages(4);
  });
  afterAll(() => {
    bind(address, undefined);
    reserveHugepages(0);
  });

  it('has them by map, at every width', () => {
    using uio = openUio('netx_plx');
    const [start] = readFileSync(`/sys/bus/pci/devices/${address}/resource`, 'utf8')
      .split('\n')[2]!
      .split(' ');
    assert.deepEqual(uio.maps, [{ index: 0, name: '', address: BigInt(start!), offset: 0, size: 2 ** 20 }]);
    const registers = uio.registers(0);
    assert.equal(uio.registers(), registers);
    assert.equal(registers.size, 2 ** 20);
    registers.write64(0x100, 0x0123_4567_89ab_cdefn);
    assert.equal(registers.read8(0x100), 0xef);
    assert.equal(registers.read16(0x102), 0x89ab);
    assert.equal(registers.read32(0x104), 0x0123_4567);
    registers.write8(0x107, 0xff);
    assert.equal(registers.read64HiLo(0x100), 0xff23_4567_89ab_cdefn);
    registers.write32(2 ** 20 - 4, 7);
    using again = openUio(uio.node);
    assert.equal(again.registers().read32(2 ** 20 - 4), 7);
    refuses(() => registers.read32(2 ** 20), 'EINVAL', 'map 0 of uio', 'outside its 1048576 bytes');
    refuses(() => registers.write64(0x104, 0n), 'EINVAL', 'misaligned');
    refuses(() => uio.registers(1), 'EINVAL', 'it has 0');
    uio.close();
    refuses(() => registers.read32(0), 'ENODEV');
  });

  it('may have no interrupt', () => {
    using uio = openUio('netx_plx');
    refuses(() => uio.interrupt, 'EINVAL', 'has no interrupt');
  });

  it('gets the DMA API with memory that it is given', () => {
    using uio = openUio('netx_plx', { dma: { memory: new PhysicalHugepages() } });
    assert.match(uio.dma.name, /^uio\d+ \(netx_plx\)$/);
    const ring = uio.dma.allocCoherent(4096);
    assert.ok(ring.dmaAddress > 0n);
    uio.close();
    assert.equal(ring.bytes.length, 0);
  });

  it('is its driver’s: the function cannot be opened around it', async () => {
    const memory = new PhysicalHugepages();
    await rejects(openPciUnsafe(address, { memory }), 'EBUSY');
    memory.close();
  });

  it('survives the end of its driver', () => {
    using uio = openUio('netx_plx');
    const registers = uio.registers();
    bind(address, undefined);
    registers.write32(0, 5);
    registers.read32(0);
    bind(address, 'netx');
  });
});
