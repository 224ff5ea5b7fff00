import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Files under test/vm need a VFIO device: they run inside the virtual machine.
    exclude: ['test/vm/**', 'node_modules/**', 'dist/**'],
    pool: 'forks', // a native crash takes one test file down, not the run
    testTimeout: 60_000,
    // Tests make mistakes on purpose: they look at reports, and nobody wants to read them.
    env: { USERDMA_DEBUG: 'quiet', USERDMA_TESTING: '1' },
  },
});
