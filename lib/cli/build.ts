/** userdma build: builds the addon where no prebuilt one loads. */
import { DmaError } from '../errors.ts';
import { buildAddon, missingTools } from '../native/build.ts';
import { packageRoot } from '../native/package-root.ts';
import { toJson } from './output.ts';

export function build({ json }: { json: boolean }): void {
  if (process.platform !== 'linux') {
    throw new DmaError('ENOSYS', `the addon is for Linux, and this is ${process.platform}`, {
      remedy: 'the simulation needs none',
    });
  }
  const missing = missingTools();
  if (missing.length > 0) {
    throw new DmaError('ENODEV', `the addon cannot be built: ${missing.join(', ')} not found`, {
      remedy: 'on Debian, as root: apt-get install g++ make python3; on Alpine: apk add g++ make python3',
    });
  }
  const built = buildAddon(packageRoot());
  if (built.addon === undefined) throw new Error(`the addon was not built:\n${built.output}`);
  console.log(json ? toJson(built) : built.addon);
}
