import { getsockopt, IPPROTO_TCP, pinned, TCP_INFO } from './syscalls.js';

/** Where tcpi_bytes_received lies in struct tcp_info (linux/tcp.h), bytes. */
const BYTES_RECEIVED = 128;
const INFO_BYTES = 136;

const info = pinned(INFO_BYTES);
const infoSize = pinned(4);

/** Bytes that have ever come from the peer of `fd`, whether they were read or not; 0 if nobody knows. */
export function bytesReceived(fd: number): number {
  return look(fd) ? Number(info.bytes.readBigUInt64LE(BYTES_RECEIVED)) : 0;
}

function look(fd: number): boolean {
  infoSize.words[0] = INFO_BYTES;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.address, infoSize.address) === 0;
}
