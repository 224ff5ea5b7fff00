/** Draws the addresses of a device: usable ranges, the limit of the mask, and the places of buffers. */
import pc from 'picocolors';

export interface Placed {
  readonly name: string;
  readonly start: bigint;
  readonly size: number;
}

interface Row {
  /** Rows are drawn from the highest address down. */
  readonly at: bigint;
  readonly text: string;
}

export function drawIovaMap(
  ranges: readonly { readonly start: bigint; readonly end: bigint }[],
  mask: bigint,
  placed: readonly Placed[],
): string {
  const rows: Row[] = [];
  for (const [i, { start, end }] of ranges.entries()) {
    const below = ranges[i - 1];
    const gap = below === undefined ? '' : ` ${size(start - below.end - 1n)} below are reserved`;
    rows.push({ at: end, text: `${pc.dim('┬')} usable window, ${size(end - start + 1n)}` });
    rows.push({ at: start, text: pc.dim(`┴${gap}`) });
  }
  for (const { name, start, size: bytes } of placed) {
    rows.push({ at: start, text: pc.green(`█ ${name}, ${bytes} bytes`) });
  }
  rows.push({ at: mask, text: pc.yellow('┼╌╌ the DMA mask: nothing is handed out above') });
  rows.sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
  const width = rows[0]?.at.toString(16).length ?? 1;
  return rows.map(({ at, text }) => `    ${address(at, width)} ${text}`).join('\n');
}

function address(at: bigint, width: number): string {
  return `0x${at.toString(16).padStart(width, '0')}`;
}

function size(bytes: bigint): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let power = 0;
  let value = Number(bytes);
  while (value >= 1024 && power < units.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${value >= 10 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}
