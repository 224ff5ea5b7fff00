/** Virtual functions on a tree of files: what is asked of the kernel, and what it refuses. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { disableSriov, enableSriov, readSriov } from '../../lib/index.ts';
import { readFacts } from '../../lib/pci/facts.ts';
import { tokenBytes, tokenError } from '../../lib/pci/vfio/vf-token.ts';

const PF = '0000:01:00.0';
const VF = '0000:01:00.1';
const TOKEN = 'bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3';
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userdma-sriov-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function device(address: string, files: Record<string, string>, links: Record<string, string> = {}): string {
  const folder = `${root}/sys/bus/pci/devices/${address}`;
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(`${folder}/${name}`, text);
  for (const [name, target] of Object.entries(links)) symlinkSync(target, `${folder}/${name}`);
  return folder;
}

describe('virtual functions', () => {
  it('are read in the order of their numbers', () => {
    const links = Object.fromEntries(
      [10, 2, 0].map((n) => [`virtfn${n}`, `../0000:01:${n.toString(16).padStart(2, '0')}.0`]),
    );
    device(PF, { sriov_totalvfs: '16\n', sriov_numvfs: '3\n' }, links);
    device(VF, {});
    expect(readSriov(PF, { root })).toEqual({
      totalVfs: 16,
      numVfs: 3,
      virtualFunctions: ['0000:01:00.0', '0000:01:02.0', '0000:01:0a.0'],
    });
    expect(readSriov(VF, { root })).toBeUndefined();
  });

  it('are created and removed by their number', async () => {
    const folder = device(PF, { sriov_totalvfs: '4\n', sriov_numvfs: '0\n' });
    await enableSriov(PF, 3, { root });
    expect(readFileSync(`${folder}/sriov_numvfs`, 'utf8')).toBe('3');
    await disableSriov(PF, { root });
    expect(readFileSync(`${folder}/sriov_numvfs`, 'utf8')).toBe('0');
  });

  it('are refused where there are none, or too few, or some already', async () => {
    device(PF, { sriov_totalvfs: '4\n', sriov_numvfs: '2\n' });
    device(VF, {}, { physfn: `../${PF}` });
    device('0000:00:02.0', {});
    const refused = (address: string, count: number, code: string, words: RegExp) =>
      expect(enableSriov(address, count, { root })).rejects.toThrow(
        expect.objectContaining({ code, message: expect.stringMatching(words) }),
      );
    await refused(PF, 5, 'EINVAL', /has no 5 virtual functions; pass 1 to 4/);
    await refused(PF, 1, 'EBUSY', /has 2 virtual functions; .*userdma sriov 0000:01:00.0 0/);
    await refused(VF, 1, 'EOPNOTSUPP', /it is one itself, of 0000:01:00.0/);
    await refused('0000:00:02.0', 1, 'EOPNOTSUPP', /capability SR-IOV/);
    await refused('0000:00:03.0', 1, 'ENODEV', /no PCI function/);
  });
});

describe('the token of a virtual function', () => {
  it('has the bytes of its digits, in their order', () => {
    expect(Buffer.from(tokenBytes(TOKEN)).toString('hex')).toBe(TOKEN.replaceAll('-', ''));
  });

  it('explains what the kernel refuses', () => {
    device(PF, { sriov_totalvfs: '4\n' }, { driver: '../../../bus/pci/drivers/vfio-pci' });
    device(VF, {}, { physfn: `../${PF}` });
    const [physical, virtual] = [PF, VF].map((address) => readFacts(address, root));
    const said = (facts = virtual!, result = -13, token?: string) =>
      tokenError(facts, result, token, 'open')?.message;
    expect(said()).toMatch(/with a token only; .*physical function 0000:01:00.0/);
    expect(said(virtual, -13, TOKEN)).toMatch(/has another token/);
    expect(said(physical)).toMatch(/its virtual functions were opened/);
    expect(said(virtual, -22, TOKEN)).toBeUndefined();
    expect(said(virtual, 5, TOKEN)).toBeUndefined();
    rmSync(`${root}/sys/bus/pci/devices/${PF}/driver`);
    expect(said(readFacts(VF, root), -22, TOKEN)).toMatch(/takes no token/);
  });
});
