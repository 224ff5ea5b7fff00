/** Programs, as the shell finds them. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The file that the shell would run for `name`; undefined if there is none. */
export function onPath(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const program = name.trim().split(/\s+/)[0] ?? name;
  const folders = program.includes('/') ? [''] : (env.PATH ?? '').split(delimiter);
  return folders
    .map((folder) => join(folder, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
