import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import type { PlaceId } from '../recipe/link.js';
import { findNamespace, type Namespace } from './containers/namespace.js';

/** The state of a listening socket there: TCP_LISTEN (net/tcp_states.h). */
const LISTEN = '0A';

/**
 * The text of /proc/net/tcp and tcp6 of a place, proc(5); '' of a namespace in which no process is. What they show is read from
 * outside: to enter a namespace takes CAP_SYS_ADMIN.
 *
 * @throws PlaceAbsent
 */
export async function readSocketTables(place: PlaceId): Promise<string> {
  const pid = place.kind === 'host' ? 'self' : processIn(await findNamespace(place));
  if (pid === undefined) return '';
  return ['tcp', 'tcp6'].map((table) => readFileSync(`/proc/${pid}/net/${table}`, 'utf8')).join('');
}

/** A process whose network namespace it is. */
function processIn({ path, inode }: Namespace): string | undefined {
  const known = /^\/proc\/(\d+)\//.exec(path)?.[1];
  return known ?? processes().find((pid) => namespaceOf(pid) === inode);
}

function processes(): string[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
}

function namespaceOf(pid: string): number | undefined {
  try {
    return statSync(`/proc/${pid}/ns/net`).ino;
  } catch {
    // The process has ended, or is one of the kernel's.
    return undefined;
  }
}

/** The local ports in such a text: its second column is ADDRESS:PORT in hexadecimal. */
export function localPorts(tables: string): Set<number> {
  const ports = new Set<number>();
  for (const [, port] of tables.matchAll(/^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) /gm)) {
    ports.add(Number.parseInt(port as string, 16));
  }
  return ports;
}

/** The inodes of the sockets in such a text that listen on a port. */
export function listenerInodes(tables: string, port: number): Set<string> {
  const inodes = new Set<string>();
  const form = /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ ([0-9A-F]{2}) \S+ \S+ \S+ +\d+ +\d+ (\d+) /gm;
  for (const [, hex = '', state, inode = ''] of tables.matchAll(form))
    if (state === LISTEN && Number.parseInt(hex, 16) === port) inodes.add(inode);
  return inodes;
}

/** The program that listens on a port of a place, such as `mariadbd (pid 812)`; undefined when it cannot be found. */
export async function findPortHolder(place: PlaceId, port: number): Promise<string | undefined> {
  const inodes = listenerInodes(await readSocketTables(place), port);
  if (inodes.size === 0) return undefined;
  for (const pid of processes()) {
    // systemd holds the sockets of its units itself; the program that it starts for them comes later.
    if (holdsSocket(pid, inodes)) return `${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()} (pid ${pid})`;
  }
  return undefined;
}

function holdsSocket(pid: string, inodes: Set<string>): boolean {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory).some((fd) => {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`${directory}/${fd}`))?.[1];
      return inode !== undefined && inodes.has(inode);
    });
  } catch {
    // The process has ended, or has closed the descriptor meanwhile.
    return false;
  }
}
