/** The C library that an addon was built for, by the words with which the loader of another one refuses it. */

/** @param said the loader's message @returns e.g. `musl` or `glibc 2.38 or later`; undefined if the message is about something else */
export function wantedLibc(said: string): string | undefined {
  // Alpine's name of musl, and the name that musl gives itself.
  if (/libc\.musl-|ld-musl-|\blibc\.so: /.test(said)) return 'musl';
  const version = /version [`']GLIBC_([\d.]+)' not found/.exec(said)?.[1];
  if (version !== undefined) return `glibc ${version} or later`;
  return /\blibc\.so\.6\b|ld-linux-/.test(said) && said.startsWith('Error ') ? 'glibc' : undefined;
}
