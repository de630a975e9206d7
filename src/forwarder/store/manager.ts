import { AF_UNIX, errno, errorWords, SOCK_CLOEXEC, SOCK_DGRAM, socket } from '../syscalls.js';
import { createTimer, start, type Timers } from '../timers.js';
import { parseUnixAddress } from '../unix/address.js';
import { sendDescriptors } from './descriptors.js';

/** The file descriptor store of the service manager (FileDescriptorStoreMax= of systemd.service(5)). */
export interface DescriptorStore {
  /** Stores duplicates of `descriptors` under a name. Returns whether the service manager has taken the message. */
  store(name: string, descriptors: readonly number[]): boolean;
  /** Has the service manager close what it has under a name; repeated until it has taken the message. */
  remove(name: string): void;
}

/** The delay before a message is repeated that found the queue of the service manager full, ms. */
const RETRY_MS = 50;

/**
 * Connects to the file descriptor store; undefined if there is none. The unit says so with the variable FDSTORE, which systemd
 * sets itself since version 254. Throws an Error if NOTIFY_SOCKET is not the address of a socket.
 */
export function openDescriptorStore(env: NodeJS.ProcessEnv, timers: Timers): DescriptorStore | undefined {
  if (!env.NOTIFY_SOCKET || !(Number(env.FDSTORE) > 0)) return undefined;
  const manager = parseUnixAddress('NOTIFY_SOCKET', env.NOTIFY_SOCKET);
  const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new Error(`no socket to the service manager (${errorWords(errno())})`);
  const send = (state: string, descriptors: readonly number[]): boolean =>
    sendDescriptors(fd, Buffer.from(state), descriptors, manager) === 0;
  const unsent: string[] = [];
  const retry = createTimer(() => {
    while (unsent.length > 0 && send(removal(unsent[0] as string), [])) unsent.shift();
    if (unsent.length > 0) start(timers, retry, performance.now() + RETRY_MS);
  });
  return {
    // With FDPOLL=1, the service manager would close a socket whose other end is closed.
    store: (name, descriptors) => send(`FDSTORE=1\nFDNAME=${name}\nFDPOLL=0`, descriptors),
    remove(name) {
      if (unsent.length === 0 && send(removal(name), [])) return;
      unsent.push(name);
      if (retry.index < 0) start(timers, retry, performance.now() + RETRY_MS);
    },
  };
}

function removal(name: string): string {
  return `FDSTOREREMOVE=1\nFDNAME=${name}`;
}
