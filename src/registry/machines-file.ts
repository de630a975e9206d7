import { RecipeError } from '../recipe/error.js';
import { parsePeer } from '../recipe/names.js';
import type { ServiceMachine } from '../recipe/services.js';
import { MOST_WEIGHT } from '../recipe/tails.js';
import { quoted } from '../text/quote.js';

/** A file that lists the machines of a service, and does not. The message begins with its path and the number of the line. */
export class MachinesFault extends Error {}

/**
 * Reads a file of /etc/wormhole/services.d: a machine a line, its name or address, and perhaps `weight N`. From # on, a line is a
 * comment; empty lines count as such.
 *
 * @param path for messages
 * @throws MachinesFault
 */
export function parseMachinesFile(text: string, path: string): ServiceMachine[] {
  const machines: ServiceMachine[] = [];
  const hosts = new Set<string>();
  for (const [index, line] of text.split('\n').entries()) {
    const words = line
      .replace(/(?:^|\s)#.*/, '')
      .trim()
      .split(/\s+/);
    const [host = '', keyword, weight, ...rest] = words;
    if (host === '') continue;
    const fault = (message: string) => new MachinesFault(`${path}:${index + 1}: ${message}`);
    const machine: ServiceMachine = { host: hostOf(host, fault) };
    if (keyword !== undefined) {
      if (keyword !== 'weight' || rest.length > 0)
        throw fault(`${quoted(line.trim())} is not a machine; expected HOST or HOST weight N`);
      const number = Number(weight);
      if (!/^[0-9]+$/.test(weight ?? '') || number < 1 || number > MOST_WEIGHT)
        throw fault(`weight ${quoted(weight ?? '')} is not a whole number from 1 to ${MOST_WEIGHT}`);
      if (number !== 1) machine.weight = number;
    }
    if (hosts.has(machine.host)) throw fault(`${quoted(machine.host)} is there already`);
    hosts.add(machine.host);
    machines.push(machine);
  }
  return machines;
}

function hostOf(text: string, fault: (message: string) => Error): string {
  try {
    return parsePeer({ text, position: 1 });
  } catch (error) {
    if (!(error instanceof RecipeError)) throw error;
    throw fault(`${quoted(text)} is neither a host name nor an IP address`);
  }
}
