#!/usr/bin/env node
/** The command `userdma`. The work is in the library. */
import { runCommandLine } from './program.ts';

// A reader that has seen enough, e.g. head, is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});
await runCommandLine(process.argv.slice(2));
