import { getsockopt, IPPROTO_TCP, pinned, TCP_CLOSE, TCP_INFO } from './syscalls.js';

/** Offsets of fields in struct tcp_info (linux/tcp.h), bytes. tcpi_snd_wnd exists since Linux 5.4. */
const STATE = 0;
const RETRANSMITS = 2;
const PROBES = 3;
const UNACKED = 24;
const LAST_DATA_SENT = 44;
const BYTES_RECEIVED = 128;
const NOTSENT_BYTES = 144;
const SND_WND = 228;
const INFO_BYTES = 232;

/** Consecutive unanswered probes of a zero window after which the peer counts as gone. Two may get lost. */
const UNANSWERED_PROBES = 3;

const info = pinned(INFO_BYTES);
const infoSize = pinned(4);

/** Whether the socket is in state CLOSE: it was reset, or both directions have ended. */
export function isClosed(fd: number): boolean {
  return tcpState(fd) === TCP_CLOSE;
}

/** The state of the connection, such as TCP_ESTABLISHED (net/tcp_states.h); 0 if it is unknown. */
function tcpState(fd: number): number {
  return read(fd) ? info.bytes.readUInt8(STATE) : 0;
}

/** The bytes received from the peer of `fd`, whether read or not, including its FIN; 0 if unknown. */
export function bytesReceived(fd: number): number {
  return read(fd) ? Number(info.bytes.readBigUInt64LE(BYTES_RECEIVED)) : 0;
}

/**
 * How long an accepted socket to which nothing has been written has existed, ms: since its handshake was completed
 * (tcp_create_openreq_child() in the kernel sets the time of the last data sent). 0 if unknown.
 */
export function ageOfAccepted(fd: number): number {
  return read(fd) ? info.bytes.readUInt32LE(LAST_DATA_SENT) : 0;
}

/** Whether bytes wait for a peer that advertises a zero window and answers probes. */
export function hasZeroWindow(fd: number): boolean {
  if (!read(fd) || info.bytes.readUInt32LE(NOTSENT_BYTES) + info.bytes.readUInt32LE(UNACKED) === 0)
    return false;
  const isShut = info.bytes.readUInt32LE(UNACKED) === 0 || info.bytes.readUInt32LE(SND_WND) === 0;
  return isShut && info.bytes.readUInt8(PROBES) + info.bytes.readUInt8(RETRANSMITS) < UNANSWERED_PROBES;
}

function read(fd: number): boolean {
  infoSize.words[0] = INFO_BYTES;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.address, infoSize.address) === 0;
}
