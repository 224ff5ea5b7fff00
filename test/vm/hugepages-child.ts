/** Asks for huge pages at physical addresses as an ordinary user, and prints the error. */

import { PhysicalHugepages } from '../../lib/memory/physical-hugepages.ts';
import { loadAddon } from '../../lib/native/load.ts';

const NOBODY = 65534;

// Before its privileges go: they may not reach into the checkout.
loadAddon();
process.setgid!(NOBODY);
process.setuid!(NOBODY);
try {
  new PhysicalHugepages().close();
  console.log('nothing was thrown');
} catch (error) {
  const { code, message } = error as Error & { code?: string };
  console.log(code, message);
}
