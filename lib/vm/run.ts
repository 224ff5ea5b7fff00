/**
 * Boots a machine, runs one command in it and returns how it ended.
 *
 * QEMU exits 0 after a kernel panic as after a normal power-off, so its exit status says nothing. What counts is a
 * file on the writable share, which /init writes when the command has ended. QEMU runs under timeout(1), so that
 * it ends even when this process is killed.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onPath } from '../programs.ts';
import { HarnessError, packagesHint } from './harness-error.ts';
import { type Device, diskImage, type Folder, type Machine, qemuArguments } from './machine.ts';
import type { Qemu } from './qemu.ts';
import { setting } from './settings.ts';

/** Where the guest sees the share. */
export const guestShare = '/run/userdma';
/** What is on the share for the machine itself, at its top. */
export const OWN_FILES: ReadonlySet<string> = new Set(['config', 'command.sh', 'status', 'monitor']);

export interface Job {
  readonly machine: Machine;
  readonly qemu: Qemu;
  readonly kernel: string;
  readonly initrd: string;
  /** Host folder that is the guest's root. Default: the host's root. */
  readonly root?: string;
  /** Host folders that are mounted at the same path, where the guest's root is another than the host's. */
  readonly folders?: readonly string[];
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Folder the command starts in; the same path as on the host. */
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Seconds of wall time until the machine is switched off. */
  readonly limit: number;
  /** Gets what the command prints, as it comes. */
  print(text: string): void;
  /** Gets the share's host path after the machine is off, before it is deleted. */
  collect?(share: string): void;
}

export type Outcome =
  | {
      readonly kind: 'exited';
      readonly status: number;
      readonly seconds: number;
      /** What /init could not do before the command: modules that did not load, functions that were not bound. */
      readonly troubles: readonly string[];
    }
  | {
      readonly kind: 'timeout' | 'died';
      readonly seconds: number;
      /** The last step /init reported, or nothing when it never started. */
      readonly stage: string | undefined;
      /** The kernel's own reason, when it stopped itself. */
      readonly panic: string | undefined;
      /** Last lines of the kernel's console. */
      readonly console: readonly string[];
      /** What QEMU itself complained about. */
      readonly complaint: string;
    };

const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;

/** Variables that tell the command which devices the machine has. */
function deviceVariables(machine: Machine): Record<string, string> {
  const named = machine.devices.filter((device) => device.variable !== undefined);
  return Object.fromEntries(named.map((device) => [device.variable!, device.address!]));
}

function commandScript(
  { machine, command, folder, environment, qemu }: Job,
  refused: readonly Refusal[],
): string {
  const variables = {
    ...environment,
    ...deviceVariables(machine),
    USERDMA_VM: machine.name,
    USERDMA_TEST_CLOCK: machine.clock,
    USERDMA_TEST_IOMMU: machine.iommu,
    USERDMA_TEST_QEMU: qemu.version,
    USERDMA_TEST_ABSENT: JSON.stringify({
      ...machine.absent,
      ...Object.fromEntries(
        refused.map(({ device, reason }) => [
          device.variable ?? device.qemu,
          `QEMU ${qemu.version} refuses the device: ${reason}`,
        ]),
      ),
    }),
  };
  const assignments = Object.entries(variables).map(([name, value]) => quote(`${name}=${value}`));
  const remove = machine.container === false ? 'rm -f /dev/vfio/vfio\n' : '';
  return `${remove}cd ${quote(folder)} || exit\nexec env -i ${[...assignments, ...command.map(quote)].join(' ')}\n`;
}

/** A device that this QEMU does not make, and what it says. */
interface Refusal {
  readonly device: Device;
  readonly reason: string;
}

function writeInstructions(share: string, job: Job, refused: readonly Refusal[]): void {
  const { devices, modules, bind: more = [] } = job.machine;
  const bind = [...devices.flatMap(({ driver, address }) => (driver ? [address] : [])), ...more];
  const folders = foldersOf(job).map(({ tag, path }) => `${tag} ${path}`);
  const lines = { MODULES: modules.join('\n'), BIND: bind.join(' '), FOLDERS: folders.join('\n') };
  const assignments = Object.entries(lines).map(([name, value]) => `${name}=${quote(value)}\n`);
  writeFileSync(join(share, 'config'), assignments.join(''));
  writeFileSync(join(share, 'command.sh'), commandScript(job, refused));
}

function foldersOf({ folders = [] }: Job): Folder[] {
  return folders.map((path, index) => ({ path, tag: `folder${index}` }));
}

/** Bytes of a disk that is made here: more than tests write, and sparse. */
const DISK_SIZE = 128 * 2 ** 20;

function makeDisks(share: string, { machine }: Job): void {
  for (const { disk, image = disk && diskImage(share, disk) } of machine.devices) {
    if (image === undefined || existsSync(image)) continue;
    writeFileSync(image, '');
    truncateSync(image, DISK_SIZE);
  }
}

function requireTool(name: string): void {
  if (onPath(name) === undefined) throw new HarnessError(`${name} is not installed; ${packagesHint}`);
}

interface Ended {
  readonly status: number | null;
  readonly interrupted: boolean;
  readonly complaint: string;
}

/** Runs QEMU to its end. */
function runQemu(args: readonly string[], { qemu, limit, print }: Job): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn('timeout', ['--kill-after=5', String(limit), ...qemu.command, ...args], {
      // An input at its end would count as a disconnected port, on which the guest's writes block: keep it open.
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let interrupted = false;
    const stop = () => {
      interrupted = true;
      child.kill('SIGTERM'); // timeout passes it on
    };
    process.on('SIGINT', stop).on('SIGTERM', stop);
    child.stdout.setEncoding('utf8').on('data', print);
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(0, 4096);
    });
    child.on('error', reject);
    child.on('close', (status) => {
      process.off('SIGINT', stop).off('SIGTERM', stop);
      resolve({ status, interrupted, complaint: complaint.trim().split('\n').slice(0, 3).join('\n') });
    });
  });
}

const stagePattern = /userdma-vm: (.*)/;

interface ConsoleLog {
  readonly stage: string | undefined;
  readonly panic: string | undefined;
  readonly troubles: readonly string[];
  readonly lines: readonly string[];
}

function readConsole(path: string): ConsoleLog {
  const text = existsSync(path) ? readFileSync(path, 'latin1') : '';
  const lines = text.split(/[\r\n]+/).map((line) => line.trim());
  const stages = lines.flatMap((line) => stagePattern.exec(line)?.[1] ?? []);
  const panic = lines.map((line) => /Kernel panic.*/.exec(line)?.[0]).find((line) => line !== undefined);
  const troubles = stages.flatMap((line) => /\bcannot .*/.exec(line)?.[0] ?? []);
  return { stage: stages.at(-1), panic, troubles, lines: lines.filter((line) => line !== '') };
}

const timeoutStatuses: readonly (number | null)[] = [124, 137];

interface Attempt {
  readonly outcome: Outcome;
  /** QEMU's exit status: not 0 when QEMU itself failed, whatever the guest did. */
  readonly status: number | null;
}

async function attempt(job: Job, refused: readonly Refusal[]): Promise<Attempt> {
  const share = mkdtempSync(join(tmpdir(), 'userdma-vm-'));
  const start = performance.now();
  try {
    writeInstructions(share, job, refused);
    makeDisks(share, job);
    const files = {
      ...{ kernel: job.kernel, initrd: job.initrd, root: job.root ?? '/', folders: foldersOf(job) },
      ...{ share, console: join(share, 'console.log') },
    };
    const args = qemuArguments(job.machine, files, setting('ACCEL') ?? 'tcg', job.qemu.version);
    const ended = await runQemu(args, job);
    if (ended.interrupted) throw new HarnessError('interrupted');
    const seconds = (performance.now() - start) / 1000;
    job.collect?.(share);
    const statusFile = join(share, 'status');
    const { stage, panic, troubles, lines } = readConsole(files.console);
    const { status, complaint } = ended;
    if (existsSync(statusFile)) {
      const own = Number(readFileSync(statusFile, 'utf8'));
      return { status, outcome: { kind: 'exited', status: own, seconds, troubles } };
    }
    const kind = timeoutStatuses.includes(status) ? 'timeout' : 'died';
    return { status, outcome: { kind, seconds, stage, panic, console: lines.slice(-15), complaint } };
  } finally {
    rmSync(share, { recursive: true, force: true });
  }
}

/** The device that QEMU names in its refusal: `qemu-system-x86_64: -device edu,addr=0x10: the reason`. */
export function refusedDevice(complaint: string, devices: readonly Device[]): Refusal | undefined {
  for (const line of complaint.split('\n')) {
    for (const device of devices) {
      const [before, reason] = line.split(`-device ${device.qemu}: `);
      if (reason !== undefined && !before!.includes('-device') && !reason.startsWith('warning:')) {
        return { device, reason: reason.trim() };
      }
    }
  }
  return undefined;
}

function without(machine: Machine, device: Device): Machine {
  return { ...machine, devices: machine.devices.filter((other) => other !== device) };
}

/**
 * Runs the job. QEMU ends with 0 when the guest has ended, however badly, so another status before /init is QEMU's own
 * refusal, and only then its complaints are more than warnings. A device that it refuses is left out, which the command
 * is told of by USERDMA_TEST_ABSENT. A kernel that dies before /init is started once more: that is the emulator
 * tripping over the kernel's self-modifying boot code, rare and not the command's doing.
 */
export async function run(job: Job): Promise<Outcome> {
  requireTool('timeout');
  const refused: Refusal[] = [];
  let machine = job.machine;
  let deaths = 0;
  for (;;) {
    const { status, outcome } = await attempt({ ...job, machine }, refused);
    if (outcome.kind !== 'died' || outcome.stage !== undefined) return outcome;
    if (status === 0) {
      if (++deaths > 1) return outcome;
      job.print(`vm: ${outcome.panic ?? 'the kernel died before its first process'}; starting once more\n`);
      continue;
    }
    const refusal = refusedDevice(outcome.complaint, machine.devices);
    if (refusal === undefined) return outcome;
    job.print(`vm: left out, because QEMU refuses it: ${refusal.device.qemu}: ${refusal.reason}\n`);
    refused.push(refusal);
    machine = without(machine, refusal.device);
  }
}

/** The exit status that tells it: the command's, 124 for the time limit as timeout(1), 125 for a machine that died. */
export function exitStatus(outcome: Outcome): number {
  if (outcome.kind === 'exited') return outcome.status;
  return outcome.kind === 'timeout' ? 124 : 125;
}

/** A few lines for a person: what happened, how far it came, what the kernel said last. */
export function explain(outcome: Outcome): string {
  if (outcome.kind === 'exited') return `command ended with status ${outcome.status}`;
  const after = `${outcome.seconds.toFixed(1)} s`;
  const what =
    outcome.kind === 'timeout' ? `switched off at the limit, after ${after}` : `died after ${after}`;
  const came = outcome.stage ?? 'the kernel never started its first process';
  const head = [`vm: the machine ${what}; it came as far as: ${came}`];
  const panic = outcome.panic === undefined ? [] : [`vm: ${outcome.panic}`];
  if (outcome.complaint !== '') head.push(`vm: QEMU says: ${outcome.complaint}`);
  return [
    ...head,
    ...panic,
    'vm: last lines of the kernel console:',
    ...outcome.console.map((line) => `  | ${line}`),
  ].join('\n');
}
