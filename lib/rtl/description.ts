/** Whether what a simulator says of itself is a description of a design: any program can be one. */
import type { DesignDescription } from './simulator.ts';

const MOST_VECTORS = 32;

export function isDescription(value: unknown): value is DesignDescription {
  if (!isObject(value)) return false;
  const { top, registers, memories, sinks, sources, intx, vectors, waves } = value;
  return (
    typeof top === 'string' &&
    isPort(registers) &&
    isListOf(memories, isPort) &&
    isListOf(sinks, isText) &&
    isListOf(sources, isText) &&
    typeof intx === 'boolean' &&
    isWithin(vectors, 0, MOST_VECTORS) &&
    ['vcd', 'fst', 'none'].includes(waves as string)
  );
}

function isPort(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { prefix, addressBits, dataBytes } = value;
  return isText(prefix) && isWithin(addressBits, 1, 64) && isWithin(dataBytes, 1, 128);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isListOf(value: unknown, is: (one: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(is);
}

function isWithin(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}
