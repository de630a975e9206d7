import type { Socket } from 'node:net';

/** The connections of a server that anybody on this machine may open. */
export interface Connections {
  /** A connection has been accepted. */
  add(socket: Socket): void;
  /** The caller at the other end has asked for what it may have. */
  keep(socket: Socket): void;
}

/**
 * Limits connections. Silent ones cannot keep others out: a connection beyond the limit replaces the oldest that nothing was asked on, or
 * is closed itself when there is none.
 */
export function createConnections(most: number): Connections {
  const silent = new Set<Socket>();
  let count = 0;
  return {
    add(socket) {
      count += 1;
      silent.add(socket);
      socket.on('close', () => {
        count -= 1;
        silent.delete(socket);
      });
      const [oldest = socket] = silent;
      if (count > most) oldest.destroy();
    },
    keep(socket) {
      silent.delete(socket);
    },
  };
}
