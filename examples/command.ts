/** The tools of the examples have this in common: arguments, tables, progress, and errors in one sentence. */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import pc from 'picocolors';
import { DmaError } from '../lib/index.ts';

export { table } from '../lib/cli/output.ts';

/** @param name as it is typed, e.g. `npm run nic --` */
export function tool(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .exitOverride()
    .showHelpAfterError()
    .configureHelp({ showGlobalOptions: true });
}

/** For the value of an option: a whole number. */
export function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It is no whole number from ${least} to ${most}.`);
  };
}

/** Run the tool. Exit codes: 0 done, 1 it failed, 2 the command line is wrong. */
export async function main(command: Command): Promise<void> {
  try {
    await command.parseAsync();
  } catch (error) {
    // The error would stand behind the progress of the work that failed.
    progress(undefined);
    process.exitCode = complain(error);
  }
}

function complain(error: unknown): number {
  // commander has said what is wrong.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof DmaError) console.error(`${pc.red(error.code)} ${error.message}`);
  else if (isFileError(error)) console.error(pc.red(error.message));
  else throw error;
  return 1;
}

/** An error of a system call on a file that the user named. */
function isFileError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'path' in error;
}

/** One line on a terminal says how far long work is; `undefined` takes it away. It is not part of the output. */
export function progress(text: string | undefined): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text === undefined ? '' : pc.dim(text)}`);
}
