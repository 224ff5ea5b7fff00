/** The size of a page: simulated machines have 4 KiB, and the virtual machine has what its kernel was built for. */
import { loadAddon } from '../lib/native/load.ts';

export const PAGE = process.env.USERDMA_VM === undefined ? 4096 : loadAddon().pageSize();
