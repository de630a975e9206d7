import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { quoted } from '../text/quote.js';
import { isUnix, type RecipeAddress, type RecipeIpAddress } from './recipe.js';

/**
 * Reads the host of a tail that is no address: a DNS name, in small letters as names are compared (RFC 4343). Single labels and
 * underscores are allowed, since containers find each other by such names. A dot at the end is kept: it says that the name is complete.
 *
 * @returns the name, or why it can be none: a reason for people
 */
export function parseHostName(text: string): { name: string } | { reason: string } {
  if (/[^\x20-\x7e]/.test(text)) return { reason: describeInternational(text) };
  const labels = text.replace(/\.$/, '').split('.');
  // A last label of digits only is an address with a slip in it: resolvers read 10.1 as 10.0.0.1.
  if (/^(?:[0-9]+|0[xX][0-9a-fA-F]*)$/.test(labels.at(-1) ?? ''))
    return {
      reason: `host ${quoted(text)} is neither an IP address nor a name: a name does not end in a number`,
    };
  const isName = labels.every((label) => /^[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?$/.test(label));
  if (text.length > 253 || !isName)
    return { reason: `host ${quoted(text)} is neither an IP address nor a name such as db.example.com` };
  return { name: text.toLowerCase() };
}

/** Whether the host of an address is a name. */
export function hasHostName(address: RecipeAddress): address is RecipeIpAddress & { host: string } {
  return !isUnix(address) && address.host !== undefined && isIP(address.host) === 0;
}

/** Whether a name is that of the loopback interface on every machine: RFC 6761, 6.3. */
export function isLocalhost(name: string): boolean {
  return /(?:^|\.)localhost\.?$/i.test(name) && !('reason' in parseHostName(name));
}

/** DNS has ASCII alone; such names are written in Punycode there (RFC 5890). */
function describeInternational(text: string): string {
  const ascii = domainToASCII(text);
  const advice = ascii === '' ? 'it cannot be the name of a host' : `write ${quoted(ascii)}`;
  return `host ${quoted(text)} has characters that DNS does not have: ${advice}`;
}
