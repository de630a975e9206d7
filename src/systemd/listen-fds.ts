/** systemd passes descriptors from this one on (SD_LISTEN_FDS_START, sd_listen_fds(3)). */
const FIRST_FD = 3;

/** A listening socket that systemd has passed; `name` is that of its unit, unless FileDescriptorName= says otherwise. */
export interface PassedSocket {
  fd: number;
  name: string;
}

/** The listening sockets that systemd has passed to this process, sd_listen_fds(3); none when it was started by hand. */
export function passedSockets(env: NodeJS.ProcessEnv, pid: number): PassedSocket[] {
  if (Number(env.LISTEN_PID) !== pid) return [];
  const names = (env.LISTEN_FDNAMES ?? '').split(':');
  return Array.from({ length: Number(env.LISTEN_FDS) || 0 }, (_, i) => ({
    fd: FIRST_FD + i,
    name: names[i] ?? '',
  }));
}
