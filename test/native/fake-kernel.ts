/** Scripts under the fake kernel (fake_kernel/fake_kernel.h): VFIO, udmabuf, DMA heaps and u-dma-buf on any Linux. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';
import { type Outcome, runScript } from './support.ts';

const library = join(packageRoot(), 'build', 'Release', 'fake_kernel.node');

/** Why nothing can run under it, in words; undefined when it can. */
export const noFakeKernel = existsSync(library) ? undefined : 'the fake kernel is not built';

/** What a script has besides `addon`: `kernel` steers the fake one, `session` uses everything once. */
const TOOLS = `
  const fs = require('node:fs');
  const touch = (path) => { try { fs.closeSync(fs.openSync('/fake-kernel/' + path)); } catch {} };
  const kernel = {
    hostile: (seed) => touch('hostile/' + seed),
    fail: (nth) => touch('fail/' + nth),
    report: () => JSON.parse(fs.readFileSync('/fake-kernel/report', 'utf8')),
  };
  /** What the process has open and mapped, of ours. */
  const held = () => {
    const link = (fd) => { try { return fs.readlinkSync('/proc/self/fd/' + fd); } catch { return ''; } };
    const mapped = fs.readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => /memfd:(userdma|fake-kernel)/.test(line));
    const { open, dma } = kernel.report();
    return {
      fds: fs.readdirSync('/proc/self/fd').map(link).filter((path) => /memfd:(userdma|fake-kernel)|eventfd/.test(path)).length,
      mapped: mapped.length,
      open: Object.values(open).reduce((sum, count) => sum + count, 0),
      dma,
    };
  };
  const heaps = [fs.openSync('/dev/udmabuf', 'r+'), fs.openSync('/dev/dma_heap/system', 'r+')];
  const foreign = new ArrayBuffer(65536);
  /** Everything that the addon has for VFIO and for buffers, in the order of a driver; then all of it is closed. */
  const session = (note = () => {}) => {
    const seen = {};
    const made = [];
    const get = (name, key, ...args) => {
      const value = (mmio[name] ?? addon[name])(...args);
      seen[key] = value;
      note(name, value);
      return value;
    };
    const make = (name, close, key, ...args) => {
      const handle = get(name, key, ...args);
      if (typeof handle === 'number' && handle > 0) made.push([close, handle]);
      return handle;
    };
    const page = addon.pageSize();
    const region = make('regionCreate', 'regionRevoke', 'region', 16 * page, false);
    const memory = get('regionCarve', 'memory', region, 0, 4 * page);
    const container = make('vfioContainerOpen', 'vfioContainerClose', 'container', 3);
    for (const group of [7, 8]) {
      get('vfioGroupOpen', 'groupOpen' + group, container, group);
      get('vfioGroupStatus', 'groupStatus' + group, container, group);
      get('vfioGroupAttach', 'groupAttach' + group, container, group);
    }
    get('vfioSetIommu', 'iommu', container);
    get('vfioIommuInfo', 'info', container);
    get('vfioGroupHeld', 'held', 7);
    get('vfioCanMapForeign', 'canForeign');
    const offset = (page - get('vfioPageOffset', 'pageOffset', foreign, page)) % page;
    get('vfioMap', 'map', container, 0x10000, memory, page, 2 * page, 3);
    get('vfioMap', 'mapTwice', container, 0x10000, memory, page, page, 3);
    get('vfioMap', 'mapForeign', container, 0x100000, foreign, offset, page, 1);
    const devices = [['0000:00:02.0', 7], ['0000:00:03.0', 8]].map(([name, group]) =>
      make('vfioDeviceOpen', 'vfioDeviceClose', 'device' + group, container, group, name));
    const device = devices[0];
    for (let index = 0; index < 10; index++) get('vfioRegionSize', 'size' + index, device, index);
    const bars = [0, 1, 2, 3, 4].map((bar) => get('vfioBarOpen', 'bar' + bar, device, bar));
    get('mmioReserve', 'reserve', bars[2], 0x100, 0x40, false);
    bars.forEach((bar, index) => {
      for (const at of [0, 48, 4096, 8192, 16376, 65528, 0x100]) {
        get('mmioWrite32', 'write' + index + '@' + at, bar, at, at + index);
        get('mmioRead32', 'read' + index + '@' + at, bar, at);
        get('mmioWrite64', 'write64' + index + '@' + at, bar, at, BigInt(at));
        get('mmioRead64', 'read64' + index + '@' + at, bar, at);
        get('mmioRead8', 'read8' + index + '@' + at, bar, at + 1);
      }
    });
    get('vfioMapWindow', 'mapWindow', container, 0x200000, bars[2], page, 2 * page, 3);
    get('vfioRegionWrite', 'configWrite', device, 7, 4, 2, 0x406);
    get('vfioRegionRead', 'configRead', device, 7, 4, 2);
    get('vfioRegionReadBytes', 'rom', device, 6, 0, new ArrayBuffer(2048));
    const interrupt = make('interruptCreate', 'interruptClose', 'interrupt', () => {});
    for (const kind of [0, 1, 2, 3, 4, 5]) {
      const count = get('vfioIrqCount', 'irqs' + kind, device, kind);
      get('vfioIrqResizable', 'resizable' + kind, device, kind);
      get('vfioIrqArm', 'arm' + kind, device, kind, 0, Math.min(Math.max(count, 1), 16), interrupt);
      get('vfioIrqTrigger', 'trigger' + kind, device, kind, 0);
      get('vfioIrqArm', 'disarm' + kind, device, kind, 0, 1, 0);
      get('vfioIrqUnmask', 'unmask' + kind, device, kind);
      get('vfioIrqOff', 'off' + kind, device, kind);
    }
    get('vfioDeviceReset', 'reset', device);
    get('vfioHotResetInfo', 'hotInfo', device);
    get('vfioHotReset', 'hot', device);
    get('vfioUnmap', 'unmapWindow', container, 0x200000, 2 * page);
    get('vfioUnmap', 'unmapForeign', container, 0x100000, page);
    get('vfioUnmap', 'unmapPart', container, 0x10000, page);
    get('vfioUnmap', 'unmap', container, 0x10000, 2 * page);
    get('vfioMap', 'mapAgain', container, 0x10000, memory, 0, 4 * page, 2); // left for the close
    const without = make('vfioContainerOpen', 'vfioContainerClose', 'containerWithout', 8);
    get('vfioGroupOpen', 'groupOpen10', without, 10);
    get('vfioGroupAttach', 'groupAttach10', without, 10);
    get('vfioSetIommu', 'noIommu', without);
    make('vfioDeviceOpen', 'vfioDeviceClose', 'device10', without, 10, '0000:00:05.0');
    get('vfioMap', 'mapWithout', without, 0x10000, memory, page, page, 3);
    const ioas = make('ioasCreate', 'ioasClose', 'ioas', -1);
    let node0 = -1;
    try { node0 = fs.openSync('/dev/vfio/devices/vfio0', 'r+'); } catch {}
    make('ioasDeviceOpen', 'vfioDeviceClose', 'ioasDevice', ioas, node0);
    let node1 = -1;
    try { node1 = fs.openSync('/dev/vfio/devices/vfio1', 'r+'); } catch {}
    make('ioasDeviceOpen', 'vfioDeviceClose', 'ioasDeviceWithToken', ioas, node1, new ArrayBuffer(16));
    get('ioasInfo', 'ioasInfo', ioas);
    get('ioasMap', 'ioasMap', ioas, 0x10000, memory, page, page, 3);
    get('ioasMap', 'ioasMapNext', ioas, 0x10000 + page, memory, 0, 2 * page, 1);
    get('ioasMap', 'ioasMapTwice', ioas, 0x10000, memory, page, page, 3);
    get('ioasMap', 'ioasMapForeign', ioas, 0x100000, foreign, offset, page, 2);
    get('ioasMap', 'ioasMapNothing', ioas, 0x200000, memory, 0, page, 0);
    get('ioasMapWindow', 'ioasMapWindow', ioas, 0x400000, bars[2], page, 2 * page, 3);
    get('ioasMapWindow', 'ioasMapPorts', ioas, 0x500000, bars[1], 0, 64, 3);
    make('dmaBufOfWindow', 'dmaBufClose', 'registers', bars[2], 0, page);
    get('dmaBufOfWindow', 'noRegisters', bars[1], 0, page);
    get('ioasUnmap', 'ioasUnmapCut', ioas, 0x10000, 2 * page);
    get('ioasUnmap', 'ioasUnmapNone', ioas, 0x300000, page);
    get('ioasUnmap', 'ioasUnmapForeign', ioas, 0x100000, page);
    get('ioasUnmap', 'ioasUnmap', ioas, 0x10000, page); // the next one is left for the close
    const file = get('regionFd', 'fd', region);
    const buffer = make('udmabufCreate', 'dmaBufClose', 'udmabuf', heaps[0], Float64Array.of(file, 0, page, file, 2 * page, page));
    get('dmaBufSize', 'bufSize', buffer);
    get('dmaBufMap', 'bufMap', buffer, page);
    get('dmaBufSync', 'bufSync', buffer, 3);
    make('dmaBufImport', 'dmaBufClose', 'import', get('dmaBufFd', 'bufFd', buffer));
    make('dmaHeapAllocate', 'dmaBufClose', 'heap', heaps[1], 5000);
    const node = make('uDmaBufOpen', 'regionRevoke', 'node', '/dev/fake-udmabuf0', 1 << 20, false, false);
    get('uDmaBufInfo', 'nodeInfo', node);
    get('uDmaBufSync', 'nodeSync', node, 0, page, 1, true);
    get('uDmaBufSetMode', 'nodeMode', node, 1);
    const exported = get('uDmaBufExport', 'nodeExport', node, 0, page);
    if (exported > 2 && fs.readlinkSync('/proc/self/fd/' + exported).includes('fake-kernel')) fs.closeSync(exported);
    for (const [close, handle] of made.reverse()) {
      const result = addon[close](handle);
      note(close, result);
      if (close !== 'regionRevoke' && close !== 'dmaBufClose' && result !== 0) throw new Error(close + ' gave ' + result);
      if (result !== 0) addon[close](handle); // an allocation that was to fail did
    }
    return seen;
  };
`;

/** Runs CommonJS `script` as runScript does, with the fake kernel below. */
export function runUnderFakeKernel(script: string, flags: readonly string[] = []): Outcome {
  const { LD_PRELOAD, ASAN_OPTIONS } = process.env;
  return runScript(`const TOOLS = ${JSON.stringify(TOOLS)};${TOOLS}${script}`, flags, {
    // In front of a sanitizer, which passes on what the fake kernel does not take.
    LD_PRELOAD: [library, LD_PRELOAD].filter(Boolean).join(':'),
    ...(ASAN_OPTIONS === undefined ? {} : { ASAN_OPTIONS: `${ASAN_OPTIONS}:verify_asan_link_order=0` }),
  });
}
