import { fstatSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import { printable } from '../text/printable.js';

/*
 * Entries of the journal with fields of their own, over the native protocol of journald (https://systemd.io/JOURNAL_NATIVE_PROTOCOL):
 * lines of standard output have those alone that systemd gives to a whole unit.
 */

/** What a line of a service is about, in the field WORMHOLE_EVENT=. doc/operations.md lists what each means. */
export type ServiceEvent =
  | 'avoided'
  | 'changed'
  | 'data-lost'
  | 'failed'
  | 'moved'
  | 'pulling'
  | 'refused'
  | 'rekeyed'
  | 'restored'
  | 'started'
  | 'stopped'
  | 'unreachable';

/** The fields WORMHOLE_EVENT=, WORMHOLE_LINK= and WORMHOLE_PEER= of a line: what happened, to which link, with which machine. */
export interface About {
  event: ServiceEvent;
  link?: string;
  peer?: string;
}

/** Takes one line for the journal. */
export type LogLine = (line: string, about: About) => void;

/** An entry, with its priority as in sd-daemon(3). */
export interface JournalEntry {
  message: string;
  identifier: string;
  priority: 3 | 4 | 6;
  about: About;
}

const JOURNAL_SOCKET = '/run/systemd/journal/socket';

/** bits/socket.h */
const AF_UNIX = 1;
const SOCK_DGRAM = 2 | 0x80000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

let libc: ReturnType<typeof open> | undefined;

/**
 * Writes an entry to the journal if standard error leads there (JOURNAL_STREAM, systemd.exec(5)). Never blocks.
 *
 * @returns whether it did; otherwise the line belongs on standard output or error
 */
export function writeEntry(entry: JournalEntry, path = JOURNAL_SOCKET): boolean {
  if (!isJournal()) return false;
  libc ??= open();
  const bytes = formatEntry(entry);
  const address = addressOf(path);
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  return libc.sendto(libc.fd, bytes, bytes.length, flags, address, address.length) >= 0;
}

/** As {@link writeEntry}; what the journal does not take goes to standard error, with its priority as in sd-daemon(3). */
export function logEntry(entry: JournalEntry): void {
  if (writeEntry(entry)) return;
  try {
    writeSync(2, `<${entry.priority}>${printable(entry.message)}\n`);
  } catch {
    // Nobody reads it any more, or its reader is stuck: the work matters more.
  }
}

/** An entry as the native protocol has it. No value contains a line break, so none begins a field of its own. */
export function formatEntry({ message, identifier, priority, about }: JournalEntry): Buffer {
  const { event, link, peer } = about;
  const fields = [
    ['MESSAGE', message],
    ['PRIORITY', String(priority)],
    ['SYSLOG_IDENTIFIER', identifier],
    ['WORMHOLE_EVENT', event],
    ['WORMHOLE_LINK', link],
    ['WORMHOLE_PEER', peer],
  ].filter(([, value]) => value !== undefined);
  return Buffer.from(fields.map(([name, value]) => `${name}=${printable(value ?? '')}\n`).join(''));
}

/** Whether standard error leads to the journal: JOURNAL_STREAM has its device and inode. */
function isJournal(): boolean {
  const { JOURNAL_STREAM } = process.env;
  if (JOURNAL_STREAM === undefined) return false;
  try {
    const { dev, ino } = fstatSync(2, { bigint: true });
    return JOURNAL_STREAM === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

function open() {
  const library = koffi.load('libc.so.6');
  const socket = library.func('int socket(int family, int type, int protocol)');
  const fd: number = socket(AF_UNIX, SOCK_DGRAM, 0);
  const sendto = library.func(
    'int64_t sendto(int fd, void *bytes, size_t size, int flags, void *to, uint length)',
  );
  return { fd, sendto };
}

/** struct sockaddr_un of a path, unix(7). */
function addressOf(path: string): Buffer {
  const address = Buffer.alloc(2 + Buffer.byteLength(path) + 1);
  address.writeUInt16LE(AF_UNIX);
  address.write(path, 2);
  return address;
}
