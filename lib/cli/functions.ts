/** userdma list, show, bind and unbind: the facts of /sys about functions, and their drivers. */
import { closeSync, openSync, readSync } from 'node:fs';
import pc from 'picocolors';
import { DmaError } from '../errors.ts';
import { noFunction } from '../pci/absent.ts';
import { type BindOptions, type Bound, bindPci, unbindPci } from '../pci/bind.ts';
import { answers, ConfigSpace } from '../pci/config-space.ts';
import { DEVICES, readFacts } from '../pci/facts.ts';
import { describePci, listPci, type PciDescription } from '../pci/list.ts';
import { disableSriov, enableSriov, readSriov } from '../pci/sriov.ts';
import { bytes, hex, hexdump, table, toJson } from './output.ts';
import { wholeNumber } from './whole-number.ts';

export function list({ json, root = '' }: { json: boolean; root?: string }): void {
  const functions = listPci(root);
  if (functions.length === 0) {
    throw new DmaError(
      'ENODEV',
      'this system shows no PCI functions: /sys/bus/pci/devices is empty or absent',
      {
        remedy: process.platform === 'linux' ? 'run it where /sys is mounted' : 'run it on Linux',
      },
    );
  }
  if (json) {
    console.log(toJson(functions));
    return;
  }
  console.log(
    table(
      ['address', 'ids', 'class', 'name', 'driver', 'group', 'NUMA', 'BARs'],
      functions.map((fn) => [
        ...[fn.address, ids(fn), fn.className ?? hex(fn.classCode, 6), nameOf(fn)],
        ...[fn.driver ?? '-', String(fn.group ?? '-'), String(fn.numaNode ?? '-')],
        fn.bars.map((bar) => `${bar.index}:${bytes(bar.size)}`).join(' '),
      ]),
    ),
  );
}

export function show(address: string, { json, root = '' }: { json: boolean; root?: string }): void {
  const fn = found(address, root);
  const space = readConfig(fn.address, root);
  const config = new ConfigSpace({
    size: space.length,
    read: (offset, width) => space.readUIntLE(offset, width),
    write: () => {},
  });
  const lists = {
    capabilities: [...config.capabilities()],
    extendedCapabilities: space.length > 256 ? [...config.extendedCapabilities()] : [],
  };
  const header = {
    command: config.command,
    status: config.status,
    revisionId: config.revisionId,
    subsystemVendorId: config.subsystemVendorId,
    subsystemId: config.subsystemId,
    interruptPin: config.interruptPin,
  };
  const complete = space.length > 64;
  const decoded = {
    answers: answers({
      size: space.length,
      read: (at, width) => space.readUIntLE(at, width),
      write: () => {},
    }),
    msi: complete ? plain(config.msi) : undefined,
    msix: complete ? plain(config.msix) : undefined,
    express: complete ? plain(config.express) : undefined,
    powerManagement: complete ? plain(config.powerManagement) : undefined,
  };
  if (json) {
    console.log(toJson({ ...fn, ...header, ...lists, ...decoded }));
    return;
  }
  const words = Array.from({ length: Math.floor(Math.min(space.length, 256) / 4) }, (_, i) =>
    space.readUInt32LE(4 * i),
  );
  const rows = [
    ['function', `${fn.address}  ${ids(fn)}  ${nameOf(fn)}`],
    ['class', `${hex(fn.classCode, 6)}  ${fn.className ?? ''}`],
    ['driver', fn.driver ?? 'none'],
    ['IOMMU group', String(fn.group ?? 'none')],
    ...fn.bars.map((bar) => [
      `BAR ${bar.index}`,
      `${bytes(bar.size)} of ${bar.kind}${bar.is64Bit ? ', 64-bit' : ''}`,
    ]),
    ...Object.entries(header).map(([name, value]) => [name, hex(value, 4)]),
    ...lists.capabilities.map(({ id, offset }) => ['capability', `${hex(id, 2)} at ${hex(offset, 2)}`]),
    ...lists.extendedCapabilities.map(({ id, offset }) => ['extended', `${hex(id, 4)} at ${hex(offset, 3)}`]),
    ...Object.entries(decoded).flatMap(([name, value]) =>
      typeof value === 'object'
        ? [
            [
              name,
              Object.entries(value)
                .map(([key, part]) => `${key} ${part}`)
                .join(', '),
            ],
          ]
        : [],
    ),
  ];
  console.log(`${table(['', ''], rows as string[][]).trimStart()}\n\n${hexdump(0, words)}`);
  if (!complete) console.log(pc.dim('Only root may read beyond the first 64 bytes.'));
}

/** The simple properties of a decoded capability, including getters. */
function plain(capability: object | undefined): Record<string, unknown> | undefined {
  if (capability === undefined) return undefined;
  const getters = Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(capability)))
    .filter(([, { get }]) => get !== undefined)
    .map(([name]) => name);
  const read = (name: string) => (capability as Record<string, unknown>)[name];
  const simple = (value: unknown) => ['number', 'boolean', 'string', 'bigint'].includes(typeof value);
  return Object.fromEntries(
    ['offset', ...getters].map((name) => [name, read(name)] as const).filter(([, v]) => simple(v)),
  );
}

export function bind(
  addresses: readonly string[],
  { json, ...options }: BindOptions & { json: boolean },
): void {
  const done: Bound[] = [];
  try {
    for (const address of addresses) done.push(bindPci(address, options));
  } catch (error) {
    for (const { address, driver, former } of done.reverse())
      if (former !== driver) unbindPci(address, { root: options.root ?? '' });
    throw error;
  }
  if (json) {
    console.log(toJson(done));
    return;
  }
  for (const { address, driver, former } of done) {
    console.log(`${address}: ${former ?? 'no driver'} -> ${pc.green(driver ?? 'no driver')}`);
  }
  console.log(`undo: ${pc.cyan(`npx userdma unbind ${done.map(({ address }) => address).join(' ')}`)}`);
}

export function unbind(
  addresses: readonly string[],
  { json, root = '' }: { json: boolean; root?: string },
): void {
  for (const address of addresses) found(address, root);
  const done = addresses.map((address) => unbindPci(address, { root }));
  if (json) {
    console.log(toJson(done));
    return;
  }
  for (const { address, driver, former } of done) {
    console.log(`${address}: ${former ?? 'no driver'} -> ${driver ?? 'no driver'}`);
  }
}

export async function sriov(
  address: string,
  count: string | undefined,
  { json, root = '' }: { json: boolean; root?: string },
): Promise<void> {
  const fn = found(address, root);
  const wanted = count === undefined ? undefined : wholeNumber('the number of virtual functions', count);
  if (wanted === 0) await disableSriov(fn.address, { root });
  else if (wanted !== undefined) await enableSriov(fn.address, wanted, { root });
  const now = readSriov(fn.address, { root });
  if (json) {
    console.log(toJson(now ?? null));
    return;
  }
  console.log(`${fn.address}: ${now?.numVfs ?? 0} of ${now?.totalVfs ?? 0} virtual functions`);
  for (const one of now?.virtualFunctions ?? []) console.log(one);
}

function found(text: string, root: string): PciDescription {
  const fn = describePci(text, root);
  if (fn !== undefined) return fn;
  throw noFunction(readFacts(text, root));
}

/** The part that this user may read: 64 bytes, or all for root. */
function readConfig(address: string, root: string): Buffer {
  const fd = openSync(`${root}${DEVICES}/${address}/config`, 'r');
  try {
    const space = Buffer.alloc(4096);
    return space.subarray(0, readSync(fd, space, 0, space.length, 0));
  } finally {
    closeSync(fd);
  }
}

function ids(fn: PciDescription): string {
  return `${hex(fn.vendorId, 4).slice(2)}:${hex(fn.deviceId, 4).slice(2)}`;
}

function nameOf(fn: PciDescription): string {
  return [fn.vendorName, fn.deviceName]
    .filter((name) => name !== undefined)
    .join(' ')
    .slice(0, 48);
}
