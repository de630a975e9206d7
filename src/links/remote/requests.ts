import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { descriptorOf, peerCredentials } from '../../system/socket-options.js';
import type { PassedSocket } from '../../systemd/listen-fds.js';
import { idOfUnit } from '../../units/names.js';

/** The sockets on which forwarders ask for the address of their far end. */
export interface RequestServer {
  /** Resolves when nobody has asked for this long, ms, and the sockets are closed. */
  quietFor(milliseconds: number): Promise<void>;
}

/**
 * Serves forwarders that ask for the address of their far end by connecting, without a byte: the kernel tells which process
 * has connected, and its control group which link that belongs to. So no other process can ask for a link, although any may
 * connect. The answer is the end of the connection.
 *
 * @param resolve does what can be done for the link with that id
 */
export function serveRequests(
  sockets: PassedSocket[],
  resolve: (id: string) => Promise<void>,
): RequestServer {
  let open = 0;
  let last = Date.now();
  const servers = sockets.map(({ fd }) => createServer(answer).listen({ fd }));

  function answer(socket: Socket): void {
    open++;
    socket.on('error', () => {});
    socket.on('close', () => {
      open--;
      last = Date.now();
    });
    const id = linkOf(socket);
    (id === undefined ? Promise.resolve() : resolve(id)).finally(() => socket.destroy());
  }

  return {
    async quietFor(milliseconds) {
      for (;;) {
        const wait = last + milliseconds - Date.now();
        if (open === 0 && wait <= 0) break;
        await new Promise((done) => setTimeout(done, Math.max(wait, 200)));
      }
      for (const server of servers) server.close();
    },
  };
}

/** The link whose forwarder is at the other end; undefined for any other process. */
function linkOf(socket: Socket): string | undefined {
  try {
    const groups = readFileSync(`/proc/${peerCredentials(descriptorOf(socket)).pid}/cgroup`, 'utf8');
    const unit = /^0::.*\/([^/]+\.service)$/m.exec(groups)?.[1];
    return unit === undefined ? undefined : idOfUnit(unit);
  } catch {
    // It has ended already.
    return undefined;
  }
}
