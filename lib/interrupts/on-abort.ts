/**
 * Listening to a signal that many waits share, e.g. `fn.gone`. Each signal gets one listener for all of them, because
 * Node warns of a leak when a signal has more than ten. The listener is removed with the last wait: as long as a
 * listener exists, Node keeps a signal alive that was derived from others.
 */
type Action = () => void;

interface Waiting {
  readonly actions: Set<Action>;
  readonly listener: Action;
}

const waiting = new WeakMap<AbortSignal, Waiting>();

/** Call `action` when `signal` aborts. */
export function addAbortAction(signal: AbortSignal, action: Action): void {
  let known = waiting.get(signal);
  if (known === undefined) {
    const actions = new Set<Action>();
    // An action that runs removes itself, and others may be added meanwhile.
    const listener = (): void => {
      for (const one of [...actions]) one();
    };
    known = { actions, listener };
    waiting.set(signal, known);
    signal.addEventListener('abort', listener);
  }
  known.actions.add(action);
}

export function removeAbortAction(signal: AbortSignal, action: Action): void {
  const known = waiting.get(signal);
  if (known === undefined || !known.actions.delete(action) || known.actions.size > 0) return;
  signal.removeEventListener('abort', known.listener);
  waiting.delete(signal);
}
