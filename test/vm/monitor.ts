/** QEMU's monitor as the guest reaches it: QMP, one JSON object a line, over a virtio port. One reader at a time. */
import { closeSync, constants, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const PORTS = '/sys/class/virtio-ports';
const PORT = 'userdma.monitor';
/** Milliseconds until a command that QEMU does not answer is given up. */
const DEADLINE = 120_000;

interface Message {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
  readonly event?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

export class Monitor {
  readonly #fd: number;
  readonly #chunk = Buffer.alloc(65_536);
  #text = '';
  /** Events that came before anybody asked. */
  readonly #events: Message[] = [];

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static async open(): Promise<Monitor> {
    const port = readdirSync(PORTS).find(
      (name) => readFileSync(`${PORTS}/${name}/name`, 'utf8').trim() === PORT,
    );
    // Not blocking: a read that waits in a thread would keep the process from ending.
    const monitor = new Monitor(openSync(`/dev/${port}`, constants.O_RDWR | constants.O_NONBLOCK));
    // QEMU does not notice when one program of the guest follows another.
    await monitor.execute('qmp_capabilities').catch(() => {});
    return monitor;
  }

  /** @throws Error what QEMU says */
  async execute(command: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    writeSync(this.#fd, `${JSON.stringify({ execute: command, arguments: parameters })}\n`);
    const deadline = performance.now() + DEADLINE;
    for (;;) {
      const message = await this.#next(deadline);
      if (message === undefined) {
        throw new Error(`${command}: QEMU did not answer in ${DEADLINE / 1000} seconds`);
      }
      if (message.event !== undefined) this.#events.push(message);
      else if (message.error !== undefined) throw new Error(`${command}: ${message.error.desc}`);
      else if ('return' in message) return message.return;
    }
  }

  /** What was reported until now is of no interest any more. */
  forgetEvents(): void {
    this.#events.length = 0;
  }

  /** Whether QEMU reports it within so many milliseconds, of the device with that id. */
  async event(name: string, device: string, patience: number): Promise<boolean> {
    const wanted = ({ event, data }: Message): boolean => event === name && data?.device === device;
    const deadline = performance.now() + patience;
    for (;;) {
      const at = this.#events.findIndex(wanted);
      if (at >= 0) {
        this.#events.splice(at, 1);
        return true;
      }
      const message = await this.#next(deadline);
      if (message === undefined) return false;
      if (message.event !== undefined) this.#events.push(message);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** The next message; undefined when none has come by then. */
  async #next(deadline: number): Promise<Message | undefined> {
    for (;;) {
      const end = this.#text.indexOf('\n');
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return JSON.parse(line) as Message;
      }
      const count = this.#read();
      if (count > 0) this.#text += this.#chunk.toString('utf8', 0, count);
      else if (performance.now() > deadline) return undefined;
      else await delay(2);
    }
  }

  #read(): number {
    try {
      return readSync(this.#fd, this.#chunk, 0, this.#chunk.length, null);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
      throw error;
    }
  }
}
