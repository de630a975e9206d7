import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import * as assert from 'uvu/assert';

/** What others have sent that fill the queue. */
export const FILLING = 'FILLING=1';

/** A datagram socket as systemd and journald have one; Node has no unix datagrams. */
export function datagramSocket(name?: string): {
  path: string;
  /** All that others have sent. */
  heard: () => string[];
  /** Lets others send until the queue is full. Returns how many messages fill it. */
  fill: () => number;
  /** The next message alone; undefined if there is none. */
  next: () => string | undefined;
  close: () => void;
} {
  const libc = koffi.load(null);
  const [AF_UNIX, SOCK_DGRAM_NONBLOCK] = [1, 2 | 0x80800];
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
  const path = name ?? join(directory, 'socket');
  const bytes = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
  const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), bytes]);
  const fd = libc.func('int socket(int, int, int)')(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0);
  assert.is(libc.func('int bind(int, void *, uint)')(fd, address, address.length), 0);
  const recv = libc.func('int recv(int, void *, size_t, int)');
  const states: string[] = [];
  const room = Buffer.alloc(4096);
  const sender = libc.func('int socket(int, int, int)')(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0);
  const sendto = libc.func('int sendto(int, void *, size_t, int, void *, uint)');
  const next = (): string | undefined => {
    const length = recv(fd, room, 4096, 0);
    return length > 0 ? room.toString('utf8', 0, length) : undefined;
  };
  return {
    path,
    fill: () => {
      let count = 0;
      while (sendto(sender, Buffer.from(FILLING), FILLING.length, 0, address, address.length) > 0) count++;
      return count;
    },
    next,
    heard: () => {
      for (let state = next(); state !== undefined; state = next()) states.push(state);
      return states;
    },
    close: () => {
      for (const socket of [fd, sender]) libc.func('int close(int)')(socket);
      rmSync(directory, { recursive: true });
    },
  };
}
