/** The machine could not be prepared: something is missing on this computer. Shown as one line, no stack. */
export class SetupError extends Error {
  override name = 'SetupError';
}

export const packagesHint =
  'on Debian or Ubuntu: apt-get install --no-install-recommends qemu-system-x86 busybox-static xz-utils';
