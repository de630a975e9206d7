import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { idOfUnit } from '../units/names.js';
import { descriptorOf } from './api/caller.js';
import type { Passed } from './api/doors.js';
import { peerPid } from './api/socket-options.js';

/** Where forwarders ask for help. */
export interface Door {
  /** Resolves when nobody has asked for so long, ms, and accepts nobody any more. */
  quietFor(milliseconds: number): Promise<void>;
}

/**
 * Answers forwarders that ask for help by connecting, without a word: the kernel tells which process it is, systemd's control
 * group which link's. So nobody else can ask for a link, though anybody may connect. The answer is the end of the
 * connection.
 *
 * @param help does what can be done for the link with that id
 */
export function answerForwarders(sockets: Passed[], help: (id: string) => Promise<void>): Door {
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
    (id === undefined ? Promise.resolve() : help(id)).finally(() => socket.destroy());
  }

  return {
    async quietFor(milliseconds) {
      for (;;) {
        const wait = last + milliseconds - Date.now();
        if (open === 0 && wait <= 0) break;
        await new Promise((resolve) => setTimeout(resolve, Math.max(wait, 200)));
      }
      for (const server of servers) server.close();
    },
  };
}

/** The link whose forwarder is at the other end; undefined for any other process. */
function linkOf(socket: Socket): string | undefined {
  try {
    const groups = readFileSync(`/proc/${peerPid(descriptorOf(socket))}/cgroup`, 'utf8');
    const unit = /^0::.*\/([^/]+\.service)$/m.exec(groups)?.[1];
    return unit === undefined ? undefined : idOfUnit(unit);
  } catch {
    // It has ended already.
    return undefined;
  }
}
