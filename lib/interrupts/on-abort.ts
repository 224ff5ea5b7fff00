/**
 * Listening to a signal that many waits share, e.g. `fn.gone`. Each signal gets one listener for all of them, because
 * Node takes more than ten listeners of a signal for a leak. The listener goes with the last wait: Node keeps a signal
 * that was derived from others alive for as long as it has one.
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
    // An action that runs takes itself out, and others may be added meanwhile.
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
