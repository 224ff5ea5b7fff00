/** The output of commands: tables and lines for people, JSON for programs. */
import Table from 'cli-table3';
import pc from 'picocolors';

/** Rows under a head, without lines between them. @param right how many columns, from the first, are numbers */
export function table(head: readonly string[], rows: readonly (readonly string[])[], right = 0): string {
  const none = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '' };
  const lines = { 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '' };
  const drawn = new Table({
    head: head.map((text) => pc.bold(text)),
    colAligns: head.map((_, i) => (i < right ? 'right' : 'left')),
    chars: { ...none, ...lines, right: '', 'right-mid': '', middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  });
  for (const row of rows) drawn.push([...row]);
  return drawn.toString().replace(/ +$/gm, '');
}

/** A bigint as hexadecimal text, because JSON has no bigints. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `0x${part.toString(16)}` : part), 2);
}

export function hex(value: number | bigint, digits = 0): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

/** E.g. `16 KiB`. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && value % 1024 === 0 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value} ${units[unit]}`;
}

/** Sixteen bytes a line: offset, 32-bit words as the device has them, and their text. */
export function hexdump(offset: number, words: readonly number[]): string {
  const lines: string[] = [];
  for (let at = 0; at < words.length; at += 4) {
    const row = words.slice(at, at + 4);
    const text = row
      .flatMap((word) => [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff))
      .map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.'))
      .join('');
    const numbers = row.map((word) => word.toString(16).padStart(8, '0')).join(' ');
    lines.push(`${(offset + 4 * at).toString(16).padStart(6, '0')}  ${numbers.padEnd(35)}  ${text}`);
  }
  return lines.join('\n');
}
