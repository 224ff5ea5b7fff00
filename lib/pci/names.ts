/** Names of vendors, devices and classes: the system's pci.ids (https://pci-ids.ucw.cz), which lspci reads too. */
import { readText } from '../files.ts';

/**
 * Debian and most others; Fedora and Arch. Nix and the BSDs keep the file elsewhere, and then functions have no
 * names.
 */
const FILES = ['/usr/share/misc/pci.ids', '/usr/share/hwdata/pci.ids', '/var/lib/pciutils/pci.ids'];

export interface PciNames {
  vendor(vendorId: number): string | undefined;
  device(vendorId: number, deviceId: number): string | undefined;
  /** The name of base class and sub-class. @param classCode base class, sub-class and programming interface, 24 bits */
  classOf(classCode: number): string | undefined;
}

/** @param root prefix of /usr and /var; if the file is missing, no function has a name */
export function readPciNames(root = ''): PciNames {
  const text = FILES.map((path) => readText(root + path)).find((content) => content !== undefined) ?? '';
  const names = new Map<string, string>();
  let above = '';
  for (const line of text.split('\n')) {
    const match = /^(\t{0,1})(C )?([0-9a-f]{2,4}) {2}(.+)$/.exec(line);
    if (match === null) continue;
    const [, indent, isClass, id, name] = match;
    if (indent === '') above = `${isClass ?? ''}${id}`;
    names.set(indent === '' ? above : `${above} ${id}`, name!.trim());
  }
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  return {
    vendor: (vendorId) => names.get(hex(vendorId, 4)),
    device: (vendorId, deviceId) => names.get(`${hex(vendorId, 4)} ${hex(deviceId, 4)}`),
    classOf(classCode) {
      const base = `C ${hex(classCode >>> 16, 2)}`;
      return names.get(`${base} ${hex((classCode >>> 8) & 0xff, 2)}`) ?? names.get(base);
    },
  };
}
