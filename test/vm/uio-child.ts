/** Opens the UIO device of its argument as an ordinary user, and prints the error. */
import { loadAddon } from '../../lib/native/load.ts';
import { openUio } from '../../lib/uio/open.ts';

const NOBODY = 65534;

// Before its privileges go: they may not reach into the checkout.
loadAddon();
process.setgid!(NOBODY);
process.setuid!(NOBODY);
try {
  openUio(process.argv[2] ?? '').close();
  console.log('nothing was thrown');
} catch (error) {
  const { code, message } = error as Error & { code?: string };
  console.log(code, message);
}
