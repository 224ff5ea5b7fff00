/** What openPci does when a function cannot be held once it is open. */
import { expect, it } from 'vitest';
import { DmaError, openPci } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';

it('a function that cannot be watched is closed again, all of it', async () => {
  const source = simulate(new EduModel());
  const busy = new DmaError('EMFILE', 'no eventfd', { remedy: 'raise ulimit -n' });
  const opened: { readonly closed: boolean }[] = [];
  const unwatched = {
    open(options: object) {
      const parts = source.open(options);
      parts.transport.watch = () => {
        throw busy;
      };
      opened.push(parts.dma.domain!);
      return parts;
    },
  };
  await expect(openPci(unwatched)).rejects.toBe(busy);
  expect(opened.map(({ closed }) => closed)).toEqual([true]);
  using fn = await openPci(source);
  expect(fn.closed).toBe(false);
});
