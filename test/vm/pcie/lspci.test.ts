/** What the library reads out of configuration space, beside what lspci does. */
import { execFileSync } from 'node:child_process';
import { openPci, type PciFunction } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';

/** What lspci says while the function is open, and so in D0. */
function lspci({ address }: PciFunction): string {
  return execFileSync('lspci', ['-D', '-n', '-vvv', '-s', address], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

const flag = (value: boolean): string => (value ? '+' : '-');
const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/** Lines of lspci, or parts of them, made from what the library says. */
function described({ config }: PciFunction): string[] {
  const { powerManagement: pm, msi, msix, express, aer, serialNumber } = config;
  const lines = [
    `${hex(config.classCode >>> 8, 4)}: ${hex(config.vendorId, 4)}:${hex(config.deviceId, 4)}`,
    `Subsystem: ${hex(config.subsystemVendorId, 4)}:${hex(config.subsystemId, 4)}`,
  ];
  if (pm !== undefined) {
    lines.push(`[${hex(pm.offset, 2)}] Power Management version ${pm.version}`);
    lines.push(`D1${flag(pm.supportsD1)} D2${flag(pm.supportsD2)}`);
    lines.push(`Status: ${pm.state} NoSoftRst${flag(pm.noSoftReset)} PME-Enable${flag(pm.pmeEnabled)}`);
  }
  if (msi !== undefined) {
    const { enabledVectors, vectors, perVectorMask, is64Bit } = msi;
    lines.push(
      `[${hex(msi.offset, 2)}] MSI: Enable${flag(msi.enabled)} Count=${enabledVectors}/${vectors} ` +
        `Maskable${flag(perVectorMask)} 64bit${flag(is64Bit)}`,
    );
  }
  if (msix !== undefined) {
    const { table, pending } = msix;
    lines.push(
      `[${hex(msix.offset, 2)}] MSI-X: Enable${flag(msix.enabled)} Count=${msix.vectors} ` +
        `Masked${flag(msix.functionMask)}`,
      `Vector table: BAR=${table.bar} offset=${hex(table.offset, 8)}`,
      `PBA: BAR=${pending.bar} offset=${hex(pending.offset, 8)}`,
    );
  }
  if (express !== undefined) {
    const { linkCapabilities, linkStatus } = express;
    lines.push(
      `[${hex(express.offset, 2)}] Express (v${express.version}) Endpoint`,
      `MaxPayload ${express.maxPayloadSupported} bytes, PhantFunc`,
      `FLReset${flag(express.functionLevelReset)}`,
      `RlxdOrd${flag(express.relaxedOrdering)}`,
      `NoSnoop${flag(express.noSnoop)}`,
      `MaxPayload ${express.maxPayload} bytes, MaxReadReq ${express.maxReadRequest} bytes`,
      `TransPend${flag(express.transactionsPending)}`,
      `Speed ${linkCapabilities.speed}GT/s, Width x${linkCapabilities.width}, ASPM`,
      `LnkSta:\tSpeed ${linkStatus.speed}GT/s`,
      `Width x${linkStatus.width}`,
    );
    if (express.version > 1) lines.push(`DevCtl2: Completion Timeout: 50us to 50ms, TimeoutDis-`);
  }
  if (aer !== undefined) {
    lines.push(
      `[${hex(aer.offset, 2)} v2] Advanced Error Reporting`,
      `HeaderLog: ${aer.headerLog.map((word) => hex(word, 8)).join(' ')}`,
      `First Error Pointer: ${hex(aer.firstError, 2)}`,
    );
  }
  if (serialNumber !== undefined) {
    const bytes = serialNumber.toString(16).padStart(16, '0').match(/../g)!;
    lines.push(`Device Serial Number ${bytes.join('-')}`);
  }
  return lines;
}

describe('configuration space is read as lspci reads it', () => {
  for (const variable of ['USERDMA_TEST_NVME', 'USERDMA_TEST_NIC', 'USERDMA_TEST_EDU']) {
    it(`of ${variable}`, async () => {
      using fn = await openPci(device(variable));
      const text = lspci(fn);
      for (const line of described(fn)) assert.ok(text.includes(line), `${line}\nin\n${text}`);
      // Neither does the library miss a capability that lspci knows, nor find one that it does not.
      const all = [...text.matchAll(/Capabilities: \[([0-9a-f]+)/g)].map(([, at]) => Number(`0x${at}`));
      const found = [...fn.config.capabilities(), ...fn.config.extendedCapabilities()];
      assert.deepEqual(
        found.map(({ offset }) => offset),
        all,
      );
    });
  }
});
