/** The meaning of a completion's status (NVM Express Base 2.0, 3.3.3.2.1; NVM Command Set 1.0, 3.1.2). */
import { DmaError, type ErrnoName } from '../../lib/index.ts';

/** The meaning of a status, with an error code and a remedy if a program can do something about it. */
interface Meaning {
  readonly text: string;
  readonly code?: ErrnoName;
  readonly remedy?: string;
}

/** Keyed by status code type and status code, as `type << 8 | code`. */
const MEANING: Readonly<Record<number, Meaning>> = {
  1: { text: 'invalid command opcode', code: 'EOPNOTSUPP', remedy: 'the controller has no such command' },
  2: { text: 'invalid field in command', code: 'EINVAL' },
  3: { text: 'command identifier conflict' },
  4: { text: 'data transfer error', remedy: 'the controller could not reach the memory: is it mapped?' },
  5: { text: 'aborted because of power loss' },
  6: { text: 'internal error' },
  7: { text: 'command abort requested', code: 'ECANCELED' },
  8: { text: 'aborted because its submission queue was deleted', code: 'ECANCELED' },
  11: {
    text: 'invalid namespace or format',
    code: 'EINVAL',
    remedy: 'use a namespace of the controller',
  },
  13: { text: 'invalid SGL segment descriptor', code: 'EINVAL' },
  14: { text: 'invalid number of SGL descriptors', code: 'EINVAL' },
  15: { text: 'SGL length does not fit the data', code: 'EINVAL' },
  17: { text: 'SGL descriptor type invalid', code: 'EINVAL' },
  19: {
    text: 'PRP offset invalid',
    code: 'EINVAL',
    remedy: 'only the first entry may have an offset, of dwords',
  },
  28: { text: 'sanitize failed' },
  29: { text: 'sanitize in progress' },
  32: { text: 'namespace is write protected', code: 'EACCES' },
  33: { text: 'command interrupted', remedy: 'issue it again' },
  34: { text: 'transient transport error', remedy: 'issue it again' },
  128: {
    text: 'LBA out of range',
    code: 'EINVAL',
    remedy: 'stay below the number of blocks of the namespace',
  },
  129: { text: 'capacity exceeded', code: 'ENOSPC' },
  130: { text: 'namespace not ready', remedy: 'issue it again later' },
  131: { text: 'reservation conflict', code: 'EBUSY' },
  132: { text: 'format in progress', code: 'EBUSY' },
  257: {
    text: 'invalid queue identifier',
    code: 'EINVAL',
    remedy: 'create no more queues than were granted',
  },
  258: { text: 'invalid queue size', code: 'EINVAL', remedy: 'stay within CAP.MQES' },
  259: { text: 'abort command limit exceeded', code: 'EBUSY' },
  264: { text: 'invalid interrupt vector', code: 'EINVAL' },
  265: { text: 'invalid log page', code: 'EOPNOTSUPP' },
  386: { text: 'attempted write to read only range', code: 'EACCES' },
  640: { text: 'write fault' },
  641: { text: 'unrecovered read error' },
  642: { text: 'end-to-end guard check error' },
  645: { text: 'compare failure' },
  646: { text: 'access denied', code: 'EACCES' },
  647: { text: 'deallocated or unwritten logical block' },
};

const TYPES = ['generic', 'command specific', 'media', 'path'];

/** A command that the controller completed with an error. */
export class NvmeError extends DmaError {
  static {
    NvmeError.prototype.name = 'NvmeError';
  }

  /** Status code type: 0 generic, 1 command specific, 2 media and data integrity, 3 path, 7 vendor specific. */
  readonly type: number;
  /** Status code within its type. */
  readonly status: number;
  /** True if the same command would fail again (DNR). */
  readonly doNotRetry: boolean;
  /** True if the error log page has more information (M). */
  readonly more: boolean;

  /** @param status bits 15:1 of the status field @param what the command, for people */
  constructor(status: number, what: string) {
    const type = (status >>> 8) & 7;
    const code = status & 0xff;
    const known = MEANING[(type << 8) | code];
    const text = known?.text ?? `${TYPES[type] ?? 'unknown'} status 0x${code.toString(16)}`;
    super(known?.code ?? 'EIO', `${what}: ${text} (type ${type}, code 0x${code.toString(16)})`, {
      remedy: known?.remedy,
    });
    this.type = type;
    this.status = code;
    this.more = (status & 0x2000) !== 0;
    this.doNotRetry = (status & 0x4000) !== 0;
  }
}
