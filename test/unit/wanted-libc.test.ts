/** What loaders say of an addon for another C library, and which it is. */
import { expect, test } from 'vitest';
import { wantedLibc } from '../../lib/native/wanted-libc.ts';

const HERE = 'No such file or directory';

test.each([
  [`libc.musl-x86_64.so.1: cannot open shared object file: ${HERE}`, 'musl'],
  [`libc.so: cannot open shared object file: ${HERE}`, 'musl'],
  ["/lib/libc.so.6: version `GLIBC_2.38' not found (required by /a.node)", 'glibc 2.38 or later'],
  [`Error loading shared library ld-linux-x86-64.so.2: ${HERE} (needed by /a.node)`, 'glibc'],
  [`Error loading shared library libc.so.6: ${HERE} (needed by /a.node)`, 'glibc'],
  ['/a.node: file too short', undefined],
  [`libfoo.so.6: cannot open shared object file: ${HERE}`, undefined],
  ['/lib/libc.so.6: undefined symbol: x', undefined],
])('%s', (said, libc) => {
  expect(wantedLibc(said)).toBe(libc);
});
