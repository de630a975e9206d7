import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import type { PlaceId } from '../recipe/link.js';
import type { IpProtocol } from '../recipe/recipe.js';
import { findNamespace, type Namespace } from './containers/namespace.js';

/** The states of sockets there that receive what comes for a port: TCP_LISTEN, and TCP_CLOSE for UDP (net/tcp_states.h). */
const RECEIVING: Record<IpProtocol, string> = { tcp: '0A', udp: '07' };

/**
 * The text of /proc/net/tcp and tcp6 of a place, or of udp and udp6, or of all four, proc(5); '' of a namespace in which no process
 * is. What they show is read from outside: to enter a namespace takes CAP_SYS_ADMIN.
 *
 * @throws PlaceAbsent
 */
export async function readSocketTables(place: PlaceId, protocols: IpProtocol[]): Promise<string> {
  const pid = place.kind === 'host' ? 'self' : processIn(await findNamespace(place));
  if (pid === undefined) return '';
  const tables = protocols.flatMap((protocol) => [protocol, `${protocol}6`]);
  return tables.map((table) => readFileSync(`/proc/${pid}/net/${table}`, 'utf8')).join('');
}

/** A process whose network namespace it is; undefined if there is none, or none that the caller may look at. */
export function processIn({ path, inode }: Namespace): string | undefined {
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

/** The inodes of the sockets in such a text of one protocol that receive what comes for a port. */
export function receiverInodes(tables: string, protocol: IpProtocol, port: number): Set<string> {
  const inodes = new Set<string>();
  const form = /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ ([0-9A-F]{2}) \S+ \S+ \S+ +\d+ +\d+ (\d+) /gm;
  for (const [, hex = '', state, inode = ''] of tables.matchAll(form))
    if (state === RECEIVING[protocol] && Number.parseInt(hex, 16) === port) inodes.add(inode);
  return inodes;
}

/** The program that has a port of a place, such as `mariadbd (pid 812)`; undefined when it cannot be found. */
export async function findPortHolder(
  place: PlaceId,
  protocol: IpProtocol,
  port: number,
): Promise<string | undefined> {
  const tables = await readSocketTables(place, [protocol]);
  return findHolder(receiverInodes(tables, protocol, port));
}

/** The program that holds one of the sockets with these inodes; undefined when it cannot be found. */
export function findHolder(inodes: Set<string>): string | undefined {
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
