/**
 * A simulator as a separate process: Verilator's, or any program that speaks the protocol of docs/rtl.md. It is
 * killed when it is closed, and when it does not answer in time. It ends by itself when this process's end of its
 * pipe closes. So none is left behind, even if this process crashes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, readSync, writeSync } from 'node:fs';
import { checkWhole } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { isDescription } from './description.ts';
import { FRAME, FrameWriter, HEADER, LONGEST_FRAME, PROTOCOL_VERSION, readBeats } from './frames.ts';
import { openPipes } from './pipes.ts';
import type { Design, DesignDescription, Simulator, SimulatorHost, WaveWindow } from './simulator.ts';
import { Watchdog } from './watchdog.ts';

/** Options of `processDesign`. */
export interface ProcessOptions {
  /** Arguments of the command. */
  readonly args?: readonly string[];
  /** Milliseconds that the simulator may take for one request. Default 10,000. */
  readonly timeout?: number;
}

/**
 * A design in a program of its own: a binary that `userdma rtl build` made, or any command that speaks the protocol.
 */
export function processDesign(command: string, options: ProcessOptions = {}): Design {
  return { name: command, open: (host) => new ProcessSimulator(command, options, host) };
}

class ProcessSimulator implements Simulator {
  readonly description: DesignDescription;
  clock = 0;
  moving = true;
  low = 0;
  high = 0;

  readonly #command: string;
  readonly #host: SimulatorHost;
  readonly #child: ChildProcess;
  readonly #toChild: number;
  readonly #fromChild: number;
  readonly #watchdog: Watchdog;
  readonly #writer = new FrameWriter();
  #input = new Uint8Array(1 << 16);
  #view = new DataView(this.#input.buffer);
  /** Unread bytes of `#input`. */
  #from = 0;
  #end = 0;
  #closed = false;

  constructor(command: string, { args = [], timeout = 10_000 }: ProcessOptions, host: SimulatorHost) {
    this.#command = command;
    this.#host = host;
    // A watchdog without a limit would never bite, or at once.
    checkWhole(timeout, 'timeout', 1, 2 ** 31 - 1);
    if (command.includes('/')) checkExecutable(command);
    const { toChild, fromChild } = openPipes();
    try {
      this.#child = spawn(command, args, { stdio: [toChild.read, fromChild.write, 'inherit'] });
    } finally {
      // The child has its own copies. After this process closes its copies, the pipe ends when the child ends.
      closeSync(toChild.read);
      closeSync(fromChild.write);
    }
    this.#toChild = toChild.write;
    this.#fromChild = fromChild.read;
    // An event reports a command that cannot be run. The pipe reports it earlier.
    this.#child.on('error', () => {});
    this.#child.unref();
    const { pid } = this.#child;
    if (pid === undefined) {
      closeSync(toChild.write);
      closeSync(fromChild.read);
      throw new DmaError('ENOENT', `${command} cannot be run`, { remedy: 'pass the path of a simulator' });
    }
    this.#watchdog = new Watchdog(pid, timeout);
    living.add(this);
    if (living.size === 1) process.on('exit', closeAll);
    this.description = this.#hello();
  }

  read(address: number, width: number): number {
    return this.#request(this.#writer.begin(FRAME.read).u64(address).u8(width));
  }

  write(address: number, width: number, low: number, high: number): number {
    return this.#request(this.#writer.begin(FRAME.write).u64(address).u8(width).u32(low).u32(high));
  }

  run(clocks: number): void {
    this.#request(this.#writer.begin(FRAME.run).u32(clocks));
  }

  reset(): void {
    this.#request(this.#writer.begin(FRAME.reset));
  }

  push(stream: number, bytes: Uint8Array, last: boolean): void {
    this.#request(
      this.#writer
        .begin(FRAME.streamIn)
        .u8(stream)
        .u8(last ? 1 : 0)
        .raw(bytes),
    );
  }

  set(name: string, value: number): boolean {
    return this.#request(this.#writer.begin(FRAME.set).text(`${name}=${value}`)) === 0;
  }

  waves(file: string, { from, to }: WaveWindow): boolean {
    return this.#request(this.#writer.begin(FRAME.waves).u64(from).u64(to).text(file)) === 0;
  }

  mark(text: string): void {
    this.#request(this.#writer.begin(FRAME.mark).text(text));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watchdog.stop();
    this.#child.kill('SIGKILL');
    closeSync(this.#toChild);
    closeSync(this.#fromChild);
    living.delete(this);
    if (living.size === 0) process.off('exit', closeAll);
  }

  #hello(): DesignDescription {
    const type = this.#exchange(this.#writer.begin(FRAME.hello).u8(PROTOCOL_VERSION).u8(0));
    const body = this.#input.subarray(this.#from + HEADER, this.#frameEnd());
    const version = body.length >= 2 ? this.#view.getUint16(this.#from + HEADER, true) : -1;
    if (type !== FRAME.description || version !== PROTOCOL_VERSION) {
      throw this.#nonsense(`it speaks version ${version} of the protocol, not ${PROTOCOL_VERSION}`);
    }
    const text = Buffer.from(body.subarray(2)).toString();
    this.#from = this.#frameEnd();
    let description: unknown;
    try {
      description = JSON.parse(text);
    } catch (error) {
      throw this.#nonsense('its description is no JSON', error);
    }
    if (isDescription(description)) return description;
    throw this.#nonsense(`its description is ${text}`);
  }

  #request(frame: FrameWriter): number {
    if (this.#exchange(frame) !== FRAME.done)
      throw this.#nonsense('it answered with another frame than DONE');
    const at = this.#from + HEADER;
    if (this.#frameEnd() - at < 18) throw this.#nonsense('its DONE is too short');
    const view = this.#view;
    this.moving = this.#input[at + 1] !== 0;
    this.clock = view.getUint32(at + 2, true) + view.getUint32(at + 6, true) * 2 ** 32;
    this.low = view.getUint32(at + 10, true);
    this.high = view.getUint32(at + 14, true);
    this.#from = this.#frameEnd();
    return this.#input[at]!;
  }

  /**
   * Sends a request, and serves the design until the answer comes. @returns the type of the answer, whose body is not
   * read yet
   */
  #exchange(frame: FrameWriter): number {
    if (this.#closed) throw new DmaError('ENODEV', `${this.#command} is closed`, { remedy: 'open it again' });
    this.#watchdog.begin();
    this.#send(frame);
    for (;;) {
      this.#receive();
      const type = this.#input[this.#from + 4]!;
      if (type === FRAME.done || type === FRAME.description) {
        this.#watchdog.end();
        return type;
      }
      this.#serve(type);
      this.#from = this.#frameEnd();
    }
  }

  #serve(type: number): void {
    const at = this.#from + HEADER;
    const body = this.#input.subarray(at, this.#frameEnd());
    const host = this.#host;
    switch (type) {
      case FRAME.dmaRead: {
        if (body.length < 12) throw this.#nonsense('its DMA_READ is too short');
        const length = this.#view.getUint32(at + 8, true);
        if (length > LONGEST_FRAME) throw this.#nonsense(`it reads ${length} bytes at once`);
        const into = new Uint8Array(length);
        const response = host.dmaRead(this.#view.getBigUint64(at, true), into);
        this.#send(this.#writer.begin(FRAME.dmaReadAnswer).u8(response).raw(into).text(host.note()));
        return;
      }
      case FRAME.dmaWrite: {
        if (body.length < 8) throw this.#nonsense('its DMA_WRITE is too short');
        const response = host.dmaWrite(this.#view.getBigUint64(at, true), body.slice(8));
        this.#send(this.#writer.begin(FRAME.dmaWriteAnswer).u8(response).text(host.note()));
        return;
      }
      case FRAME.burst: {
        if (body.length < 10) throw this.#nonsense('its BURST is too short');
        const address = this.#view.getBigUint64(at, true);
        host.burst({ address, port: body[8]!, beatBytes: body[9]!, ...readBeats(body.subarray(10)) });
        return;
      }
      case FRAME.interrupt:
        host.interrupt(body[0] ?? 0, body[1] !== 0);
        return;
      case FRAME.report:
        host.report(Buffer.from(body).toString());
        return;
      case FRAME.streamOut:
        host.streamed(body[0] ?? 0, body.slice(2), body[1] !== 0);
        return;
      default:
        throw this.#nonsense(`it sent a frame of type 0x${type.toString(16)}`);
    }
  }

  #send(frame: FrameWriter): void {
    const length = frame.end();
    try {
      for (let done = 0; done < length; ) done += writeSync(this.#toChild, frame.bytes, done, length - done);
    } catch (error) {
      throw this.#ended(error);
    }
  }

  /** Waits until a whole frame is at `#from`. */
  #receive(): void {
    this.#need(HEADER);
    const length = this.#view.getUint32(this.#from, true);
    if (length < 1 || length > LONGEST_FRAME) throw this.#nonsense(`it sent a frame of ${length} bytes`);
    this.#need(4 + length);
  }

  #frameEnd(): number {
    return this.#from + 4 + this.#view.getUint32(this.#from, true);
  }

  #need(bytes: number): void {
    if (this.#end - this.#from >= bytes) return;
    this.#makeRoom(bytes);
    while (this.#end - this.#from < bytes) {
      let got = 0;
      try {
        got = readSync(this.#fromChild, this.#input, this.#end, this.#input.length - this.#end, null);
      } catch (error) {
        throw this.#ended(error);
      }
      if (got === 0) throw this.#ended();
      this.#end += got;
    }
  }

  #makeRoom(bytes: number): void {
    if (this.#from + bytes <= this.#input.length) return;
    const left = this.#input.subarray(this.#from, this.#end);
    const input = bytes > this.#input.length ? new Uint8Array(2 * bytes) : this.#input;
    if (input === this.#input) input.copyWithin(0, this.#from, this.#end);
    else input.set(left);
    this.#end -= this.#from;
    this.#from = 0;
    this.#input = input;
    this.#view = new DataView(input.buffer);
  }

  #ended(cause?: unknown): DmaError {
    const struck = this.#watchdog.struck;
    this.close();
    if (struck) {
      return new DmaError('ETIMEDOUT', `${this.#command} did not answer, and was killed`, {
        remedy: 'look for an endless loop in the design, or allow more with `timeout`',
        cause,
      });
    }
    return new DmaError('EIO', `${this.#command} ended`, {
      remedy: 'run it by hand: it prints why on standard error',
      cause,
    });
  }

  #nonsense(what: string, cause?: unknown): DmaError {
    this.close();
    return new DmaError('EIO', `${this.#command} is no simulator that can be talked to: ${what}`, {
      remedy: 'build it again with this version of userdma, or see docs/rtl.md for the protocol',
      cause,
    });
  }
}

const living = new Set<ProcessSimulator>();

function closeAll(): void {
  for (const simulator of [...living]) simulator.close();
}

/** @throws DmaError ENOENT, EACCES */
function checkExecutable(command: string): void {
  try {
    accessSync(command, constants.X_OK);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new DmaError(
      missing ? 'ENOENT' : 'EACCES',
      `${command} ${missing ? 'is not there' : 'cannot be run'}`,
      {
        remedy: missing ? 'build the design first: userdma rtl build' : 'make it executable: chmod +x',
        cause: error,
      },
    );
  }
}
