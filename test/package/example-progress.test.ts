/** Progress on a terminal is no part of what an example prints: an error has a line of its own. */
import { afterEach, expect, it, vi } from 'vitest';
import { main, progress, tool } from '../../examples/command.ts';
import { DmaError } from '../../lib/index.ts';

const { isTTY } = process.stderr;
afterEach(() => {
  process.stderr.isTTY = isTTY;
  process.exitCode = undefined;
  vi.restoreAllMocks();
});

it('an error replaces the progress of the work that failed', async () => {
  let screen = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    screen += String(text);
    return true;
  });
  vi.spyOn(console, 'error').mockImplementation((text) => {
    screen += `${String(text)}\n`;
  });
  process.stderr.isTTY = true;
  const command = tool('example', 'fails').action(() => {
    progress('half of it');
    throw new DmaError('EIO', 'it failed', { remedy: 'try again' });
  });
  process.argv = [process.execPath, 'example'];
  await main(command);
  expect(process.exitCode).toBe(1);
  // A terminal shows only what follows the last "erase the line".
  expect(screen.split('\r\x1b[K').at(-1)).toMatch(/^\S*EIO\S* it failed/);
});
