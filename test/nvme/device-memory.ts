/** All memory that this process has for devices, as /proc shows it: every arena whole, whoever has which part of it. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

interface Region {
  readonly start: number;
  readonly bytes: Buffer;
}

const NAME = '/memfd:userdma';

/** A copy of it; none where there is no such memory. */
export function copyDeviceMemory(): Region[] {
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n');
  const memory = openSync('/proc/self/mem', 'r');
  try {
    return lines
      .filter((line) => line.includes(NAME))
      .map((line) => {
        const [start = 0, end = 0] = line
          .split(' ', 1)[0]!
          .split('-')
          .map((text) => Number.parseInt(text, 16));
        const bytes = Buffer.alloc(end - start);
        for (let done = 0; done < bytes.length; ) {
          const count = readSync(memory, bytes, done, bytes.length - done, start + done);
          if (count === 0) throw new Error(`nothing at ${start + done}`);
          done += count;
        }
        return { start, bytes };
      });
  } finally {
    closeSync(memory);
  }
}

/** Runs of bytes that differ, no two of them closer than `gap`: where, and how long. */
export function differences(
  before: Region[],
  after: Region[],
  gap: number,
): { at: number; length: number }[] {
  const runs: { at: number; length: number }[] = [];
  for (const { start, bytes } of after) {
    const old = before.find((region) => region.start === start && region.bytes.length === bytes.length);
    if (old === undefined) throw new Error('memory came or went meanwhile');
    if (old.bytes.equals(bytes)) continue;
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] === old.bytes[i]) continue;
      const last = runs.at(-1);
      if (last !== undefined && start + i - last.at - last.length < gap)
        last.length = start + i + 1 - last.at;
      else runs.push({ at: start + i, length: 1 });
    }
  }
  return runs;
}
