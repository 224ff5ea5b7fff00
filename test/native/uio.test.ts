/** Windows over files, and interrupts that a file counts: a FIFO stands for a UIO device. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, assert, beforeEach, it } from '../harness.ts';
import { mmioOf } from './mmio-calls.ts';
import { describeNative } from './support.ts';

const EPERM = -1;
const EBADF = -9;
const ENODEV = -19;
const EINVAL = -22;

let folder: string;
const descriptors = (): number => readdirSync('/proc/self/fd').length;

function setUp(): void {
  folder = mkdtempSync(join(tmpdir(), 'userdma-uio-'));
}
function tearDown(): void {
  rmSync(folder, { recursive: true });
}

describeNative('a window over a file', (addon) => {
  const mmio = mmioOf(addon);
  const page = addon.pageSize();
  let path: string;
  let fd: number;

  beforeEach(() => {
    setUp();
    path = join(folder, 'registers');
    writeFileSync(
      path,
      Uint8Array.from({ length: 3 * page }, (_, i) => i & 0xff),
    );
    fd = openSync(path, 'r+');
  });
  afterEach(() => {
    closeSync(fd);
    tearDown();
  });

  for (const mapped of [true, false]) {
    it(`begins where it was told to, ${mapped ? 'mapped' : 'through the file'}`, () => {
      const window = addon.fileWindowOpen(fd, page, 16, 100, mapped);
      assert.equal(addon.mmioSize(window), 100);
      assert.equal(mmio.mmioRead8(window, 0), (page + 16) & 0xff);
      assert.equal(mmio.mmioRead8(window, 99), (page + 115) & 0xff);
      assert.equal(mmio.mmioRead32(window, 96) & 0xff, (page + 112) & 0xff);
      assert.equal(mmio.mmioRead64(window, 96), EINVAL, 'four bytes of it are outside');
      assert.equal(mmio.mmioRead8(window, 100), EINVAL);
      assert.equal(mmio.mmioWrite16(window, 8, 0xabcd), 0);
      assert.equal(readFileSync(path).readUInt16LE(page + 24), 0xabcd);
      assert.equal(addon.fileWindowClose(window), 0);
      assert.equal(mmio.mmioRead8(window, 0), EBADF);
      assert.equal(addon.fileWindowClose(window), EBADF);
    });
  }

  it('outlives the descriptor it was opened by', () => {
    for (const mapped of [true, false]) {
      const own = openSync(path, 'r+');
      const window = addon.fileWindowOpen(own, 0, 0, page, mapped);
      closeSync(own);
      assert.equal(mmio.mmioRead8(window, 5), 5);
      addon.fileWindowClose(window);
    }
  });

  it('holds nothing once closed', () => {
    const before = descriptors();
    for (let i = 0; i < 50; i++) {
      for (const mapped of [true, false]) {
        addon.fileWindowClose(addon.fileWindowOpen(fd, 0, 0, 8, mapped));
      }
    }
    assert.equal(descriptors(), before);
  });

  it('past the end of the file does not answer, and nobody dies', () => {
    const window = addon.fileWindowOpen(fd, 3 * page, 0, page, true);
    assert.equal(mmio.mmioRead32(window, 0), -5);
    addon.fileWindowClose(window);
  });

  it('is refused where registers cannot be', () => {
    const refused: [number, number, number, number][] = [
      [fd, 1, 0, 8],
      [fd, page / 2, 0, 8],
      [fd, 0, page, 8],
      [fd, 0, 4, 8],
      [fd, 0, 0, 0],
      [fd, 0, 0, 2 ** 47],
      [-1, 0, 0, 8],
      [0.5, 0, 0, 8],
    ];
    for (const args of refused) assert.equal(addon.fileWindowOpen(...args, true), EINVAL, String(args));
    assert.equal(addon.fileWindowOpen(2 ** 30, 0, 0, 8, true), EBADF);
    const nothing = openSync('/dev/null', 'r+');
    assert.equal(addon.fileWindowOpen(nothing, 0, 0, 8, true), ENODEV);
    closeSync(nothing);
    assert.equal(addon.fileWindowOpen(fd, 0, 0, 8, 'yes' as unknown as boolean), EINVAL);
  });
});

describeNative('an interrupt that a file counts', (addon) => {
  let fd: number;
  let other: number;

  beforeEach(() => {
    setUp();
    const fifo = join(folder, 'uio0');
    execFileSync('mkfifo', [fifo]);
    fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    other = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  });
  afterEach(() => {
    closeSync(fd);
    closeSync(other);
    tearDown();
  });

  /** What the kernel would have the device's count read as. */
  const count = (total: number): void => void writeSync(other, new Uint8Array(Uint32Array.of(total).buffer));

  async function settle(): Promise<void> {
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
  }

  it('delivers how far the count has come, across its end', async () => {
    const counts: number[] = [];
    const interrupt = addon.uioInterruptCreate(fd, 2 ** 32 - 3, (number) => counts.push(number));
    for (const total of [2 ** 32 - 2, 1, 1, 2 ** 31]) {
      count(total);
      await settle();
    }
    assert.deepEqual(counts, [1, 3, 2 ** 31 - 1], 'a count that has not moved is none');
    assert.equal(addon.interruptClose(interrupt), 0);
    assert.equal(addon.interruptClose(interrupt), EBADF);
  });

  it('ends with an error, once, when the file says what no device says', async () => {
    const counts: number[] = [];
    const interrupt = addon.uioInterruptCreate(fd, 0, (number) => counts.push(number));
    writeSync(other, Uint8Array.of(1, 2));
    await settle();
    count(5);
    await settle();
    assert.deepEqual(counts, [-5]);
    assert.equal(addon.interruptRef(interrupt, true), 0);
    assert.equal(addon.interruptClose(interrupt), 0);
  });

  it('lets the file go at once when it is closed, by its own callback too', async () => {
    const before = descriptors();
    const interrupt = addon.uioInterruptCreate(fd, 0, () => {});
    assert.equal(descriptors(), before + 1);
    addon.interruptClose(interrupt);
    assert.equal(descriptors(), before);
    let calls = 0;
    const own = addon.uioInterruptCreate(fd, 0, () => {
      calls++;
      assert.equal(addon.interruptClose(own), 0);
    });
    count(1);
    await settle();
    assert.deepEqual([calls, descriptors()], [1, before]);
  });

  it('is refused for what cannot be watched', () => {
    const file = openSync(join(folder, 'plain'), 'w');
    assert.equal(
      addon.uioInterruptCreate(file, 0, () => {}),
      EPERM,
    );
    closeSync(file);
    assert.equal(
      addon.uioInterruptCreate(2 ** 30, 0, () => {}),
      EBADF,
    );
    assert.equal(
      addon.uioInterruptCreate(fd, 2 ** 32, () => {}),
      EINVAL,
    );
    assert.equal(
      addon.uioInterruptCreate(fd, -1, () => {}),
      EINVAL,
    );
    assert.equal(addon.uioInterruptCreate(fd, 0, undefined as unknown as () => void), EINVAL);
  });
});

describeNative('a region', (addon) => {
  it('says where it lies, page-aligned, while it is there', () => {
    const region = addon.regionCreate(8192, false);
    assert.ok(addon.regionAddress(region) > 0);
    assert.equal(addon.regionAddress(region) % addon.pageSize(), 0);
    const line = addon.regionAddress(region).toString(16).padStart(12, '0');
    assert.match(readFileSync('/proc/self/maps', 'utf8'), new RegExp(`^${line}-.*memfd:userdma`, 'm'));
    addon.regionRevoke(region);
    assert.equal(addon.regionAddress(region), EBADF);
  });
});
