import type { Host } from './rig/host.ts';

/** What to ask, and how. */
export interface Question {
  /** What is sent, with a newline behind it. Default `hello`. */
  say?: string;
  /** Seconds for which an answer is waited for. Default 60. */
  seconds?: number;
  /** The address that is asked. Default 127.0.0.1. */
  address?: string;
}

/**
 * Sends one datagram to a UDP port of a host, from there, and returns all that comes back: what comes until there is an answer, and
 * for 0.3 s after it, lest a second answer goes unseen. Empty when none comes or the port is closed.
 */
export async function askDatagram(host: Host, port: number, question: Question = {}): Promise<string> {
  const { say = 'hello', seconds = 60, address = '127.0.0.1' } = question;
  // socat(1) does not know that an answer is complete: it would wait for all of its -t each time.
  const script = `exec 3<>/dev/udp/${address}/${port} && echo ${say} >&3 && timeout ${seconds} head -n 1 <&3
    timeout 0.3 cat <&3`;
  return (await host.run(script, { check: false, timeout: seconds + 30 })).stdout;
}
