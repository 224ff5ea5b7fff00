/** The data of Get Log Page (NVM Express 1.4, 5.14.1). */
import { TEMPERATURE } from './features.ts';

export const LOG_PAGE = { error: 1, smart: 2, firmware: 3, effects: 5 } as const;

const SUPPORTED = 1;
const CHANGES_MEDIA = 2;
const FIRMWARE = '1.0     ';
const UNIT = 512 * 1000;

/** Counters of I/O commands. */
export class Statistics {
  bytesRead = 0;
  bytesWritten = 0;
  reads = 0;
  writes = 0;
}

/** The error log is empty: no error has ever been recorded. */
export function errorLog(): Uint8Array {
  return new Uint8Array(64);
}

export function smartLog(statistics: Statistics, temperatureWarning: boolean): Uint8Array {
  const data = new DataView(new ArrayBuffer(512));
  data.setUint8(0, temperatureWarning ? 2 : 0);
  data.setUint16(1, TEMPERATURE.now, true);
  data.setBigUint64(32, BigInt(Math.ceil(statistics.bytesRead / UNIT)), true);
  data.setBigUint64(48, BigInt(Math.ceil(statistics.bytesWritten / UNIT)), true);
  data.setBigUint64(64, BigInt(statistics.reads), true);
  data.setBigUint64(80, BigInt(statistics.writes), true);
  return new Uint8Array(data.buffer);
}

/** Slot 1 is active. */
export function firmwareLog(): Uint8Array {
  const data = new Uint8Array(512);
  data[0] = 1;
  for (let i = 0; i < FIRMWARE.length; i++) data[8 + i] = FIRMWARE.charCodeAt(i);
  return data;
}

/**
 * @param admin opcodes of admin commands
 * @param nvm opcodes of I/O commands
 * @param writes those of `nvm` that change stored data
 */
export function effectsLog(
  admin: readonly number[],
  nvm: readonly number[],
  writes: readonly number[],
): Uint8Array {
  const data = new DataView(new ArrayBuffer(4096));
  for (const opcode of admin) data.setUint32(4 * opcode, SUPPORTED, true);
  for (const opcode of nvm) {
    data.setUint32(1024 + 4 * opcode, SUPPORTED | (writes.includes(opcode) ? CHANGES_MEDIA : 0), true);
  }
  return new Uint8Array(data.buffer);
}
