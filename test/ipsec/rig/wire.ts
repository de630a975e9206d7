import { existsSync, readFileSync } from 'node:fs';
import { runSync, start } from '../../lab/rig/shell.ts';
import { waitFor } from '../../lab/rig/wait.ts';
import type { Plug } from './segment.ts';

/** A frame that crossed a machine's cable. */
export interface Frame {
  /** When, in seconds since 1970. */
  at: number;
  /** All of it, from the Ethernet destination address on. */
  bytes: Buffer;
  /** The IP protocol of an IPv4 packet (50 is ESP, 17 is UDP), or of an IPv6 packet's first header; else undefined. */
  protocol: number | undefined;
}

/** A recording of all that crosses a cable. */
export interface Capture {
  /** What has crossed it so far, in order. */
  frames(): Frame[];
  /** Ends the recording. */
  stop(): Promise<void>;
}

/** Seconds until frames that have crossed a cable are missed in the recording. */
const patience = 30;

/** Bytes that a frame has at most. The room that tcpdump's buffer has for each is as large. */
const longest = 2048;

/** Records what crosses a machine's cable in a pcap file. Throws when tcpdump(8) does not start. */
export async function capture({ namespace, tap }: Plug, path: string): Promise<Capture> {
  const tcpdump = start([
    ...['ip', 'netns', 'exec', namespace, 'tcpdump', '-Z', 'root', '-i', tap],
    ...['-s', `${longest}`, '-B', '32768', '--immediate-mode', '-U', '-w', path],
  ]);
  await waitFor(() => tcpdump.stderr().includes('listening on'), { what: 'tcpdump to listen' });
  return {
    frames() {
      // tcpdump writes a moment after the kernel has passed a frame on.
      const crossed = framesOver(namespace, tap);
      const deadline = Date.now() + patience * 1000;
      for (;;) {
        const frames = framesIn(path);
        if (frames.length >= crossed) return frames;
        if (Date.now() > deadline) throw new Error(`tcpdump has ${frames.length} of ${crossed} frames`);
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    },
    stop: async () => void (await tcpdump.stop()),
  };
}

/** How many frames a tap device has passed on in either direction. */
function framesOver(namespace: string, tap: string): number {
  const { stdout } = runSync(['ip', '-n', namespace, '-s', '-j', 'link', 'show', 'dev', tap]);
  const [{ stats64 }] = JSON.parse(stdout) as [{ stats64: Record<'rx' | 'tx', { packets: number }> }];
  return stats64.rx.packets + stats64.tx.packets;
}

const fileHeader = 24;
const frameHeader = 16;

/**
 * Returns the frames in a pcap file of Ethernet frames, in order, without the last if it is not complete yet; none when
 * there is no file. Format: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/
 *
 * Throws when it is not in such a file's little-endian, microseconds form.
 */
function framesIn(path: string): Frame[] {
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
