/** A folder that stands for a Linux machine: files of /sys, /dev and /proc. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export interface FakeFunction {
  readonly driver?: string;
  readonly group?: number;
  /** vendor, device, class */
  readonly ids?: readonly [string, string, string];
}

export class Tree {
  readonly root = mkdtempSync(join(tmpdir(), 'userdma-machine-'));

  remove(): void {
    rmSync(this.root, { recursive: true });
  }

  file(path: string, text = ''): void {
    mkdirSync(dirname(this.root + path), { recursive: true });
    writeFileSync(this.root + path, text);
  }

  link(path: string, to: string): void {
    mkdirSync(dirname(this.root + path), { recursive: true });
    symlinkSync(to, this.root + path);
  }

  pci(address: string, { driver, group, ids = ['0x1234', '0x11e8', '0x00ff00'] }: FakeFunction = {}): void {
    const folder = `/sys/bus/pci/devices/${address}`;
    this.file(`${folder}/vendor`, `${ids[0]}\n`);
    this.file(`${folder}/device`, `${ids[1]}\n`);
    this.file(`${folder}/class`, `${ids[2]}\n`);
    this.file(`${folder}/numa_node`, '-1\n');
    if (driver !== undefined) {
      mkdirSync(`${this.root}/sys/bus/pci/drivers/${driver}`, { recursive: true });
      this.link(`${folder}/driver`, `../../drivers/${driver}`);
    }
    if (group === undefined) return;
    this.link(`${folder}/iommu_group`, `../../../../kernel/iommu_groups/${group}`);
    this.file(`/sys/kernel/iommu_groups/${group}/devices/${address}`);
  }

  /** A machine on which nothing is in the way of a function that is bound to vfio-pci. */
  healthy(address: string): void {
    this.file('/proc/cmdline', 'quiet intel_iommu=on\n');
    this.file('/sys/class/iommu/dmar0/uevent');
    this.file('/dev/vfio/vfio');
    this.file('/dev/vfio/7');
    this.file('/sys/module/vfio_iommu_type1/uevent');
    this.pci(address, { driver: 'vfio-pci', group: 7 });
  }
}
