/**
 * The IOMMU faults of one function, from the kernel's log. User space has no other way to learn of them: the device
 * does not know, and VFIO does not report them.
 *
 *      DMAR: [DMA Write NO_PASID] Request device [00:10.0] fault addr 0x600000 [fault reason 0x05] PTE Write access ...
 *      vfio-pci 0000:00:10.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0001 address=0x600000 flags=0x0020]
 *      virtio_iommu virtio0: page fault from EP 128 at 0x600000 [W]
 *      arm-smmu-v3 9050000.smmuv3: event 0x10 received:      and the four words of the event, a line each
 *
 * A line may be missing: the kernel limits the rate of all of these, and an IOMMU drops faults while one is pending.
 * If this process may not read the log (kernel.dmesg_restrict without CAP_SYSLOG), it sees no faults, and gets no
 * error.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import type { Fault } from '../../iommu/fault.ts';

/** The longest record /dev/kmsg gives (CONSOLE_EXT_LOG_MAX). */
const LONGEST = 8192;
const PAGE = 4096;

/** Messages of the kernel, one at a time. */
export interface MessageSource {
  /** The next message; undefined if there is none now. */
  next(): string | undefined;
  close(): void;
}

/** Reads the IOMMU faults of one function from the kernel's log. */
export class KernelLog {
  readonly #source: MessageSource | undefined;
  readonly #parser: FaultParser;

  /**
   * Reads the faults from now on.
   * @param address of the function, as /sys spells it
   */
  constructor(address: string, source: MessageSource | undefined = openMessages()) {
    this.#source = source;
    this.#parser = new FaultParser(address);
  }

  /** Faults that were logged since the last call, oldest first. */
  faults(): Fault[] {
    const found: Fault[] = [];
    for (let text = this.#source?.next(); text !== undefined; text = this.#source?.next()) {
      const fault = this.#parser.parse(text);
      if (fault !== undefined) found.push(fault);
    }
    return found;
  }

  close(): void {
    this.#source?.close();
  }
}

/** The log from here on; undefined if this process may not read it. */
function openMessages(path = '/dev/kmsg'): MessageSource | undefined {
  let fd = -1;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  const source = new KernelMessages(fd);
  // Node.js cannot seek, so this reads the old messages and drops them.
  while (source.next() !== undefined);
  return source;
}

/** /dev/kmsg: a record with each read, `priority,number,microseconds,flags;text` and lines of details. */
class KernelMessages implements MessageSource {
  readonly #buffer = Buffer.alloc(LONGEST);
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  next(): string | undefined {
    while (this.#fd >= 0) {
      try {
        const length = readSync(this.#fd, this.#buffer, 0, LONGEST, null);
        return messageOf(this.#buffer.toString('latin1', 0, length));
      } catch (error) {
        // EPIPE: the kernel overwrote the next records before this process read them.
        if ((error as NodeJS.ErrnoException).code !== 'EPIPE') return undefined;
      }
    }
    return undefined;
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

function messageOf(record: string): string {
  const [line = ''] = record.slice(record.indexOf(';') + 1).split('\n');
  return line.replaceAll(/\\x([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
}

/** Finds the faults of one function among messages, some of which take several lines. */
export class FaultParser {
  readonly #address: string;
  /** Bus, device and function in 16 bits: how an IOMMU sees the function. */
  readonly #requester: number;
  /** Words of an SMMU event that is not complete yet. */
  #words: bigint[] | undefined;

  constructor(address: string) {
    this.#address = address;
    this.#requester = requesterOf(address);
  }

  /** The fault of this function that the message reports or completes, if any. */
  parse(message: string): Fault | undefined {
    return this.#intel(message) ?? this.#amd(message) ?? this.#virtio(message) ?? this.#arm(message);
  }

  /** dmar_fault_do_one: the address is the start of the page. */
  #intel(message: string): Fault | undefined {
    const match =
      /DMAR: \[DMA (Read|Write)[^\]]*\] Request device \[([0-9a-f:.]+)\].* fault addr (?:0x)?([0-9a-f]+) \[fault reason (?:0x)?[0-9a-f]+\] (.*)/i.exec(
        message,
      );
    // The log line leaves out the PCI domain.
    if (match === null || !this.#address.endsWith(match[2]!)) return undefined;
    return faultAt(match[3]!, PAGE, match[1] === 'Read' ? 'read' : 'write', match[4]!.trim());
  }

  /** amd_iommu_report_page_fault. */
  #amd(message: string): Fault | undefined {
    const match =
      /AMD-Vi: Event logged \[IO_PAGE_FAULT (?:device=(\S+) )?.*address=0x([0-9a-f]+) flags=0x([0-9a-f]+)\]/i.exec(
        message,
      );
    if (match === null) return undefined;
    const device = match[1] ?? / ([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]):/i.exec(` ${message}`)?.[1];
    if (device === undefined || !this.#address.endsWith(device)) return undefined;
    const writes = (parseInt(match[3]!, 16) & AMD_WRITE) !== 0;
    return faultAt(match[2]!, 1, writes ? 'write' : 'read', 'IO_PAGE_FAULT');
  }

  /** viommu_fault_handler. The line leaves out the kind of access if nothing is mapped. */
  #virtio(message: string): Fault | undefined {
    const match = /virtio_iommu \S+: (\S+) fault from EP (\d+) at 0x([0-9a-f]+) \[(\w*)\]/.exec(message);
    if (match === null || Number(match[2]) !== this.#requester) return undefined;
    const [, kind, , at, flags] = match;
    const access = flags!.includes('W') ? 'write' : flags!.includes('R') ? 'read' : 'unknown';
    return faultAt(at!, 1, access, `${kind} fault`);
  }

  /** arm_smmu_evtq_thread: a first line, and one more line for each word of the event. */
  #arm(message: string): Fault | undefined {
    if (/arm-smmu-v3 \S+: event 0x[0-9a-f]+ received:/.test(message)) {
      this.#words = [];
      return undefined;
    }
    const word = /arm-smmu-v3 \S+:\s+(0x[0-9a-f]{16})$/.exec(message)?.[1];
    if (word === undefined || this.#words?.push(BigInt(word)) !== SMMU_WORDS) return undefined;
    const [head, details, address] = this.#words as [bigint, bigint, bigint, bigint];
    this.#words = undefined;
    const reason = SMMU_EVENTS[Number(head & 0xffn)];
    // The stream ID of a PCI function is its requester ID. The firmware may add an offset in the upper half.
    if (reason === undefined || Number((head >> 32n) & 0xffffn) !== this.#requester) return undefined;
    return faultAt(address.toString(16), 1, (details & SMMU_READ) !== 0n ? 'read' : 'write', reason);
  }
}

/** EVENT_FLAG_RW. */
const AMD_WRITE = 0x20;
const SMMU_WORDS = 4;
/** EVTQ_1_RnW. */
const SMMU_READ = 1n << 35n;
/** Events of a DMA that the SMMU refused (Arm IHI 0070, 7.3). */
const SMMU_EVENTS: Readonly<Record<number, string>> = {
  16: 'F_TRANSLATION',
  17: 'F_ADDR_SIZE',
  18: 'F_ACCESS',
  19: 'F_PERMISSION',
};

function requesterOf(address: string): number {
  const [, bus, device, fn] = /([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/i.exec(address) ?? [];
  return (parseInt(bus!, 16) << 8) | (parseInt(device!, 16) << 3) | Number(fn);
}

function faultAt(address: string, size: number, access: Fault['access'], reason: string): Fault {
  return { address: BigInt(`0x${address}`), size, access, reason };
}
