/** No machine could be run to its end, and it is no program error: shown as one line, without a stack. */
export class HarnessError extends Error {
  override name = 'HarnessError';
}

export const packagesHint =
  'on Debian or Ubuntu: apt-get install --no-install-recommends qemu-system-x86 busybox-static xz-utils pciutils udev gcc';
