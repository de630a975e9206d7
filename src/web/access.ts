import type { IncomingHttpHeaders } from 'node:http';

/** Names by which a browser on this machine, or at the other end of `ssh -L`, reaches a loopback address. */
const NAMES = new Set(['localhost', '127.0.0.1', '[::1]']);

/** What a request is refused with. */
export interface Refusal {
  status: 400 | 403 | 404 | 405;
  reason: string;
}

/**
 * Why a request may not be answered, whatever it asks for; undefined if it may.
 *
 * - The Host header names this machine's loopback interface. The name of another site leads here only when that site has it changed
 *   for the purpose (DNS rebinding). Any port will do: with `ssh -L` it is another one.
 * - A page of another origin, which includes other ports of this machine, may link to us, but gets no answer that it could use: it
 *   says its origin, or the browser says what it is (https://www.w3.org/TR/fetch-metadata/).
 * - Nothing is fetched in advance, since a token works once.
 */
export function refusalOf(method: string, headers: IncomingHttpHeaders): Refusal | undefined {
  const { host = '', origin } = headers;
  if (!NAMES.has(host.toLowerCase().replace(/:\d{1,5}$/, '')))
    return { status: 403, reason: 'the Host header names another host than 127.0.0.1, ::1 or localhost' };
  if (method !== 'GET') return { status: 405, reason: 'this page is for looking only: GET it' };
  if (headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined)
    return { status: 400, reason: 'a GET has no body here' };
  if (origin !== undefined && origin !== `http://${host}`)
    return { status: 403, reason: 'a page of another origin asks' };
  if (headers['sec-purpose'] !== undefined || headers.purpose === 'prefetch')
    return { status: 403, reason: 'nothing is fetched in advance' };
  const [site, mode] = [headers['sec-fetch-site'], headers['sec-fetch-mode']];
  if (site !== undefined && site !== 'same-origin' && site !== 'none' && mode !== 'navigate')
    return { status: 403, reason: 'a page of another site asks' };
  return undefined;
}
