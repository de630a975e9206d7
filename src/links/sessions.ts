import { hrtime } from 'node:process';
import type { LinkDetails } from '../api/listing-schema.js';
import { type ProcessSocket, withDescriptors } from '../system/process-descriptors.js';

/** The layout of the forwarder's notes about sessions: see src/forwarder/store/memory.ts, which writes them. Words have 32 bits. */
const MAGIC = 0x54534857;
const VERSION = 1;
const HEADER_WORDS = 64;
const RECORD_WORDS = 32;
const [SERIAL, KIND, FLAGS, OPENED, CLIENT, TARGET] = [0, 1, 2, 4, 20, 21];
/** The kinds of sessions that are connections: streams, and those of messages. */
const CONNECTIONS = [1, 4];
const ENDED = 0x80;

/**
 * The most notes that are read of a thread of a forwarder, and of all of them, bytes, and the most sessions that are returned: a forwarder may
 * have been taken over, and each session costs some system calls.
 */
const MOST_BYTES = 16 * 1024 * 1024;
const MOST_BYTES_OF_ALL = 64 * 1024 * 1024;
const MOST_SESSIONS = 1_000;

/** The name of the file that each thread has its notes in. */
const NOTES_FILE = 'wormhole-sessions';

type Session = NonNullable<LinkDetails['sessions']>[number];

interface Note {
  /** ms since the boot */
  opened: number;
  client: number;
  target: number;
}

/**
 * The connections of a forwarder that are older than a second, the 1,000 oldest, the oldest first. Which descriptors belong together, and since when, its
 * notes tell, which it has open as `notes`, and those of its other threads beside; the rest is what the kernel has of the sockets.
 *
 * @returns undefined when the caller may not look at the process
 */
export function readSessions(pid: number, notes: number): Session[] | undefined {
  return withDescriptors(pid, ({ file, memoryFiles, socket }) => {
    const open: Note[] = [];
    let left = MOST_BYTES_OF_ALL;
    for (const descriptor of new Set([notes, ...memoryFiles(NOTES_FILE)])) {
      const bytes = left > 0 ? file(descriptor, Math.min(left, MOST_BYTES)) : undefined;
      if (bytes === undefined) continue;
      left -= bytes.length;
      for (const note of parseNotes(bytes)) open.push(note);
    }
    const now = Number(hrtime.bigint()) / 1e6;
    return open
      .sort((one, other) => one.opened - other.opened)
      .slice(0, MOST_SESSIONS)
      .flatMap((note) => {
        const client = socket(note.client);
        const target = note.target < 0 ? undefined : socket(note.target);
        return client === undefined ? [] : [session(Math.max(0, now - note.opened), client, target)];
      });
  });
}

function session(age: number, client: ProcessSocket, target: ProcessSocket | undefined): Session {
  return {
    client: client.peer,
    target: target?.peer ?? '',
    ageMs: Math.round(age),
    bytesFromClient: client.received,
    bytesFromTarget: target?.received ?? 0,
    idleMs: Math.min(client.idleMs, target?.idleMs ?? client.idleMs, Math.round(age)),
  };
}

/** The notes about connections that are open; none of a file of another version. */
export function parseNotes(file: Buffer): Note[] {
  const word = (at: number): number => (4 * at + 4 <= file.length ? file.readInt32LE(4 * at) : 0);
  if (word(0) !== MAGIC || word(1) !== VERSION) return [];
  const notes: Note[] = [];
  for (let record = HEADER_WORDS; 4 * (record + RECORD_WORDS) <= file.length; record += RECORD_WORDS) {
    // Records are used one after another.
    if (word(record + SERIAL) === 0) break;
    if (!CONNECTIONS.includes(word(record + KIND)) || (word(record + FLAGS) & ENDED) !== 0) continue;
    if (word(record + CLIENT) === 0) continue;
    const opened = file.readDoubleLE(4 * (record + OPENED));
    if (!Number.isFinite(opened)) continue;
    notes.push({
      opened,
      client: word(record + CLIENT) - 1,
      target: word(record + TARGET) - 1,
    });
  }
  return notes;
}
