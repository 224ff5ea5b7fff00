/** The command `userdma` in this process, where a command takes no second to start. */
import { runCommandLine } from '../../lib/cli/program.ts';

export interface Printed {
  /** The exit code. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const COLOURS = new RegExp(`${String.fromCharCode(27)}\\[\\d*m`, 'g');

/** Runs a command line, and gives this process its console and its exit code back. */
export async function userdma(...words: string[]): Promise<Printed> {
  const { log, error } = console;
  const former = process.exitCode;
  const printed = { stdout: '', stderr: '' };
  const collect = (stream: 'stdout' | 'stderr') => (text: unknown) => {
    printed[stream] += `${String(text)}\n`.replaceAll(COLOURS, '');
  };
  console.log = collect('stdout');
  console.error = collect('stderr');
  process.exitCode = 0;
  try {
    await runCommandLine(words);
    return { status: Number(process.exitCode), ...printed };
  } finally {
    Object.assign(console, { log, error });
    process.exitCode = former;
  }
}
