import { describe, expect, it } from 'vitest';
import { FaultParser, KernelLog, type MessageSource } from '../../lib/pci/vfio/kernel-log.ts';

const EDU = '0000:00:10.0';

function parse(message: string, address = EDU) {
  return new FaultParser(address).parse(message);
}

describe("the kernel's log of IOMMU faults", () => {
  it.each([
    ['DMA Write NO_PASID', 'write', '0x05', 'PTE Write access is not set'],
    ['DMA Read NO_PASID', 'read', '0x06', 'PTE Read access is not set'],
    ['DMA Write PASID 0x0', 'write', '0x85', 'SM: Write permission not set'],
  ])('is understood on Intel: %s', (what, access, code, reason) => {
    const line = `DMAR: [${what}] Request device [00:10.0] fault addr 0x600000 [fault reason ${code}] ${reason}`;
    expect(parse(line)).toEqual({ address: 0x600000n, size: 4096, access, reason });
  });

  it('is understood as older kernels write it', () => {
    const line =
      'DMAR: [DMA Read] Request device [00:10.0] PASID ffffffff fault addr fffe0000 [fault reason 06] PTE Read access is not set';
    expect(parse(line)).toMatchObject({ address: 0xfffe_0000n, access: 'read' });
  });

  it.each([
    `vfio-pci ${EDU}: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0001 address=0x600040 flags=0x0020]`,
    `AMD-Vi: Event logged [IO_PAGE_FAULT device=${EDU} domain=0x0001 address=0x600040 flags=0x0020]`,
    'AMD-Vi: Event logged [IO_PAGE_FAULT device=00:10.0 domain=0x0001 address=0x600040 flags=0x0030]',
  ])('is understood on AMD: %s', (line) => {
    expect(parse(line)).toEqual({ address: 0x600040n, size: 1, access: 'write', reason: 'IO_PAGE_FAULT' });
    expect(parse(line.replace(/flags=0x00../, 'flags=0x0000'))).toMatchObject({ access: 'read' });
  });

  it.each([
    ['[W]', 'write'],
    ['[R]', 'read'],
    ['[]', 'unknown'],
  ])('is understood on virtio-iommu: %s', (flags, access) => {
    const line = `virtio_iommu virtio0: page fault from EP 128 at 0x600004 ${flags}`;
    expect(parse(line)).toEqual({ address: 0x600004n, size: 1, access, reason: 'page fault' });
  });

  it('is understood on SMMUv3, over five lines', () => {
    const parser = new FaultParser(EDU);
    const smmu = (text: string) => parser.parse(`arm-smmu-v3 9050000.smmuv3: ${text}`);
    const event = (head: string, details: string) => {
      expect(smmu(`event 0x13 received:`)).toBeUndefined();
      expect(smmu(`\t${head}`)).toBeUndefined();
      expect(smmu(`\t${details}`)).toBeUndefined();
      expect(smmu('\t0x0000000000600010')).toBeUndefined();
      return smmu('\t0x0000000000000000');
    };
    expect(event('0x0000008000000013', '0x0000020000000000')).toEqual({
      address: 0x600010n,
      size: 1,
      access: 'write',
      reason: 'F_PERMISSION',
    });
    expect(event('0x0000008000000010', '0x0000020800000000')).toMatchObject({
      access: 'read',
      reason: 'F_TRANSLATION',
    });
    expect(event('0x0000008800000010', '0x0000020800000000'), 'another stream').toBeUndefined();
    expect(event('0x0000008000000002', '0x0000000000000000'), 'not of a DMA').toBeUndefined();
  });

  it('has the faults of other functions too, which are left out', () => {
    expect(parse('virtio_iommu virtio0: page fault from EP 129 at 0x600004 [W]')).toBeUndefined();
    const line = (device: string) =>
      `DMAR: [DMA Write NO_PASID] Request device [${device}] fault addr 0x0 [fault reason 0x05] no`;
    expect(parse(line('00:10.1'))).toBeUndefined();
    expect(parse(line('0f:1f.7'), '0000:0f:1f.7')).toBeDefined();
    expect(
      parse(`vfio-pci 0000:00:11.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x1 address=0x0 flags=0x0]`),
    ).toBeUndefined();
  });

  it('has much else', () => {
    for (const line of [
      'DMAR: DRHD: handling fault status reg 2',
      '',
      'arm-smmu-v3 x: \t0x0000000000000001',
    ]) {
      expect(parse(line)).toBeUndefined();
    }
  });

  it('is read to its end each time, and from where it was left', () => {
    const messages = ['nothing', 'virtio_iommu virtio0: page fault from EP 128 at 0x1000 [W]'];
    let closed = 0;
    const source: MessageSource = { next: () => messages.shift(), close: () => void closed++ };
    const log = new KernelLog(EDU, source);
    expect(log.faults().map(({ address }) => address)).toEqual([0x1000n]);
    expect(log.faults()).toEqual([]);
    messages.push('virtio_iommu virtio0: page fault from EP 128 at 0x2000 []');
    expect(log.faults().map(({ address }) => address)).toEqual([0x2000n]);
    log.close();
    expect(closed).toBe(1);
  });

  it('is silent where it may not be read', () => {
    const log = new KernelLog(EDU, undefined);
    expect(Array.isArray(log.faults())).toBe(true);
    log.close();
    log.close();
  });
});
