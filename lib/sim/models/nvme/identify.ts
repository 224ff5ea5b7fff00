/**
 * The data of Identify (NVM Express 1.4, 5.15). It does not claim the abilities of QEMU's controller that this one
 * lacks.
 */
import { EVENT_REQUEST_LIMIT } from './events.ts';
import { ALL_NAMESPACES, TEMPERATURE } from './features.ts';
import type { NvmeNamespace } from './namespace.ts';
import { STATUS } from './status.ts';

const SIZE = 4096;
export const VERSION = 0x0001_0400;
/** NN: the highest possible namespace identifier. */
export const HIGHEST_NSID = 256;

const CNS = {
  namespace: 0x00,
  controller: 0x01,
  namespaceList: 0x02,
  namespaceDescriptors: 0x03,
  namespaceOfSet: 0x05,
  controllerOfSet: 0x06,
  namespaceListOfSet: 0x07,
  commandSets: 0x1c,
} as const;

const COMPARE = 1 << 0;
const DATASET_MANAGEMENT = 1 << 2;
const WRITE_ZEROES = 1 << 3;
const SELECT_FEATURES = 1 << 4;

export interface IdentityOptions {
  readonly serial: string;
  /** MDTS. */
  readonly maxTransfer: number;
  readonly namespaces: readonly NvmeNamespace[];
}

/** Returns bytes, or a status if the question has no answer. */
export function identify(
  options: IdentityOptions,
  cns: number,
  nsid: number,
  commandSet: number,
): Uint8Array | number {
  const { namespaces } = options;
  switch (cns) {
    case CNS.controller:
      return controller(options);
    case CNS.namespaceList:
      return namespaceList(namespaces, nsid);
    case CNS.commandSets:
      return Uint8Array.from({ length: SIZE }, (_, i) => (i === 0 ? 1 : 0));
    case CNS.controllerOfSet:
      return commandSet === 0 ? new Uint8Array(SIZE) : STATUS.invalidField;
    case CNS.namespaceListOfSet:
      return commandSet === 0 ? namespaceList(namespaces, nsid) : STATUS.invalidField;
    case CNS.namespace:
    case CNS.namespaceDescriptors:
    case CNS.namespaceOfSet:
      break;
    default:
      return STATUS.invalidField;
  }
  if (nsid === 0 || nsid > HIGHEST_NSID) return STATUS.invalidNamespace;
  const found = namespaces[nsid - 1];
  if (cns === CNS.namespace) return found === undefined ? new Uint8Array(SIZE) : namespace(found);
  if (cns === CNS.namespaceOfSet) return commandSet === 0 ? new Uint8Array(SIZE) : STATUS.invalidField;
  return found === undefined ? STATUS.invalidField : descriptors();
}

function controller({ serial, maxTransfer }: IdentityOptions): Uint8Array {
  const data = new DataView(new ArrayBuffer(SIZE));
  data.setUint16(0, 0x1b36, true);
  data.setUint16(2, 0x1af4, true);
  putText(data, 4, 20, serial);
  putText(data, 24, 40, 'Simulated NVMe Ctrl');
  putText(data, 64, 8, '1.0');
  // Arbitration burst, and QEMU's vendor number.
  data.setUint8(72, 6);
  data.setUint8(74, 0x54);
  data.setUint8(75, 0x52);
  data.setUint8(77, maxTransfer);
  data.setUint32(80, VERSION, true);
  // This is an I/O controller.
  data.setUint8(111, 1);
  // The number of aborts at once minus one; event requests; one firmware slot, read-only; log pages by namespace and
  // offset, effects.
  data.setUint8(258, 3);
  data.setUint8(259, EVENT_REQUEST_LIMIT);
  data.setUint8(260, 3);
  data.setUint8(261, 7);
  data.setUint16(266, TEMPERATURE.warning, true);
  data.setUint16(268, TEMPERATURE.critical, true);
  // Entries have 64 and 16 bytes.
  data.setUint8(512, 0x66);
  data.setUint8(513, 0x44);
  data.setUint32(516, HIGHEST_NSID, true);
  data.setUint16(520, COMPARE | DATASET_MANAGEMENT | WRITE_ZEROES | SELECT_FEATURES, true);
  // There is a write cache, and Flush can flush all namespaces at once.
  data.setUint8(525, 7);
  // SGLs are supported, without alignment.
  data.setUint32(536, 1, true);
  putText(data, 768, 256, `nqn.2014-08.org.example:${serial}`, '\0');
  // The only power state.
  data.setUint16(2048, 0x9c4, true);
  data.setUint32(2052, 0x10, true);
  data.setUint32(2056, 4, true);
  return new Uint8Array(data.buffer);
}

function namespace({ blocks, blockSize }: NvmeNamespace): Uint8Array {
  const data = new DataView(new ArrayBuffer(SIZE));
  for (const offset of [0, 8, 16]) data.setBigUint64(offset, BigInt(blocks), true);
  // Two formats, of 512 and 4096 bytes; and the one that the namespace has.
  data.setUint8(25, 1);
  data.setUint8(26, blockSize === 512 ? 0 : 1);
  // Deallocated blocks read as zeros.
  data.setUint8(33, 1);
  data.setUint8(130, 9);
  data.setUint8(134, 12);
  return new Uint8Array(data.buffer);
}

/** The identifiers above `after`, ascending. */
function namespaceList(namespaces: readonly NvmeNamespace[], after: number): Uint8Array | number {
  if (after >= ALL_NAMESPACES - 1) return STATUS.invalidNamespace;
  const data = new DataView(new ArrayBuffer(SIZE));
  const above = namespaces.filter(({ nsid }) => nsid > after);
  for (const [i, { nsid }] of above.entries()) data.setUint32(4 * i, nsid, true);
  return new Uint8Array(data.buffer);
}

/** The NVM command set, and no name. */
function descriptors(): Uint8Array {
  const data = new Uint8Array(SIZE);
  data[0] = 4;
  data[1] = 1;
  return data;
}

function putText(data: DataView, offset: number, length: number, text: string, padding = ' '): void {
  const padded = text.slice(0, length).padEnd(length, padding);
  for (let i = 0; i < length; i++) data.setUint8(offset + i, padded.charCodeAt(i));
}
