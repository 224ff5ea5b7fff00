/**
 * The test API of files that run twice: under vitest on a developer's machine, and under `node --test` inside the
 * virtual machine, where it starts in a fraction of the time. Assertions are node:assert in both.
 */
import assert from 'node:assert/strict';
import * as node from 'node:test';

interface TestApi {
  describe(name: string, body: () => void): void;
  it(name: string, body: () => void | Promise<void>, timeout?: number): void;
  beforeAll(body: () => void | Promise<void>): void;
  afterAll(body: () => void | Promise<void>): void;
  beforeEach(body: () => void | Promise<void>): void;
  afterEach(body: () => void | Promise<void>): void;
}

async function vitestApi(): Promise<TestApi> {
  const vitest = await import('vitest');
  return {
    describe: (name, body) => void vitest.describe(name, body),
    it: (name, body, timeout) => void vitest.it(name, body, timeout),
    beforeAll: (body) => vitest.beforeAll(body),
    afterAll: (body) => vitest.afterAll(body),
    beforeEach: (body) => vitest.beforeEach(body),
    afterEach: (body) => vitest.afterEach(body),
  };
}

const nodeApi: TestApi = {
  describe: (name, body) => void node.describe(name, body),
  it: (name, body, timeout) => void node.it(name, timeout === undefined ? {} : { timeout }, () => body()),
  beforeAll: (body) => node.before(() => body()),
  afterAll: (body) => node.after(() => body()),
  beforeEach: (body) => node.beforeEach(() => body()),
  afterEach: (body) => node.afterEach(() => body()),
};

export const { describe, it, beforeAll, afterAll, beforeEach, afterEach } =
  process.env.VITEST === undefined ? nodeApi : await vitestApi();
export { assert };
