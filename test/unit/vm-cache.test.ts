/** Folders that the virtual machine's cache keeps. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cachedFolder } from '../../lib/vm/cache.ts';

describe('a folder of the cache', () => {
  let cache: string;
  beforeEach(() => {
    cache = join(mkdtempSync(join(tmpdir(), 'userdma-unit-')), 'cache');
  });
  afterEach(() => rmSync(join(cache, '..'), { recursive: true }));

  it('is filled once, and nothing else is kept', () => {
    let fills = 0;
    const get = (): string =>
      cachedFolder(cache, 'one', (folder, work) => {
        fills++;
        writeFileSync(join(folder, 'kept'), '1');
        writeFileSync(join(work, 'lost'), '1');
      });
    expect(get()).toBe(join(cache, 'one'));
    expect(get()).toBe(join(cache, 'one'));
    expect([fills, readdirSync(cache), readdirSync(get())]).toEqual([1, ['one'], ['kept']]);
  });

  it('is not kept if it could not be filled', () => {
    const fail = (folder: string): void => {
      writeFileSync(join(folder, 'half'), '1');
      throw new Error('no network');
    };
    expect(() => cachedFolder(cache, 'one', fail)).toThrow('no network');
    expect(readdirSync(cache)).toEqual([]);
  });

  it('stays that of another process which was faster', () => {
    const folder = cachedFolder(cache, 'one', (mine) => {
      writeFileSync(join(mine, 'from'), 'this');
      mkdirSync(join(cache, 'one'));
      writeFileSync(join(cache, 'one/from'), 'the other');
    });
    expect(readFileSync(join(folder, 'from'), 'utf8')).toBe('the other');
    expect(existsSync(folder) && readdirSync(cache)).toEqual(['one']);
  });
});
