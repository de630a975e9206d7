import { statSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { descriptorOf, type PeerCredentials, peerCredentials } from '../../system/socket-options.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import type { PassedSocket } from '../../systemd/listen-fds.js';
import { connectSystemd, type Systemd } from '../../systemd/systemd.js';
import { idOfUnit, serviceUnit } from '../../units/names.js';

/** Connections that are open at once: of one user, of whom each forwarder has one of its own, and of all. */
const MAX_OF_USER = 4;
const MAX_OF_ALL = 512;

/** The sockets on which forwarders ask for the address of their far end. */
export interface RequestServer {
  /** Resolves when nobody has asked for this long, ms, and the sockets are closed. */
  quietFor(milliseconds: number): Promise<void>;
}

/**
 * Serves forwarders that ask for the address of their far end by connecting, without a byte: the kernel tells which process
 * has connected, and systemd which unit it has started that for. So no other process can ask for a link, although any may
 * connect. The answer is the end of the connection.
 *
 * @param resolve does what can be done for the link with that id
 * @param log takes a line for the journal
 */
export function serveRequests(
  sockets: PassedSocket[],
  resolve: (id: string) => Promise<void>,
  log: LogLine,
): RequestServer {
  let systemd: Promise<Systemd> | undefined;
  const open = new Map<number, number>();
  let all = 0;
  let last = performance.now();
  const servers = sockets.map(({ fd }) => createServer(accept).listen({ fd }));

  function accept(socket: Socket): void {
    last = performance.now();
    socket.on('error', () => {});
    const caller = callerOf(socket);
    const ofUser = caller === undefined ? 0 : (open.get(caller.uid) ?? 0);
    if (caller === undefined || all >= MAX_OF_ALL || ofUser >= MAX_OF_USER) {
      socket.destroy();
      return;
    }
    const { uid } = caller;
    all++;
    open.set(uid, ofUser + 1);
    socket.on('close', () => {
      last = performance.now();
      all--;
      const left = (open.get(uid) ?? 0) - 1;
      if (left > 0) open.set(uid, left);
      else open.delete(uid);
    });
    answer(caller)
      .catch(({ message }: Error) => log(`a forwarder cannot be helped: ${message}`, { event: 'failed' }))
      .finally(() => socket.destroy());
  }

  async function answer(caller: PeerCredentials): Promise<void> {
    let id: string | undefined;
    try {
      systemd ??= connectSystemd();
      id = await linkOf(caller, await systemd);
    } catch (error) {
      // The next question finds the bus again.
      systemd = undefined;
      throw error;
    }
    if (id !== undefined) await resolve(id);
  }

  return {
    async quietFor(milliseconds) {
      for (;;) {
        const wait = last + milliseconds - performance.now();
        if (all === 0 && wait <= 0) break;
        await new Promise((done) => setTimeout(done, Math.max(wait, 200)));
      }
      for (const server of servers) server.close();
      (await systemd?.catch(() => undefined))?.close();
    },
  };
}

/** Who is at the other end of a connection; undefined when it is closed already. */
function callerOf(socket: Socket): PeerCredentials | undefined {
  try {
    return peerCredentials(descriptorOf(socket));
  } catch {
    return undefined;
  }
}

/**
 * The link whose forwarder has connected; undefined for any other process. What another control group is called does not count,
 * such as one that a user or a container has made. The user is compared because a process may end, and its number go to another.
 */
async function linkOf({ pid, uid }: PeerCredentials, systemd: Systemd): Promise<string | undefined> {
  const service = await systemd.serviceOf(pid);
  const id = service && idOfUnit(service.unit);
  if (service === undefined || id === undefined) return undefined;
  const isOurs = service.unit === serviceUnit(id) && service.controlGroup === `/system.slice/${service.unit}`;
  return isOurs && statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid === uid ? id : undefined;
}
