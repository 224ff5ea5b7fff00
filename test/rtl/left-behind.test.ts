/** A simulator never outlives the program that started it, however that ends. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { fileOf, missing, sourcesOf } from './designs.ts';

const folder = mkdtempSync(join(tmpdir(), 'userdma-left-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
if (missing !== undefined) console.log(`simulators that are left behind are skipped: ${missing}`);
const edu =
  missing === undefined ? await fileOf('edu', 'process', { sources: sourcesOf('edu'), top: 'edu' }) : '';

/** A program that opens the design and then does this. The compiled library: a program of its own reads no TypeScript. */
function programThat(does: string): string {
  const rtl = JSON.stringify(resolve('dist/lib/rtl/process.js'));
  const file = join(folder, 'program.mjs');
  writeFileSync(
    file,
    `import { execFileSync } from 'node:child_process';
import { processDesign } from ${rtl};
const nothing = () => 0;
const host = { dmaRead: nothing, dmaWrite: nothing, burst: nothing, note: () => '', interrupt: nothing, report: nothing, streamed: nothing };
const simulator = processDesign(${JSON.stringify(resolve(edu))}).open(host);
const children = execFileSync('ps', ['--ppid', String(process.pid), '-o', 'pid=,comm='], { encoding: 'utf8' });
console.log(/^\\s*(\\d+) edu/m.exec(children)[1]);
${does}
`,
  );
  return file;
}

function isRunning(pid: number): boolean {
  if (!existsSync(`/proc/${pid}/stat`)) return false;
  // A zombie is over: its parent is gone, and whatever adopted it may take its time.
  return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

describe.skipIf(missing !== undefined || process.platform !== 'linux')('no simulator is left behind', () => {
  const ends: readonly [string, string, NodeJS.Signals | undefined][] = [
    ['SIGKILL, between two requests', 'setInterval(nothing, 1000);', 'SIGKILL'],
    // Held in reset with no limit to speak of: the simulator is inside a request that does not end.
    [
      'SIGKILL, in the middle of a request',
      "simulator.set('limit', 1e15); simulator.set('pin.rst_n', 0); setTimeout(() => simulator.read(0, 4), 100);",
      'SIGKILL',
    ],
    ['an exception', "setTimeout(() => { throw new Error('on purpose'); }, 100);", undefined],
    ['process.exit', 'setTimeout(() => process.exit(0), 100);', undefined],
  ];
  for (const [how, does, signal] of ends) {
    it(how, async () => {
      const child = spawn(process.execPath, [programThat(does)], { stdio: ['ignore', 'pipe', 'ignore'] });
      const ended = new Promise((done) => child.on('exit', done));
      const pid = await new Promise<number>((done) => {
        child.stdout.setEncoding('utf8').on('data', (text: string) => done(Number(text)));
      });
      expect(isRunning(pid)).toBe(true);
      if (signal !== undefined) {
        await sleep(300);
        child.kill(signal);
      }
      await ended;
      while (isRunning(pid)) await sleep(20);
    });
  }
});
