/**
 * A driver for virtio block devices of version 1.0 and later. It has one split virtqueue, with MSI-X. It is written
 * against PciFunction: no part of it knows if the device is real or simulated.
 *
 *      await using disk = await VirtioBlk.open(await openPci('0000:08:00.0'));
 *      await disk.write(0, new Uint8Array(4096));
 *      await disk.flush();
 *
 * If the device does not answer in time, or answers with impossible values, the driver resets it, which frees all
 * memory. All requests fail then, and so do all later ones until `restart`.
 */
import { DmaError, dmaBitMask, type Interrupt, type PciFunction } from '../../lib/index.ts';
import {
  DEVICE,
  DEVICE_BYTES,
  FEATURE,
  ID_BYTES,
  RED_HAT,
  REQUEST,
  SECTOR,
  STATUS,
  VIRTIO_BLK_DEVICE,
} from './registers.ts';
import { type Request, Requests } from './requests.ts';
import { VirtioPci } from './transport.ts';

/** Options of the driver. */
export interface VirtioBlkOptions {
  /**
   * The number of descriptors: a power of two from 4 to 32,768. Default 256, or the number that the device has if
   * that is less.
   */
  readonly queueSize?: number;
  /** Milliseconds that a request may take. Default 30,000, as in Linux's block layer. */
  readonly timeout?: number;
}

/** A request that waits for room in the queue. */
interface Waiting {
  readonly request: Request;
  resolve(done: Promise<void>): void;
  reject(error: unknown): void;
}

/** The smallest possible page. A request may need one segment for each page. */
const PAGE = 4096;
/** The longest request, even if the queue could take a longer one. */
const LONGEST = 2 ** 20;

/** A virtio disk: whole sectors are read and written, one queue, MSI-X. */
export class VirtioBlk {
  readonly fn: PciFunction;
  readonly #options: Required<VirtioBlkOptions>;
  readonly #virtio: VirtioPci;
  readonly #waiting: Waiting[] = [];
  #requests!: Requests;
  #interrupts: readonly Interrupt[] = [];
  #notify = (): void => {};
  #endReleaseRequests = (): void => {};
  #features = 0n;
  #segmentMax = 0;
  #capacity = 0;
  #blockSize = SECTOR;
  #watchdog: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;
  /** Only one restart runs at a time. Two of them would allocate more than one `close` frees. */
  #restarting: Promise<void> | undefined;
  /** Why every call fails. */
  #failure: DmaError | undefined;
  #closed = false;

  private constructor(fn: PciFunction, options: Required<VirtioBlkOptions>) {
    this.fn = fn;
    this.#options = options;
    this.#virtio = new VirtioPci(fn, DEVICE_BYTES);
  }

  /**
   * Takes over an opened function, resets it, and starts it. If this throws, the function is closed.
   * @throws DmaError EINVAL options · ENODEV no virtio block device of version 1.0 · EOPNOTSUPP it bypasses the IOMMU
   *   · ENOMEM, ENOSPC no memory, or no MSI-X vector · EIO it does not answer as it should
   */
  static async open(fn: PciFunction, options: VirtioBlkOptions = {}): Promise<VirtioBlk> {
    try {
      const { queueSize = 256, timeout = 30_000 } = options;
      checkQueueSize(queueSize);
      checkTimeout(timeout);
      const { vendorId, deviceId } = fn.config;
      if (vendorId !== RED_HAT || deviceId !== VIRTIO_BLK_DEVICE) throw noDisk(fn, vendorId, deviceId);
      const disk = new VirtioBlk(fn, { queueSize, timeout });
      await disk.#begin();
      return disk;
    } catch (error) {
      fn.close();
      throw error;
    }
  }

  /** The capacity in bytes. It changes when the device reports a change. */
  get capacity(): number {
    return this.#capacity;
  }

  /** The size in bytes that is best for the device. A request may have any number of sectors of 512 bytes. */
  get blockSize(): number {
    return this.#blockSize;
  }

  /** Whether the device refuses writes. */
  get readOnly(): boolean {
    return (this.#features & FEATURE.readOnly) !== 0n;
  }

  /** The number of requests that the device has. */
  get underWay(): number {
    return this.#requests.count;
  }

  /**
   * Reads whole sectors of 512 bytes from sector `sector` on.
   * @throws DmaError EINVAL not whole sectors, or beyond the end · EIO the device failed · ETIMEDOUT it did not
   *   answer · ENODEV closed, or gone · ENOMEM no memory to map
   */
  async read(sector: number, into: Uint8Array): Promise<void> {
    this.#checkRange(sector, into);
    await this.#transfer(REQUEST.read, sector, into);
  }

  /**
   * Writes whole sectors. They are certainly on the disk only after a `flush`. As `read`, and EPERM the disk is
   * read-only.
   */
  async write(sector: number, from: Uint8Array): Promise<void> {
    this.#checkRange(sector, from);
    if (this.readOnly) {
      throw new DmaError('EPERM', `the disk at ${this.fn.address} is read-only`, { remedy: 'read it' });
    }
    await this.#transfer(REQUEST.write, sector, from);
  }

  /**
   * All written data is on the disk when this resolves. If the device has no cache, it resolves at once. As `read`.
   */
  async flush(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if ((this.#features & FEATURE.flush) === 0n) return;
    await this.#submit({ type: REQUEST.flush, sector: 0, payload: undefined });
  }

  /** The serial number: up to 20 characters. As `read`. */
  async serial(): Promise<string> {
    const bytes = new Uint8Array(ID_BYTES);
    await this.#submit({ type: REQUEST.id, sector: 0, payload: bytes });
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  }

  /**
   * Resets the device in any state, which ends every request with ECANCELED, and starts it again.
   * @throws DmaError as `open`
   */
  restart(): Promise<void> {
    this.#restarting ??= this.#startAgain().finally(() => {
      this.#restarting = undefined;
    });
    return this.#restarting;
  }

  async #startAgain(): Promise<void> {
    if (this.#closed) throw closed(this.fn);
    await this.#stop(new DmaError('ECANCELED', 'the device was reset', { remedy: 'try again' }));
    this.#release();
    await this.#begin();
  }

  /** Stops the device, ends every request with ENODEV, and releases the function. Calling it twice is harmless. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (!this.fn.closed) {
        await this.#stop(closed(this.fn));
        this.#release();
      }
    } finally {
      this.fn.close();
    }
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The steps of 3.1.1, in their order. */
  async #begin(): Promise<void> {
    const { fn } = this;
    const virtio = this.#virtio;
    fn.dma.setMaskAndCoherent(dmaBitMask(64));
    fn.dma.limits.maxSegmentSize = 2 ** 32 - 1;
    await virtio.reset();
    virtio.addStatus(STATUS.acknowledge);
    virtio.addStatus(STATUS.driver);
    try {
      const { segmentMax, readOnly, blockSize, flush } = FEATURE;
      this.#features = virtio.negotiate(segmentMax | readOnly | blockSize | flush);
      const size = Math.min(this.#options.queueSize, virtio.maxQueueSize(0));
      if (size < 4) throw new DmaError('EIO', `${fn.address} has a queue of ${size}`, { remedy: 'reset it' });
      // A device may have any number of descriptors. The driver needs a power of two, because its indices wrap around
      // at 2^16.
      this.#requests = new Requests(fn.dma, 2 ** Math.floor(Math.log2(size)));
      this.#readConfiguration();
      this.#arm();
      fn.setMaster();
      this.#notify = virtio.enableQueue(0, this.#requests.queue, this.#interrupts.at(-1)!.vector);
      virtio.addStatus(STATUS.driverOk);
      this.#failure = undefined;
    } catch (error) {
      this.#giveUp();
      throw error;
    }
    fn.gone.addEventListener('abort', this.#onGone, { once: true });
    this.#endReleaseRequests = fn.onReleaseRequest(() => this.close());
  }

  /** The start failed. */
  #giveUp(): void {
    try {
      this.#virtio.addStatus(STATUS.failed);
    } catch (failure) {
      if (!(failure instanceof DmaError)) throw failure;
    }
    this.fn.clearMaster();
    this.#release();
  }

  /** Arms one vector for changes and one for the queue, or one for both if the system grants no more. */
  #arm(): void {
    const { interrupts } = this.fn;
    const first = interrupts.msix(0);
    this.#interrupts = [first];
    try {
      if (interrupts.limit('msix') > 1) this.#interrupts = [first, interrupts.msix(1)];
    } catch (error) {
      if (!(error instanceof DmaError && error.code === 'ENOSPC')) throw error;
    }
    this.#virtio.setConfigVector(0);
    const [, second = first] = this.#interrupts;
    first.listen(() => this.#guard(() => this.#noticeChange()));
    second.listen(() => this.#guard(() => this.#collect()));
  }

  /** The device interrupted for its queue. */
  #collect(): void {
    this.#requests.reap();
    this.#feed();
  }

  /** The device has a new configuration, or needs a reset. */
  #noticeChange(): void {
    if ((this.#virtio.status & STATUS.needsReset) === 0) {
      this.#readConfiguration();
      return;
    }
    throw new DmaError('EIO', `${this.fn.address} reports an error, and needs a reset`, {
      remedy: 'call restart()',
    });
  }

  /** If the device makes a mistake while no call waits for it, every request ends. */
  #guard(work: () => void): void {
    if (this.#failure !== undefined) return;
    try {
      work();
    } catch (error) {
      if (!(error instanceof DmaError)) throw error;
      this.#fail(error);
    }
  }

  /**
   * Transfers in pieces that fit the queue and the device. It settles after all pieces have ended, with the first
   * error.
   */
  async #transfer(type: number, sector: number, bytes: Uint8Array): Promise<void> {
    const longest = this.#longest();
    const pieces: Promise<void>[] = [];
    for (let at = 0; at < bytes.length; at += longest) {
      const payload = bytes.subarray(at, at + longest);
      pieces.push(this.#submit({ type, sector: sector + at / SECTOR, payload }));
    }
    const ends = await Promise.allSettled(pieces);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  /** The bytes of the longest request, in whole sectors. Every page of it may be a segment of its own. */
  #longest(): number {
    const segments = Math.min(this.#segmentMax, this.#requests.queue.size - 2);
    const most = Math.min(LONGEST, (segments - 1) * PAGE, this.fn.dma.limits.maxMappingSize);
    return most - (most % SECTOR);
  }

  #submit(request: Request): Promise<void> {
    if (this.#closed) return Promise.reject(closed(this.fn));
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject });
      this.#feed();
    });
  }

  /** Gives the waiting requests to the device, in order, as long as there is room. */
  #feed(): void {
    let added = false;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      let done: Promise<void> | undefined;
      try {
        done = this.#requests.add(next.request);
      } catch (error) {
        // Memory becomes free when requests end that have memory mapped.
        const later = error instanceof DmaError && error.code === 'ENOMEM' && this.#requests.count > 0;
        if (later) break;
        this.#waiting.shift();
        next.reject(error);
        continue;
      }
      if (done === undefined) break;
      this.#waiting.shift();
      next.resolve(done);
      added = true;
    }
    if (!added) return;
    this.#watch();
    this.#guard(() => {
      if (this.#requests.queue.wantsNotification) this.#notify();
    });
  }

  /** One timer serves all requests: it checks the oldest one. */
  #watch(): void {
    if (this.#watchdog !== undefined) return;
    const { timeout } = this.#options;
    const check = (): void => {
      this.#watchdog = undefined;
      const { oldest } = this.#requests;
      if (oldest === undefined || this.#failure !== undefined) return;
      const left = oldest + timeout - performance.now();
      if (left > 0) this.#watchdog = setTimeout(check, left);
      else {
        this.#fail(
          new DmaError('ETIMEDOUT', `${this.fn.address} did not answer in ${timeout} ms`, {
            remedy: 'call restart(), or look whether the device is there',
          }),
        );
      }
    };
    this.#watchdog = setTimeout(check, timeout);
  }

  /** The device cannot be trusted: it is stopped, and every request ends with `error`. */
  #fail(error: DmaError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    void this.#stop(error);
  }

  readonly #onGone = (): void => {
    const error = this.fn.gone.reason as DmaError;
    this.#failure = error;
    this.#end(error);
  };

  /** Memory is freed when the device is at rest. If it does not come to rest, its bus mastering is turned off. */
  #stop(error: DmaError): Promise<void> {
    this.#failure ??= error;
    this.#stopping ??= this.#rest(error).finally(() => {
      this.#stopping = undefined;
    });
    return this.#stopping;
  }

  async #rest(error: DmaError): Promise<void> {
    try {
      await this.#virtio.reset();
    } catch (failure) {
      if (!(failure instanceof DmaError)) throw failure;
      // The device is gone, or does not answer.
    } finally {
      if (!this.fn.closed) this.fn.clearMaster();
      this.#end(error);
    }
  }

  #end(error: DmaError): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = undefined;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    // Undefined after a start that failed.
    (this.#requests as Requests | undefined)?.failAll(error);
  }

  /** Frees everything that `#begin` allocated. */
  #release(): void {
    this.fn.gone.removeEventListener('abort', this.#onGone);
    this.#endReleaseRequests();
    for (const interrupt of this.#interrupts) interrupt.close();
    this.#interrupts = [];
    (this.#requests as Requests | undefined)?.[Symbol.dispose]();
    this.#requests = undefined as never;
  }

  #readConfiguration(): void {
    const has = (feature: bigint) => (this.#features & feature) !== 0n;
    this.#virtio.readDevice((bar, at) => {
      const high = bar.read32(at + DEVICE.capacity + 4);
      this.#capacity = (high * 2 ** 32 + bar.read32(at + DEVICE.capacity)) * SECTOR;
      this.#blockSize = has(FEATURE.blockSize) ? bar.read32(at + DEVICE.blockSize) : SECTOR;
      // Memory in one page may still be in two segments, if it is copied.
      this.#segmentMax = Math.max(2, has(FEATURE.segmentMax) ? bar.read32(at + DEVICE.segmentMax) : 1);
    });
  }

  #checkRange(sector: number, bytes: Uint8Array): void {
    if (this.#closed) throw closed(this.fn);
    if (this.#failure !== undefined) throw this.#failure;
    const whole = bytes instanceof Uint8Array && bytes.length > 0 && bytes.length % SECTOR === 0;
    if (!whole) {
      throw new DmaError('EINVAL', `${bytes?.length} bytes are no whole sectors`, {
        remedy: `pass a Uint8Array of a multiple of ${SECTOR} bytes`,
      });
    }
    const sectors = this.#capacity / SECTOR;
    if (Number.isSafeInteger(sector) && sector >= 0 && sector + bytes.length / SECTOR <= sectors) return;
    throw new DmaError('EINVAL', `${bytes.length} bytes at sector ${String(sector)} are beyond the end`, {
      remedy: `the disk has ${sectors} sectors`,
    });
  }
}

function checkQueueSize(size: number): void {
  if (Number.isInteger(Math.log2(size)) && size >= 4 && size <= 2 ** 15) return;
  throw new DmaError('EINVAL', `a queue of ${String(size)}`, {
    remedy: 'use a power of two from 4 to 32,768',
  });
}

function checkTimeout(timeout: number): void {
  if (timeout > 0 && timeout < 2 ** 31) return;
  throw new DmaError('EINVAL', `a timeout of ${String(timeout)} ms`, { remedy: 'use 1 to 2147483647' });
}

function closed(fn: PciFunction): DmaError {
  return new DmaError('ENODEV', `the disk at ${fn.address} is closed`, { remedy: 'open it again' });
}

function noDisk(fn: PciFunction, vendorId: number, deviceId: number): DmaError {
  const id = [vendorId, deviceId].map((one) => one.toString(16).padStart(4, '0')).join(':');
  return new DmaError('ENODEV', `${fn.address} is ${id}, not a virtio block device of version 1.0`, {
    remedy: 'open 1af4:1042; QEMU: start the device with disable-legacy=on',
  });
}
