import { existsSync, readFileSync } from 'node:fs';

/** A frame that crossed a machine's cable. */
export interface Frame {
  /** When, in seconds since 1970. */
  at: number;
  /** All of it, from the Ethernet destination address on. */
  bytes: Buffer;
  /** The IP protocol of an IPv4 packet (50 is ESP, 17 is UDP), or of an IPv6 packet's first header; else undefined. */
  protocol: number | undefined;
}

const fileHeader = 24;
const frameHeader = 16;

/**
 * Returns the frames in a pcap file of Ethernet frames, in order, without the last if it is not complete yet; none when
 * there is no file. Format: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/
 *
 * Throws when it is not in such a file's little-endian, microseconds form.
 */
export function framesIn(path: string): Frame[] {
  const file = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  const frames: Frame[] = [];
  if (file.length < fileHeader) return frames;
  if (file.readUInt32LE(0) !== 0xa1b2c3d4 || file.readUInt32LE(20) !== 1)
    throw new Error(`${path} is not a pcap file of Ethernet frames`);
  for (let offset = fileHeader; offset + frameHeader <= file.length; ) {
    const end = offset + frameHeader + file.readUInt32LE(offset + 8);
    if (end > file.length) break;
    const bytes = file.subarray(offset + frameHeader, end);
    const at = file.readUInt32LE(offset) + file.readUInt32LE(offset + 4) / 1e6;
    frames.push({ at, bytes, protocol: protocolOf(bytes) });
    offset = end;
  }
  return frames;
}

function protocolOf(frame: Buffer): number | undefined {
  const type = frame.length >= 34 ? frame.readUInt16BE(12) : 0;
  if (type === 0x0800) return frame[23];
  if (type === 0x86dd) return frame[20];
  return undefined;
}
