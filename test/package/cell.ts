/** One way of using the package. */
export interface Cell {
  readonly name: string;
  /** Throws when it does not work, NoTool when the tool is not to be had. @param folder an empty one @param tarball of the package */
  run(folder: string, tarball: string): void;
}

/** The registry has not the tool that a cell is about: the cell is skipped. */
export class NoTool extends Error {}
