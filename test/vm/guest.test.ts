/** The machine itself: everything the other tests of this folder take for granted. */
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { assert, describe, it } from '../harness.ts';
import { device } from './devices.ts';

const sysfs = (address: string) => `/sys/bus/pci/devices/${address}`;
const driver = (address: string) => basename(readlinkSync(`${sysfs(address)}/driver`));
const group = (address: string) => basename(readlinkSync(`${sysfs(address)}/iommu_group`));
const id = (address: string) => readFileSync(`${sysfs(address)}/device`, 'utf8').trim();

describe('the virtual machine', () => {
  it('runs this Node.js on one CPU, in the checkout', () => {
    assert.equal(availableParallelism(), 1);
    assert.ok(existsSync('package.json'));
  });

  it('lets a program write anywhere without touching the host', () => {
    writeFileSync('written-in-the-guest', 'x');
    assert.equal(readFileSync('written-in-the-guest', 'utf8'), 'x');
  });

  it('has VFIO', () => {
    assert.ok(existsSync('/dev/vfio/vfio'));
  });

  for (const variable of ['USERDMA_TEST_EDU', 'USERDMA_TEST_EDU_WIDE']) {
    it(`has ${variable} bound to vfio-pci, alone in its group`, () => {
      const edu = device(variable);
      assert.equal(id(edu), '0x11e8');
      assert.equal(driver(edu), 'vfio-pci');
      assert.deepEqual(readdirSync(`${sysfs(edu)}/iommu_group/devices`), [edu]);
      assert.ok(existsSync(`/dev/vfio/${group(edu)}`));
    });
  }

  it('has a group that a driver of the kernel shares', () => {
    const edu = device('USERDMA_TEST_EDU_SHARED');
    const sibling = device('USERDMA_TEST_SIBLING');
    assert.equal(id(edu), '0x11e8');
    assert.equal(driver(edu), 'vfio-pci');
    assert.equal(driver(sibling), 'virtio-pci');
    assert.equal(group(edu), group(sibling));
  });
});
