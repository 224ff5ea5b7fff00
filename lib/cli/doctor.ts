/** userdma doctor: the state of the machine, the problems, and the command that solves each. */
import { basename } from 'node:path';
import pc from 'picocolors';
import { type Diagnosis, type DoctorOptions, diagnoseMachine } from '../doctor/doctor.ts';
import type { Machine } from '../doctor/machine.ts';
import type { Problem } from '../doctor/problems.ts';
import { EXIT } from './exit.ts';
import { bytes, table, toJson } from './output.ts';

export function doctor(options: DoctorOptions & { json: boolean }): void {
  const { json, ...asked } = options;
  const diagnosis = diagnoseMachine(asked);
  if (diagnosis.problems.length > 0) process.exitCode = EXIT.failed;
  console.log(json ? toJson(diagnosis) : render(diagnosis));
}

function render({ machine, problems, ways, opening }: Diagnosis): string {
  const works = Object.entries(ways).map(
    ([way, usable]) => `${usable ? pc.green('yes') : pc.dim('no ')} ${way}`,
  );
  const found = problems.map((problem, index) => renderProblem(problem, index, machine.root)).join('\n\n');
  return [
    table(['', ''], [...facts(machine), ...howItOpens(opening)]).trimStart(),
    `${pc.bold('What works now')}\n  ${works.join('\n  ')}`,
    problems.length === 0 ? pc.green('No problem was found.') : `${pc.bold('Problems')}\n${found}`,
  ].join('\n\n');
}

function renderProblem({ what, command, asRoot, advice }: Problem, index: number, root: boolean): string {
  const lines = [`${index + 1}. ${pc.red(what)}`];
  if (command !== undefined)
    lines.push(`   ${pc.cyan(command)}${asRoot && !root ? pc.dim('   (as root)') : ''}`);
  if (advice !== undefined) lines.push(`   ${advice}`);
  return lines.join('\n');
}

function howItOpens(opening: Diagnosis['opening']): [string, string][] {
  if (opening === undefined) return [];
  const { iommu, numaNode } = opening;
  const node = numaNode === undefined ? '' : `, memory of NUMA node ${numaNode}`;
  return [['opens through', `${iommu}${node}`]];
}

function facts(machine: Machine): [string, string][] {
  const { confined, libc, memlock, nodes } = machine;
  const general: [string, string][] = [
    [
      'system',
      `${machine.platform} ${machine.arch}, kernel ${machine.kernel}${confined ? `, in ${confined}` : ''}`,
    ],
    ['runtime', `${machine.runtime}${libc === undefined ? '' : `, ${libc}`}`],
    ['addon', machine.addon ?? `loaded, pages of ${bytes(machine.pageSize ?? 0)}`],
  ];
  if (machine.platform !== 'linux')
    return [...general, ['hardware', 'needs Linux; the simulation runs here']];
  const list = (names: readonly string[]) => (names.length === 0 ? 'none' : names.join(' '));
  const groups = machine.vfioGroups.map(({ group, state }) => `${group} (${state})`);
  const pools = machine.hugePages.map(
    (pool) => `${pool.free} of ${pool.reserved} free, ${bytes(pool.pageSize)} each`,
  );
  const without: [string, string][] =
    machine.noIommuGroups.length === 0
      ? []
      : [['VFIO without IOMMU', machine.noIommuGroups.map((group) => `noiommu-${group}`).join(' ')]];
  const limit =
    memlock === undefined ? 'unknown' : memlock.limit === Infinity ? 'no limit' : bytes(memlock.limit);
  return [
    ...general,
    ['command line', machine.commandLine ?? 'unknown'],
    ['IOMMU', `${list(machine.iommus)}, ${machine.groups} groups`],
    [
      'VFIO',
      `${nodes.vfio}, vfio-pci ${machine.vfioPciLoaded ? 'loaded' : 'not loaded'}; groups: ${list(groups)}`,
    ],
    ['VFIO devices', list(machine.vfioDevices.map(({ node, state }) => `${basename(node)} (${state})`))],
    ['iommufd', nodes.iommufd],
    ...without,
    ['udmabuf', nodes.udmabuf],
    ['dma-heaps', list(machine.dmaHeaps)],
    ['UIO', list(machine.uio)],
    ['u-dma-buf', list(machine.uDmaBufs)],
    ['NUMA nodes', list(machine.numaNodes.map(String))],
    ['locked memory', limit],
    ['huge pages', pools.join('; ') || 'none'],
    ['lockdown', machine.lockdown ?? 'not built in'],
    ['secure boot', machine.secureBoot === undefined ? 'unknown' : machine.secureBoot ? 'on' : 'off'],
    ['user', machine.root ? 'root' : String(process.getuid?.())],
  ];
}
