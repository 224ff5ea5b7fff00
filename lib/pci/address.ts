/**
 * PCI addresses as text: `domain:bus:device.function` in hexadecimal. A function has exactly one spelling in this
 * library, and it is the kernel's: lower case, and at least four digits for the domain.
 */
import { quote } from '../arguments.ts';
import { DmaError } from '../errors.ts';

const ADDRESS = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$/;

/**
 * The kernel's spelling of an address. The caller may leave out the domain, as lspci does; it is 0000 then. The
 * domain may have leading zeros, because some tools print eight digits.
 * @throws DmaError EINVAL
 */
export function parseAddress(text: string): string {
  const match = typeof text === 'string' ? ADDRESS.exec(text.trim().toLowerCase()) : null;
  if (match === null) {
    throw new DmaError('EINVAL', `${quote(text)} is not a PCI address`, {
      remedy: 'write domain:bus:device.function in hexadecimal, e.g. 0000:01:00.0 (lspci -D lists them)',
    });
  }
  const [, domain = '0', bus, device, fn] = match;
  return `${digits(Number.parseInt(domain, 16), 4)}:${bus}:${device}.${fn}`;
}

/** @param devfn device number << 3 | function number, as the kernel keeps them */
export function formatAddress(domain: number, bus: number, devfn: number): string {
  return `${digits(domain, 4)}:${digits(bus, 2)}:${digits(devfn >>> 3, 2)}.${devfn & 7}`;
}

function digits(value: number, count: number): string {
  return value.toString(16).padStart(count, '0');
}
