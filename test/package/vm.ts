/** `userdma vm` of an installed package: a real driver on a device of QEMU through VFIO, and a disk that stays. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cell } from './cell.ts';
import { Project } from './project.ts';

const DRIVER = `
import { openPci } from 'userdma';
const fn = await openPci('0000:00:10.0');
if (fn.bar(0).read32(0) !== 0x010000ed) throw new Error('this is not edu');
if (fn.dma.allocCoherent(4096).bytes.length !== 4096) throw new Error('no memory');
fn.close();
console.log('works');
`;

export const virtualMachine: Cell = {
  name: 'userdma vm: a device of QEMU through VFIO, and a disk that stays',
  run(folder, tarball) {
    const project = new Project(folder);
    project.install(tarball);
    project.write('main.mjs', DRIVER);
    const devices = ['edu,addr=0x10', 'virtio-blk-pci,drive=disk0'].flatMap((text) => ['--device', text]);
    const options = ['--bind', '00:10.0', '--disk', 'disk.img', '--module', 'virtio_blk', '--out', 'out'];
    const command = 'node main.mjs && echo kept > /dev/vda && echo told > /run/userdma/result';
    project.works('npx', 'userdma', 'vm', ...devices, ...options, '--', 'sh', '-c', command);
    for (const [name, text] of [
      ['disk.img', 'kept'],
      ['out/result', 'told'],
    ] as const) {
      const found = readFileSync(join(folder, name)).toString('latin1', 0, text.length);
      if (found !== text) throw new Error(`${name} has ${JSON.stringify(found)}`);
    }
  },
};
