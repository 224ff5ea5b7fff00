/**
 * The facts about UIO devices (Documentation/driver-api/uio-howto.rst), read from /sys/class/uio. `root` is a prefix
 * for every absolute path, so that a recorded tree can stand for a machine.
 */
import { existsSync } from 'node:fs';
import { quote } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { listFolder, readText } from '../files.ts';

/** A piece of memory that the device's kernel driver offers, usually registers. */
export interface UioMap {
  /** The K of `mapK`. */
  readonly index: number;
  /** The name that the driver gave it; empty if it gave none. */
  readonly name: string;
  /** The physical address of its first page. */
  readonly address: bigint;
  /** The offset of the device in its first page, in bytes. */
  readonly offset: number;
  /**
   * The bytes from there on, as the driver reports them. Most drivers count to the end of a page, even if the device
   * is smaller.
   */
  readonly size: number;
}

export interface UioFacts {
  /** The name of the node in /dev, e.g. `uio0`. */
  readonly node: string;
  /** The name that the driver gave it. It need not be unique. */
  readonly name: string;
  readonly maps: readonly UioMap[];
}

export const UIO_CLASS = '/sys/class/uio';

/**
 * @param target a node, e.g. `uio0`, or the name of a device
 * @throws DmaError EINVAL several have this name · ENODEV none has it · EIO a value in /sys cannot be right
 */
export function findUio(target: string, root = ''): UioFacts {
  const nodes = listFolder(root + UIO_CLASS);
  const present = nodes.map((node) => ({ node, name: nameOf(node, root) }));
  const exact = present.find(({ node }) => node === target);
  // If the driver gave a device no name, the device cannot be found by its name.
  const named = target === '' ? [] : present.filter(({ name }) => name === target);
  const matches = exact === undefined ? named : [exact];
  const [found] = matches;
  if (found === undefined) throw absent(target, present);
  if (matches.length > 1) {
    throw new DmaError('EINVAL', `${matches.length} UIO devices are called ${target}`, {
      remedy: `say which: ${matches.map(({ node }) => node).join(', ')}`,
    });
  }
  return { ...found, maps: mapsOf(found.node, root) };
}

/**
 * The number of interrupts since the driver of the device was bound, modulo 2^32.
 * @throws DmaError ENODEV the device is gone · EIO a value in /sys cannot be right
 */
export function eventCount(node: string, root = ''): number {
  const folder = `${root}${UIO_CLASS}/${node}`;
  if (existsSync(folder)) return parseNumber(`${folder}/event`, 2 ** 32 - 1);
  throw new DmaError('ENODEV', `${node} is gone`, {
    remedy: 'close it; open it again when the device is back and its driver bound',
  });
}

function nameOf(node: string, root: string): string {
  return readText(`${root}${UIO_CLASS}/${node}/name`)?.trim() ?? '';
}

function mapsOf(node: string, root: string): UioMap[] {
  const folder = `${root}${UIO_CLASS}/${node}/maps`;
  return listFolder(folder)
    .flatMap((entry) => {
      const index = /^map(\d+)$/.exec(entry)?.[1];
      return index === undefined ? [] : [readMap(Number(index), `${folder}/${entry}`)];
    })
    .sort((a, b) => a.index - b.index);
}

/** If the device does not begin at the start of a page, the kernel counts the part before it as part of the map. */
function readMap(index: number, folder: string): UioMap {
  const whole = parseNumber(`${folder}/size`);
  const offset = parseNumber(`${folder}/offset`);
  if (offset >= whole) throw malformed(`${folder}/offset`, `0x${offset.toString(16)} of ${whole} bytes`);
  const name = readText(`${folder}/name`)?.trim() ?? '';
  return { index, name, address: parseBig(`${folder}/addr`), offset, size: whole - offset };
}

function parseNumber(path: string, max = Number.MAX_SAFE_INTEGER): number {
  const value = parseBig(path);
  if (value > BigInt(max)) throw malformed(path, value.toString());
  return Number(value);
}

function parseBig(path: string): bigint {
  const text = readText(path)?.trim();
  if (text !== undefined && /^(0x[0-9a-f]+|\d+)$/i.test(text)) return BigInt(text);
  throw malformed(path, text === undefined ? 'missing' : JSON.stringify(text));
}

function malformed(path: string, what: string): DmaError {
  return new DmaError('EIO', `${path} makes no sense: ${what}`, {
    remedy: 'check the kernel driver of this device, and that /sys is what the kernel shows',
  });
}

function absent(target: string, present: readonly { node: string; name: string }[]): DmaError {
  const list = present.map(({ node, name }) => (name === '' ? node : `${node} (${name})`)).join(', ');
  return new DmaError('ENODEV', `there is no UIO device ${quote(target)}`, {
    remedy:
      list === ''
        ? 'load and bind its driver, e.g. modprobe uio_pdrv_genirq of_id=generic-uio for a node of the device tree, ' +
          'or uio_pci_generic for a PCI function'
        : `there are ${list}`,
  });
}
