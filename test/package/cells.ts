/** The ways of using the package, each in a fresh project: a package manager, a module system, a tool. */
import { chmodSync } from 'node:fs';
import type { Diagnosis } from '../../lib/doctor/doctor.ts';
import type { Cell } from './cell.ts';
import { checkout } from './checkout.ts';
import { debian } from './debian.ts';
import { musl } from './musl.ts';
import { npx, Project } from './project.ts';
import { virtualMachine } from './vm.ts';

/** A simulated device gives memory; the addon loads on Linux. */
const BODY = `
  const fn = await openPci(simulate(new EduModel()));
  const ring = fn.dma.allocCoherent(4096);
  if (ring.buffer.byteLength !== 4096) throw new Error('no memory');
  fn.close();
  const nvme = await NvmeController.open(await openPci(simulate(new NvmeModel())));
  await nvme.close();
  for (const model of [E1000eModel, AxiDmaModel, VirtioBlkModel]) (await openPci(simulate(new model()))).close();
  if (process.platform === 'linux') new MemfdMemory().close();
  console.log('works');
`;
const IMPORTS = `import { MemfdMemory, openPci } from 'userdma';
import { EduModel, NvmeModel, simulate } from 'userdma/sim';
import { NvmeController } from 'userdma/nvme';
import { E1000eModel } from 'userdma/nic';
import { AxiDmaModel } from 'userdma/axi-dma';
import { VirtioBlkModel } from 'userdma/virtio-blk';
`;
const ESM = `${IMPORTS}${BODY}`;
const CJS = `const { MemfdMemory, openPci } = require('userdma');
const { EduModel, NvmeModel, simulate } = require('userdma/sim');
const { NvmeController } = require('userdma/nvme');
const { E1000eModel } = require('userdma/nic');
const { AxiDmaModel } = require('userdma/axi-dma');
const { VirtioBlkModel } = require('userdma/virtio-blk');
(async () => {${BODY}})();
`;

function manager(name: string, install: (project: Project, tarball: string) => void, node = ['node']): Cell {
  return {
    name,
    run(folder, tarball) {
      const project = new Project(folder);
      project.write('main.mjs', ESM);
      project.write('main.cjs', CJS);
      install(project, tarball);
      const [program, ...before] = node;
      project.works(program!, ...before, 'main.mjs');
      project.works(program!, ...before, 'main.cjs');
    },
  };
}

const YARN_1 = 'yarn@1.22.22';
const YARN = '@yarnpkg/cli-dist@4.18.1';
const yarn4 = (linker: string) => (project: Project, tarball: string) => {
  project.write('.yarnrc.yml', `nodeLinker: ${linker}\nenableGlobalCache: false\nenableTelemetry: false\n`);
  project.write('yarn.lock', '');
  npx(project, YARN, 'yarn', 'add', `userdma@file:${tarball}`);
};

const managers: Cell[] = [
  manager('npm', (project, tarball) => project.install(tarball)),
  manager('pnpm', (project, tarball) => npx(project, 'pnpm@10', 'pnpm', 'add', tarball)),
  manager('yarn 1', (project, tarball) => npx(project, YARN_1, 'yarn', 'add', `file:${tarball}`)),
  manager('yarn 4, node-modules', yarn4('node-modules')),
  manager('yarn 4, plug and play', yarn4('pnp'), [
    'node',
    '--require',
    './.pnp.cjs',
    '--loader',
    './.pnp.loader.mjs',
  ]),
];

function types(version: string, module: string): Cell {
  return {
    name: `TypeScript ${version}, ${module}`,
    run(folder, tarball) {
      const project = new Project(folder, { type: 'module' });
      project.install(tarball, `typescript@${version}`, '@types/node@20');
      const resolution = module === 'bundler' ? 'esnext' : 'nodenext';
      const lib = ['es2023', 'esnext.disposable'];
      const base = { module: resolution, moduleResolution: module, target: 'es2022', lib, types: ['node'] };
      const compilerOptions = { ...base, strict: true, skipLibCheck: false, noEmit: true };
      project.write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['main.ts'] }));
      project.write(
        'main.ts',
        `${ESM}\nimport { expectNoDmaErrors } from 'userdma/testing';\nvoid expectNoDmaErrors;\n`,
      );
      project.run(process.execPath, 'node_modules/typescript/bin/tsc', '-p', '.');
    },
  };
}

const TEST = (imports: string) => `${imports}\n${IMPORTS}test('works', async () => {${BODY}});\n`;

const runners: Cell[] = [
  {
    name: 'node:test',
    run(folder, tarball) {
      const project = new Project(folder);
      project.install(tarball);
      project.write('a.test.mjs', TEST("import { test } from 'node:test';"));
      project.run('node', '--test');
    },
  },
  {
    name: 'vitest',
    run(folder, tarball) {
      const project = new Project(folder, { type: 'module' });
      project.install(tarball, 'vitest@4.1.12', 'vite@8.3.8');
      project.write('a.test.js', TEST("import { test } from 'vitest';"));
      project.run('node', 'node_modules/vitest/vitest.mjs', 'run');
    },
  },
  {
    name: 'Jest',
    run(folder, tarball) {
      const project = new Project(folder, { type: 'module' });
      project.install(tarball, 'jest@30');
      project.write('a.test.js', TEST("import { test } from '@jest/globals';"));
      project.run('node', '--experimental-vm-modules', 'node_modules/jest/bin/jest.js', '--transform', '{}');
    },
  },
];

/** A bundle that runs where the package is installed. @param build writes `out.mjs` or `out.cjs` of `main.mjs` */
function bundler(
  name: string,
  tools: string[],
  format: 'esm' | 'cjs',
  build: (project: Project, out: string) => void,
): Cell {
  return {
    name: `${name}, ${format}`,
    run(folder, tarball) {
      const project = new Project(folder);
      project.install(tarball, ...tools);
      project.write('main.mjs', format === 'esm' ? ESM : `${IMPORTS}(async () => {${BODY}})();\n`);
      const out = format === 'esm' ? 'out.mjs' : 'out.cjs';
      build(project, out);
      project.works('node', out);
    },
  };
}

const esbuild = (format: 'esm' | 'cjs') =>
  bundler('esbuild', ['esbuild@0.28.2'], format, (project, out) => {
    const options = ['--bundle', '--platform=node', `--format=${format}`, `--outfile=${out}`];
    project.run('node', 'node_modules/esbuild/bin/esbuild', 'main.mjs', ...options);
  });

const rollup = (format: 'esm' | 'cjs') =>
  bundler('rollup', ['rollup@4', '@rollup/plugin-node-resolve'], format, (project, out) => {
    const options = ['--format', format, '--file', out, '--plugin', 'node-resolve', '--inlineDynamicImports'];
    project.run('node', 'node_modules/rollup/dist/bin/rollup', 'main.mjs', ...options);
  });

const webpack = (format: 'esm' | 'cjs') =>
  bundler('webpack', ['webpack@5', 'webpack-cli@6'], format, (project, out) => {
    const module = format === 'esm';
    const output = {
      filename: out,
      path: project.folder,
      module,
      chunkFormat: module ? 'module' : 'commonjs',
    };
    const config = {
      mode: 'production',
      target: 'node20',
      entry: './main.mjs',
      experiments: { outputModule: module },
      output,
    };
    project.write('webpack.config.cjs', `module.exports = ${JSON.stringify(config)};\n`);
    project.run('node', 'node_modules/webpack/bin/webpack.js');
  });

const runtimes: Cell[] = ['bun', 'deno'].map((name) => ({
  name: `${name}: the simulation, and why the addon does not load where it does not`,
  run(folder, tarball) {
    const project = new Project(folder);
    project.haveTools([name]);
    project.run('npm', 'install', tarball, name);
    const guarded = BODY.replace(
      'new MemfdMemory().close()',
      "try { new MemfdMemory().close() } catch (error) { if (error.code !== 'ENOSYS') throw error }",
    );
    project.write('main.mjs', `${IMPORTS}${guarded}`);
    project.works(`node_modules/.bin/${name}`, 'run', ...(name === 'deno' ? ['-A'] : []), 'main.mjs');
  },
}));

const checks: Cell[] = [
  {
    name: 'doctor, not as root',
    run(folder, tarball) {
      const project = new Project(folder);
      project.install(tarball);
      chmodSync(folder, 0o755);
      const command = [process.execPath, 'node_modules/userdma/dist/bundle/cli/main.js', 'doctor', '--json'];
      const user =
        process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'] : [];
      const [program, ...words] = [...user, ...command];
      let output: string;
      try {
        output = project.run(program!, ...words);
      } catch (error) {
        output = String((error as { stdout?: string }).stdout); // problems are exit code 1
      }
      const { machine } = JSON.parse(output) as { machine: { addon?: string; root: boolean } };
      if (machine.addon !== undefined || machine.root) throw new Error(output);
    },
  },
  {
    name: 'an addon for another C library: doctor names it, and the command that it prints ends that',
    run(folder, tarball) {
      const project = new Project(folder);
      project.install(tarball);
      const addon = `node_modules/userdma/prebuilds/linux-${process.arch}/userdma.node`;
      project.write('stub.c', 'int answer(void) { return 1; }');
      project.write('user.c', 'int answer(void); int f(void) { return answer(); }');
      const link = ['-shared', '-nostdlib', '-o'];
      project.run('gcc', ...link, 'stub.so', 'stub.c', '-Wl,-soname,libc.musl-x86_64.so.1');
      project.run('gcc', ...link, addon, 'user.c', 'stub.so');
      const doctor = JSON.parse(
        project.run('sh', '-c', 'npx userdma doctor --json || [ $? -eq 1 ]'),
      ) as Diagnosis;
      const problem = doctor.problems.find(({ id }) => id === 'addon');
      if (!problem?.what.includes('the prebuilt one does not load, because it was built for musl'))
        throw new Error(JSON.stringify(doctor.problems));
      project.run('sh', '-c', problem.command!);
      project.write('main.mjs', ESM);
      project.works('node', 'main.mjs');
    },
  },
  {
    name: 'publint',
    run(folder, tarball) {
      npx(new Project(folder), 'publint@0.3', 'publint', tarball, '--strict');
    },
  },
  {
    name: 'are the types wrong, ESM only',
    run(folder, tarball) {
      npx(new Project(folder), '@arethetypeswrong/cli@0.18', 'attw', tarball, '--profile', 'esm-only');
    },
  },
];

export const cells: readonly Cell[] = [
  ...managers,
  ...['5.9', '7'].flatMap((version) => ['nodenext', 'bundler'].map((module) => types(version, module))),
  ...runners,
  ...(['esm', 'cjs'] as const).flatMap((format) => [esbuild(format), rollup(format), webpack(format)]),
  ...runtimes,
  ...checks,
  checkout([YARN_1, YARN]),
  virtualMachine,
  debian,
  musl,
];
