/**
 * The processors that the addon is written for: its register accesses are single instructions (native/mmio_access.h).
 */
const PROCESSORS: readonly string[] = ['x64', 'arm64'];

/** The reason why there can be no addon on this machine; undefined if there can be one. */
export function whyNoAddon(
  platform: string = process.platform,
  arch: string = process.arch,
): string | undefined {
  if (platform !== 'linux') return `hardware needs Linux, and this is ${platform}`;
  if (PROCESSORS.includes(arch)) return undefined;
  return `hardware needs an x64 or arm64 processor, and this is ${arch}`;
}
