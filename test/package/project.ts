/** A fresh project: a folder with a manifest, in which programs run. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NoTool } from './cell.ts';

export class Project {
  readonly folder: string;

  constructor(folder: string, manifest: object = {}) {
    this.folder = folder;
    this.write('package.json', JSON.stringify({ name: 'project', private: true, ...manifest }));
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text);
  }

  /** @returns what it printed; throws, as `execFileSync` does, when it fails */
  run(program: string, ...words: string[]): string {
    const env = {
      ...process.env,
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      COREPACK_ENABLE_STRICT: '0',
    };
    const stdio: ('ignore' | 'pipe')[] = ['ignore', 'pipe', 'pipe'];
    return execFileSync(program, words, { cwd: this.folder, env, encoding: 'utf8', stdio });
  }

  /** Installs the package and the tools. Throws NoTool when npm cannot get one of these. */
  install(tarball: string, ...tools: string[]): void {
    this.haveTools(tools);
    this.run('npm', 'install', '--ignore-scripts', tarball, ...tools);
  }

  haveTools(tools: readonly string[]): void {
    for (const tool of tools) {
      try {
        this.run('npm', 'view', tool, 'name');
      } catch (error) {
        throw new NoTool(`npm does not find ${tool}: ${firstLine((error as { stderr?: string }).stderr)}`);
      }
    }
  }

  /** Runs a program, which has to say that it works. */
  works(program: string, ...words: string[]): void {
    const output = this.run(program, ...words);
    if (!output.includes('works')) throw new Error(`it said: ${output}`);
  }
}

const firstLine = (text = '') => text.trim().split('\n', 1)[0];

/** npx of a package that is not the project's own. */
export function npx(project: Project, name: string, ...words: string[]): void {
  project.haveTools([name]);
  project.run('npm', 'exec', '--yes', `--package=${name}`, '--', ...words);
}
