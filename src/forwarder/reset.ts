import { pinned, SO_LINGER, SOL_SOCKET, setsockopt } from './syscalls.js';

/** struct linger {1, 0}: close(2) sends RST (socket(7)). */
const lingerZero = pinned(8);
lingerZero.words[0] = 1;

/** Makes close(2) of `fd` send a reset. */
export function resetOnClose(fd: number): void {
  setsockopt(fd, SOL_SOCKET, SO_LINGER, lingerZero.address, 8);
}
