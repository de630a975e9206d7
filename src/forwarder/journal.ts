import { fstatSync } from 'node:fs';
import {
  AF_UNIX,
  E,
  errno,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  sendto,
  socket,
} from './syscalls.js';
import { parseUnixAddress } from './unix/address.js';

/** The socket of journald's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL). */
const JOURNAL_SOCKET = '/run/systemd/journal/socket';

/** What a line is about, in the field WORMHOLE_EVENT= of the journal. doc/operations.md lists what each means. */
export type Event =
  | 'avoided'
  | 'dropped'
  | 'failed'
  | 'limited'
  | 'lost'
  | 'refused'
  | 'restored'
  | 'resumed'
  | 'stopped'
  | 'timed-out'
  | 'unreachable';

/** An entry of the journal. `priority` is that of sd-daemon(3). */
export interface Entry {
  readonly priority: number;
  readonly event: Event;
  readonly message: string;
}

/**
 * What became of an entry: `sent`; `busy` if journald has no room for it now, so that retrying helps; `unavailable` if it must go another
 * way.
 */
export type Sent = 'sent' | 'busy' | 'unavailable';

/** Sends an entry to the journal. Never blocks. */
export type SendEntry = (entry: Entry) => Sent;

/** Errors of a full queue, or of a kernel that is short of memory. */
const BUSY = new Set([E.EAGAIN, E.ENOBUFS, E.ENOMEM, E.EINTR]);

/**
 * Sends entries to journald with `identifier` as their SYSLOG_IDENTIFIER. LogExtraFields= of the unit adds the link and the peer to
 * them, as it does to lines on standard error: the process would only repeat them. `path` is that of journald's socket.
 */
export function createJournal(identifier: string, path = JOURNAL_SOCKET): SendEntry {
  const { sockaddr, size } = parseUnixAddress('the socket of the journal', path);
  let fd = -1;
  return (entry) => {
    if (fd < 0) fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return 'unavailable';
    const bytes = formatEntry(identifier, entry);
    if (sendto(fd, bytes, bytes.length, MSG_NOSIGNAL | MSG_DONTWAIT, sockaddr, size) >= 0) return 'sent';
    // Others mean that the socket is not there (ENOENT, ECONNREFUSED), or that the entry is too long (EMSGSIZE).
    return BUSY.has(errno()) ? 'busy' : 'unavailable';
  };
}

/** An entry as the native protocol has it: a line for each field. No value contains a line break, so none begins a field of its own. */
export function formatEntry(identifier: string, { priority, event, message }: Entry): Buffer {
  const fields = [
    `MESSAGE=${oneLine(message)}`,
    `PRIORITY=${priority}`,
    `SYSLOG_IDENTIFIER=${oneLine(identifier)}`,
    `WORMHOLE_EVENT=${event}`,
  ];
  return Buffer.from(`${fields.join('\n')}\n`);
}

/** Replaces control characters, which could begin another line or another field, or act on a terminal, by U+FFFD. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, '\ufffd');
}

/**
 * Whether standard error is the journal: then JOURNAL_STREAM has its device and inode (systemd.exec(5)), unless it was redirected
 * since.
 */
export function isJournal(stream: string | undefined): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(2, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}
