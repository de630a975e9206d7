import { LONGEST_SENT_HEADER } from '../proxy-protocol/format.js';
import type { ProxyInfo } from '../serve.js';

/** What an OFFER says of PROXY headers: the bytes of the client's own, the one for the target in base64 or "-", and the client's name. */
export function formatProxyInfo({ header, name = '', headerBytes = 0 }: ProxyInfo): string {
  return `${headerBytes} ${header?.toString('base64') ?? '-'} ${name}`;
}

/** Reads it. Returns undefined if it cannot be what a front forwarder has said. */
export function parseProxyInfo(text: string): ProxyInfo | undefined {
  const [, bytes, base64 = '', name = ''] = /^(\d{1,9}) (-|[A-Za-z0-9+/=]+) (.*)$/.exec(text) ?? [];
  if (bytes === undefined) return undefined;
  const header = base64 === '-' ? undefined : Buffer.from(base64, 'base64');
  if (header !== undefined && (header.length === 0 || header.length > LONGEST_SENT_HEADER)) return undefined;
  return { headerBytes: Number(bytes), ...(header && { header }), ...(name !== '' && { name }) };
}
