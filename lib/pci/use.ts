/** The uses that this machine has for a PCI function: mounted disks, swap, its way to the network, its screen. */
import { realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { linkTarget, listFolder, readText } from '../files.ts';
import { DEVICES } from './facts.ts';

/**
 * Sentences, each a reason to leave the function with its driver; empty if there is no reason.
 * @param root prefix of /sys and /proc
 */
export function usesOf(address: string, root = ''): string[] {
  return [...diskUses(address, root), ...networkUses(address, root), ...displayUses(address, root)];
}

function diskUses(address: string, root: string): string[] {
  const mounts = (readText(`${root}/proc/self/mountinfo`) ?? '').split('\n').map((line) => line.split(' '));
  const swaps = (readText(`${root}/proc/swaps`) ?? '').split('\n').map((line) => line.split(/\s+/)[0]);
  return blockDevices(address, root).flatMap((name) => {
    const number = readText(`${root}/sys/class/block/${name}/dev`)?.trim();
    // The number of the file system itself. Some file systems invent that number (btrfs); for those, the name
    // after the dash.
    const mounted = mounts.filter((words) => {
      const source = words[words.indexOf('-') + 2];
      return number !== undefined && (words[2] === number || source === `/dev/${name}`);
    });
    return [
      ...mounted.map((words) => `its disk ${name} is mounted at ${words[4]}`),
      ...(swaps.includes(`/dev/${name}`) ? [`its disk ${name} is swapped on`] : []),
    ];
  });
}

/** Disks and partitions of the function, and the block devices that are built from them: device mapper, RAID. */
function blockDevices(address: string, root: string): string[] {
  const folder = `${root}/sys/class/block`;
  const subsystems = nvmeSubsystems(address, root);
  const own = listFolder(folder).filter((name) => {
    const path = pathOf(`${folder}/${name}`);
    return path.includes(`/${address}/`) || subsystems.some((subsystem) => path.includes(`/${subsystem}/`));
  });
  const all = new Set(own);
  for (const name of all) for (const holder of listFolder(`${folder}/${name}/holders`)) all.add(holder);
  return [...all];
}

/** An NVMe controller that may have several paths has its disks under its subsystem, not under the controller. */
function nvmeSubsystems(address: string, root: string): string[] {
  const controllers = listFolder(`${root}${DEVICES}/${address}/nvme`);
  const folder = `${root}/sys/class/nvme-subsystem`;
  return listFolder(folder).filter((name) =>
    listFolder(`${folder}/${name}`).some((entry) => controllers.includes(entry)),
  );
}

function networkUses(address: string, root: string): string[] {
  const own = listFolder(`${root}${DEVICES}/${address}/net`).flatMap((name) => {
    const above = linkTarget(`${root}/sys/class/net/${name}/master`);
    return above === undefined ? [name] : [name, basename(above)];
  });
  const routes = defaultRoutes(root);
  const used = own.find((name) => routes.includes(name));
  if (used === undefined || routes.some((name) => !own.includes(name))) return [];
  return [`the only default route of this machine goes through its network interface ${used}`];
}

function defaultRoutes(root: string): string[] {
  const v4 = (readText(`${root}/proc/net/route`) ?? '').split('\n').map((line) => line.split(/\s+/));
  const v6 = (readText(`${root}/proc/net/ipv6_route`) ?? '')
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  return [
    ...v4.filter((words) => words[1] === '00000000' && words[7] === '00000000').map((words) => words[0]!),
    ...v6
      .filter((words) => /^0{32}$/.test(words[0]!) && words[1] === '00' && words[9] !== 'lo')
      .map((words) => words[9]!),
  ];
}

function displayUses(address: string, root: string): string[] {
  const folder = `${root}${DEVICES}/${address}`;
  const screens = listFolder(`${folder}/drm`).flatMap((card) =>
    listFolder(`${folder}/drm/${card}`).filter(
      (name) => readText(`${folder}/drm/${card}/${name}/enabled`)?.trim() === 'enabled',
    ),
  );
  const console = listFolder(`${folder}/graphics`);
  return [...screens, ...console].map((name) => `its display ${name} is in use`);
}

function pathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return '';
  }
}
