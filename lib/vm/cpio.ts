/** A writer of cpio archives in the `newc` form, the one the kernel unpacks as its first root (initramfs). */

export interface Entry {
  readonly path: string;
  /** File type and permissions, as in stat(2). */
  readonly mode: number;
  /** File content, or the target of a symbolic link. */
  readonly content?: Buffer | string;
}

export const directory = (path: string): Entry => ({ path, mode: 0o040755 });
export const link = (path: string, target: string): Entry => ({ path, mode: 0o120777, content: target });
export const program = (path: string, content: Buffer | string): Entry => ({ path, mode: 0o100755, content });
export const file = (path: string, content: Buffer | string): Entry => ({ path, mode: 0o100644, content });

const hex = (value: number) => value.toString(16).padStart(8, '0');
const padding = (length: number) => Buffer.alloc(-length & 3);

function member(entry: Entry, inode: number): Buffer[] {
  const name = Buffer.from(`${entry.path}\0`);
  const content = Buffer.from(entry.content ?? '');
  // inode, mode, uid, gid, links, mtime, size, four device numbers, name length, checksum (unused)
  const fields = [inode, entry.mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map(hex).join('')}`);
  return [header, name, padding(header.length + name.length), content, padding(content.length)];
}

/** Folders must come before what is in them. */
export function cpioArchive(entries: readonly Entry[]): Buffer {
  const trailer: Entry = { path: 'TRAILER!!!', mode: 0 };
  return Buffer.concat([...entries, trailer].flatMap((entry, index) => member(entry, index + 1)));
}
