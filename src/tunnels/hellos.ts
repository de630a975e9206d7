import { type Hello, provesHello, readHello } from '../ipsec/hello.js';
import type { LogLine } from '../systemd/journal-entry.js';
import type { Tunnel } from '../units/tunnel.js';
import type { KnownTunnels } from './known-tunnels.js';

/** A hello counts if the clocks of the two machines differ by no more than this, ms: an older one may have been recorded. */
const WINDOW_MS = 300_000;

/**
 * A machine that has sent nothing for this long, ms, may have rebooted, and cannot ask this one if that is behind a router. While
 * it stays silent it is asked less and less often, in the end every ten minutes.
 */
export const SILENCE_MS = 70_000;
const LONGEST_SILENCE_MS = 600_000;

/** A datagram that is not ESP, from this address. */
export interface Datagram {
  message: Buffer;
  address: string;
}

/** What is known of the machines at the other ends of tunnels in UDP from the hellos that they send. */
export interface Contacts {
  /**
   * Takes a datagram from anybody.
   *
   * @returns the tunnel whose other end has sent it just now, as it has proved; undefined for all else
   */
  receive(datagram: Datagram): Tunnel | undefined;
  /** The tunnels whose machines have been silent for too long, with how long, ms; each is returned again after a longer while. */
  silent(): { tunnel: Tunnel; silence: number }[];
}

/**
 * When the last hello of the other machine was sent, by its clock, ms since the epoch; and when it is asked if no further one arrives, as
 * performance.now() tells, which no change of a clock concerns.
 */
interface Contact {
  sent: number;
  timeout: number;
  askAt: number;
}

/** @param warn takes a line for the journal; anyone who has recorded a hello can cause some */
export function createContacts(known: KnownTunnels, warn: LogLine): Contacts {
  const contacts = new Map<string, Contact>();

  return {
    // Strangers get as far as the first thing that is wrong: what is cheap is looked at first, and nothing is read for them.
    receive({ message, address }) {
      const hello = readHello(message);
      if (hello === undefined) return undefined;
      const tunnel = known.find(hello.id);
      if (tunnel?.outer.remote !== address) return undefined;
      if (hello.time <= (contacts.get(tunnel.id)?.sent ?? 0)) return undefined;
      const keys = known.keysOf(tunnel);
      if (!keys.some(({ secret }) => provesHello(message, tunnel.machine, secret))) return undefined;
      if (!isRecent(hello)) {
        warn(
          `ignored a keepalive from ${tunnel.peer} that is ${Math.round((Date.now() - hello.time) / 1000)} s old: it was replayed, or the clock of either machine is wrong`,
          { event: 'refused', peer: tunnel.peer },
        );
        return undefined;
      }
      contacts.set(tunnel.id, {
        sent: hello.time,
        timeout: SILENCE_MS,
        askAt: performance.now() + SILENCE_MS,
      });
      return tunnel;
    },
    silent() {
      const now = performance.now();
      return known.all().flatMap((tunnel) => {
        const contact = contacts.get(tunnel.id) ?? { sent: 0, timeout: SILENCE_MS, askAt: now + SILENCE_MS };
        const isSilent = now >= contact.askAt;
        const timeout = isSilent ? Math.min(2 * contact.timeout, LONGEST_SILENCE_MS) : contact.timeout;
        contacts.set(tunnel.id, isSilent ? { ...contact, timeout, askAt: now + timeout } : contact);
        return isSilent ? { tunnel, silence: contact.timeout } : [];
      });
    },
  };
}

function isRecent({ time }: Hello): boolean {
  return Math.abs(Date.now() - time) <= WINDOW_MS;
}
