/**
 * The test API of files that run twice: under vitest on a developer's machine, and under `node --test` inside the
 * virtual machine, where it starts in a fraction of the time. Assertions are node:assert in both.
 */
import assert from 'node:assert/strict';
import * as node from 'node:test';

interface TestApi {
  describe(name: string, body: () => void): void;
  /** `body` may end with `skip`. */
  it(name: string, body: () => void | Promise<void>, timeout?: number): void;
  beforeAll(body: () => void | Promise<void>): void;
  afterAll(body: () => void | Promise<void>): void;
  beforeEach(body: () => void | Promise<void>): void;
  afterEach(body: () => void | Promise<void>): void;
}

/** Why a test cannot run here. */
class Skip extends Error {}

/**
 * Ends the test that calls it: it is neither passed nor failed, and the report has the reason. Node.js 20 runs no `afterEach`
 * then: where `beforeEach` opens something, `describeWith` of absent.ts skips before.
 */
export function skip(reason: string): never {
  throw new Skip(reason);
}

async function orSkip(body: () => void | Promise<void>, tell: (reason: string) => void): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof Skip)) throw error;
    tell(error.message);
  }
}

async function vitestApi(): Promise<TestApi> {
  const vitest = await import('vitest');
  return {
    describe: (name, body) => void vitest.describe(name, body),
    it: (name, body, timeout) =>
      void vitest.it(name, ({ skip }) => orSkip(body, (reason) => skip(reason)), timeout),
    beforeAll: (body) => vitest.beforeAll(body),
    afterAll: (body) => vitest.afterAll(body),
    beforeEach: (body) => vitest.beforeEach(body),
    afterEach: (body) => vitest.afterEach(body),
  };
}

/**
 * Milliseconds until a test of the guest is given up, so that what follows it still runs. Where the clock jumps, a
 * deadline says nothing of the time that passed: there the machine's own limit ends everything.
 */
const DEADLINE = process.env.USERDMA_TEST_CLOCK === 'host' ? 300_000 : undefined;

const nodeApi: TestApi = {
  describe: (name, body) => void node.describe(name, body),
  it: (name, body, timeout = DEADLINE) =>
    void node.it(name, timeout === undefined ? {} : { timeout }, (test) =>
      orSkip(body, (reason) => test.skip(reason)),
    ),
  beforeAll: (body) => node.before(() => body()),
  afterAll: (body) => node.after(() => body()),
  beforeEach: (body) => node.beforeEach(() => body()),
  afterEach: (body) => node.afterEach(() => body()),
};

export const { describe, it, beforeAll, afterAll, beforeEach, afterEach } =
  process.env.VITEST === undefined ? nodeApi : await vitestApi();
export { assert };
