import { getpeername, getsockname, getsockopt, pinned, SO_PEERCRED, SOL_SOCKET } from '../syscalls.js';
import { SIZE_UNIX } from '../unix/address.js';
import type { UnixClient } from './format.js';

const room = pinned(SIZE_UNIX + 2);
const roomSize = pinned(4);

/** The client of the accepted unix socket `fd`. What the kernel does not know is 0 or empty. */
export function unixClientOf(fd: number): UnixClient {
  const source = nameBy(getpeername, fd);
  const destination = nameBy(getsockname, fd);
  // struct ucred: pid, uid, gid.
  roomSize.words[0] = 12;
  const isKnown = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, room.address, roomSize.address) === 0;
  const [pid = 0, uid = 0] = isKnown ? room.words : [];
  return { source, destination, pid, uid };
}

function nameBy(call: typeof getpeername, fd: number): Buffer {
  roomSize.words[0] = SIZE_UNIX;
  if (call(fd, room.address, roomSize.address) < 0) return Buffer.alloc(0);
  return Buffer.from(room.bytes.subarray(2, Math.min(SIZE_UNIX, roomSize.words[0] as number)));
}
