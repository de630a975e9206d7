import { readHost } from '../address.js';
import { AF_INET, AF_INET6, pinned } from '../syscalls.js';
import { crc32c } from './crc32c.js';
import { createEndpoint, type Endpoint, type Endpoints } from './endpoints.js';
import {
  ADDRESS_SIZES,
  FIXED_SIZE,
  LOCAL_COMMAND,
  PROXY_COMMAND,
  SIGNATURE,
  TCP4,
  TCP6,
  TLV_CRC32C,
} from './layout.js';

/** The longest header of version 1 with its CRLF (section 2.1 of the specification), bytes. */
export const LONGEST_V1 = 107;

/** The most bytes that may follow the first 16 of version 2. The addresses take 216 at most; the rest is for TLVs. */
const LONGEST_PAYLOAD = 4096;

/** The longest header, bytes. */
export const LONGEST_HEADER = FIXED_SIZE + LONGEST_PAYLOAD;

/** What the first bytes of a connection are. */
export type Parsed =
  /** All of them belong to a header, and more belong to it. */
  | { readonly kind: 'incomplete' }
  /**
   * The first `size` bytes are a header. Without `endpoints`, the connection is one of the proxy's own (LOCAL), or the proxy does
   * not tell whom it is for (UNKNOWN), or not by IP addresses.
   */
  | { readonly kind: 'complete'; readonly size: number; readonly endpoints: Endpoints | undefined }
  /** They are no header. `reason` completes "its PROXY header …", and has printable characters only. */
  | { readonly kind: 'malformed'; readonly reason: string };

const INCOMPLETE: Parsed = { kind: 'incomplete' };
const V1_START = Buffer.from('PROXY ');
const CRLF = '\r\n';

/** Parses the PROXY header that `bytes` begin with; what follows it is not looked at. Takes any number of bytes. */
export function parseHeader(bytes: Buffer): Parsed {
  if (bytes.length === 0) return INCOMPLETE;
  const start = bytes[0] === SIGNATURE[0] ? SIGNATURE : V1_START;
  const known = Math.min(bytes.length, start.length);
  if (bytes.compare(start, 0, known, 0, known) !== 0)
    return malformed(`is missing: it begins with ${quote(bytes)}`);
  if (known < start.length) return INCOMPLETE;
  return start === SIGNATURE ? parseV2(bytes) : parseV1(bytes);
}

function parseV1(bytes: Buffer): Parsed {
  const text = bytes.toString('latin1', 0, LONGEST_V1);
  const end = text.indexOf(CRLF);
  if (end < 0) {
    return bytes.length < LONGEST_V1
      ? INCOMPLETE
      : malformed(`of version 1 has no end within ${LONGEST_V1} bytes`);
  }
  const size = end + CRLF.length;
  const line = text.slice(0, end);
  // What follows UNKNOWN is to be ignored.
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return { kind: 'complete', size, endpoints: undefined };
  const [, version, from = '', to = '', fromPort = '', toPort = ''] =
    /^PROXY TCP([46]) ([^ ]+) ([^ ]+) (\d{1,5}) (\d{1,5})$/.exec(line) ?? [];
  const family = version === '4' ? AF_INET : AF_INET6;
  const source = version && readEndpoint(family, from, fromPort);
  const destination = version && readEndpoint(family, to, toPort);
  if (!source || !destination)
    return malformed(`of version 1 is wrong: ${quote(Buffer.from(line, 'latin1'))}`);
  return { kind: 'complete', size, endpoints: { source, destination } };
}

const host = pinned(16);

function readEndpoint(family: number, address: string, portText: string): Endpoint | undefined {
  const port = Number(portText);
  if (port > 65535 || /^0\d/.test(portText) || !readHost(family, address, host.address)) return undefined;
  return createEndpoint(host.bytes.subarray(0, family === AF_INET ? 4 : 16), port);
}

function parseV2(bytes: Buffer): Parsed {
  const command = bytes[12];
  if (command === undefined) return INCOMPLETE;
  if (command !== LOCAL_COMMAND && command !== PROXY_COMMAND)
    return malformed(`has version and command 0x${hex(command)}, which are unknown`);
  const family = bytes[13];
  if (family === undefined) return INCOMPLETE;
  const isLocal = command === LOCAL_COMMAND;
  const addressSize = ADDRESS_SIZES[family >> 4];
  if (!isLocal && (addressSize === undefined || (family & 0xf) > 2))
    return malformed(`has address family 0x${hex(family)}, which is unknown`);
  if (bytes.length < FIXED_SIZE) return INCOMPLETE;
  const payload = bytes.readUInt16BE(14);
  if (payload > LONGEST_PAYLOAD)
    return malformed(`says that ${payload} bytes follow; ${LONGEST_PAYLOAD} are the most`);
  const size = FIXED_SIZE + payload;
  const knownSize = isLocal ? 0 : (addressSize ?? 0);
  if (payload < knownSize)
    return malformed(`has ${payload} bytes where the addresses alone take ${knownSize}`);
  if (bytes.length < size) return INCOMPLETE;
  // What LOCAL and an unspecified family say besides is to be ignored.
  if (isLocal || knownSize === 0) return { kind: 'complete', size, endpoints: undefined };
  const header = bytes.subarray(0, size);
  const wrong = checkVectors(header, FIXED_SIZE + knownSize);
  if (wrong !== undefined) return malformed(wrong);
  return { kind: 'complete', size, endpoints: readAddresses(header, family) };
}

function readAddresses(header: Buffer, family: number): Endpoints | undefined {
  if (family !== TCP4 && family !== TCP6) return undefined;
  const length = family === TCP4 ? 4 : 16;
  const at = (index: number) =>
    header.subarray(FIXED_SIZE + index * length, FIXED_SIZE + (index + 1) * length);
  const ports = FIXED_SIZE + 2 * length;
  return {
    source: createEndpoint(at(0), header.readUInt16BE(ports)),
    destination: createEndpoint(at(1), header.readUInt16BE(ports + 2)),
  };
}

/** What is wrong with the TLVs from `start` to the end, if anything is. */
function checkVectors(header: Buffer, start: number): string | undefined {
  for (let at = start; at < header.length; ) {
    const end = at + 3 > header.length ? header.length + 1 : at + 3 + header.readUInt16BE(at + 1);
    if (end > header.length) return 'ends in the middle of a TLV';
    if (header[at] === TLV_CRC32C) {
      if (end - at !== 7) return 'has a checksum that is not of 4 bytes';
      const blank = Buffer.from(header);
      blank.fill(0, at + 3, end);
      if (crc32c(blank) !== header.readUInt32BE(at + 3)) return 'has a wrong checksum';
    }
    at = end;
  }
  return undefined;
}

function malformed(reason: string): Parsed {
  return { kind: 'malformed', reason };
}

/** The first bytes in quotes, with a dot for each that is not printable ASCII. */
function quote(bytes: Buffer): string {
  const text = bytes.toString('latin1', 0, LONGEST_V1).replace(/[^ !#-~]/g, '.');
  return text.length > 40 ? `"${text.slice(0, 40)}…"` : `"${text}"`;
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}
