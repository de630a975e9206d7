import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import koffi from 'koffi';
import { buildPrograms, programs } from '../programs.ts';

/*
 * Runs the compiled forwarder as systemd would: with its listening socket as descriptor 3. Whatever is opened
 * through this module is closed by closeAll(), and processes also when the test program dies.
 */

/**
 * The name of the environment variable with the number of the user that the forwarder runs as, where the tests run as root.
 * Only to an unprivileged user do the limits of pipes apply (pipe(7)).
 */
export const FORWARDER_USER = 'WORMHOLE_TEST_FORWARDER_USER';

/** The name of the environment variable with the value of --workers that every forwarder gets which relays itself. */
export const FORWARDER_WORKERS = 'WORMHOLE_TEST_FORWARDER_WORKERS';

/** The usual command that runs the program. */
let usual: string[] | undefined;

const children = new Set<ChildProcess>();
const sockets = new Set<net.Socket>();
const servers = new Set<net.Server>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));

export interface Forwarder {
  readonly pid: number;
  /** Where it listens. */
  readonly port: number;
  /** All ports where it listens, `port` first. */
  readonly ports: readonly number[];
  /** What it has logged so far. */
  log(): string;
  /** Its exit status, or the signal that ended it. */
  readonly exited: Promise<number | string>;
  kill(signal: NodeJS.Signals): void;
  /** CPU seconds it has used. */
  cpu(): number;
  /**
   * Its open descriptors of a kind: "socket" (the listener is one), "pipe". Neither standard error is counted, nor what leads to the
   * workers of {@link FORWARDER_WORKERS}.
   */
  descriptors(kind: string): number;
  /** Resident memory, bytes. */
  memory(): number;
  /** The number of the user it runs as. */
  user(): number;
}

export interface LaunchOptions {
  to?: string | number;
  host?: string;
  /** Arguments besides --link and --to. */
  args?: string[];
  env?: Record<string, string>;
  /** Shell commands before the program starts: "ulimit -n 64". */
  before?: string;
  /** How many listening sockets it is passed. Default 1. */
  listeners?: number;
  /** How many UDP sockets it is passed after them, at the same host. Default 0. */
  datagrams?: number;
  /** Called with the descriptor of each listening socket before it is passed. */
  prepare?: (listener: number) => void;
  /** A descriptor for its standard output. Default: /dev/null. */
  stdout?: number;
  /** A descriptor for its standard error. Default: a pipe that log() reads. */
  stderr?: number;
  /** A command that becomes the program by exec(2): "strace -D". */
  wrapper?: string;
  /** The command that runs the program, without its arguments. Default: this Node, with the compiled forwarder. */
  command?: readonly string[];
}

/** Starts the forwarder on a free port of `host` (127.0.0.1). `to` may be a port of 127.0.0.1. */
export async function launch(options: LaunchOptions): Promise<Forwarder> {
  buildPrograms();
  const to = typeof options.to === 'number' ? `127.0.0.1:${options.to}` : options.to;
  const count = options.listeners ?? 1;
  const listeners = Array.from({ length: count }, () =>
    net.createServer().listen(0, options.host ?? '127.0.0.1', 4096),
  );
  await Promise.all(listeners.map((listener) => once(listener, 'listening')));
  const ports = listeners.map((listener) => (listener.address() as net.AddressInfo).port);
  for (const listener of listeners) options.prepare?.(descriptorOf(listener));
  const heads = await Promise.all(
    Array.from({ length: options.datagrams ?? 0 }, () => bind(options.host ?? '127.0.0.1')),
  );
  ports.push(...heads.map((head) => head.address().port));
  const fds = [...listeners.map(descriptorOf), ...heads.map(datagramDescriptorOf)];
  const child = run(
    ['--link', 'test', ...(to === undefined ? [] : ['--to', to]), ...(options.args ?? [])],
    `export LISTEN_FDS=${fds.length} LISTEN_PID=$$; ${options.before ?? ':'};`,
    { ...options, fds },
  );
  for (const listener of listeners) listener.close();
  for (const head of heads) head.close();
  return { ...child, port: ports[0] as number, ports };
}

/** A UDP socket at a port of an address, by default a free one. */
export async function bind(host: string, port = 0): Promise<dgram.Socket> {
  const socket = dgram.createSocket(net.isIPv6(host) ? 'udp6' : 'udp4');
  socket.bind(port, host);
  await once(socket, 'listening');
  return socket;
}

/**
 * A port of UDP of 127.0.0.1 that is closed, below those that the kernel gives to clients (net.ipv4.ip_local_port_range), so that none
 * takes it. One of freePort() is bound for TCP alone.
 */
export async function closedUdpPort(): Promise<number> {
  for (;;) {
    const socket = await bind('127.0.0.1', randomInt(20_000, 32_000)).catch(() => undefined);
    if (socket === undefined) continue;
    const { port } = socket.address();
    await new Promise<void>((resolve) => socket.close(() => resolve()));
    return port;
  }
}

/** The descriptor of a UDP socket, for which Node has no name. */
export function datagramDescriptorOf(socket: dgram.Socket): number {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  const state = (socket as unknown as Record<symbol, { handle: { fd: number } }>)[symbol as symbol];
  return (state as { handle: { fd: number } }).handle.fd;
}

/** The descriptor of a listening or connected socket. */
export function descriptorOf(socket: net.Socket | net.Server): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

/** Starts the program with these arguments, and with `fds` as its descriptors from 3. */
export function run(
  args: string[],
  before = '',
  options: Pick<LaunchOptions, 'env' | 'stdout' | 'stderr' | 'wrapper' | 'command'> & { fds?: number[] } = {},
): Omit<Forwarder, 'port' | 'ports'> {
  buildPrograms();
  usual ??= commandOf(process.env[FORWARDER_USER]);
  const script = `${before} exec ${options.wrapper ?? ''} "$@"`;
  const workers = args.includes('--tail') ? undefined : process.env[FORWARDER_WORKERS];
  const all = workers === undefined ? args : [...args, '--workers', workers];
  const child = spawn('sh', ['-c', script, 'sh', ...(options.command ?? usual), ...all], {
    stdio: ['ignore', options.stdout ?? 'ignore', options.stderr ?? 'pipe', ...(options.fds ?? [])],
    env: { PATH: process.env.PATH, ...options.env },
  });
  children.add(child);
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  const exited = once(child, 'close').then(([code, signal]) => {
    children.delete(child);
    return code ?? signal;
  });
  const pid = child.pid as number;
  const status = (field: RegExp): number =>
    Number(field.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  return {
    pid,
    log: () => log,
    exited,
    kill: (signal) => child.kill(signal),
    cpu: () => {
      // proc_pid_stat(5): utime and stime are fields 14 and 15, in ticks of 10 ms.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    descriptors: (kind) => {
      const kindOf = (fd: string): string => {
        try {
          return readlinkSync(`/proc/${pid}/fd/${fd}`);
        } catch {
          return '';
        }
      };
      const fds = readdirSync(`/proc/${pid}/fd`).filter((fd) => Number(fd) > 2);
      const toWorkers = kind === 'socket' ? 2 * Number(workers ?? 0) : 0;
      return fds.filter((fd) => kindOf(fd).startsWith(`${kind}:`)).length - toWorkers;
    },
    memory: () => 1024 * status(/VmRSS:\s+(\d+)/),
    user: () => status(/Uid:\s+(\d+)/),
  };
}

/** A server that hands its connections to `serveOne`; half-open ones stay so. Its port is `port`, also one of freePort(). */
export async function serve(
  serveOne: (socket: net.Socket) => void,
  port = 0,
  host = '127.0.0.1',
): Promise<{ port: number; server: net.Server }> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    keep(socket);
    serveOne(socket);
  });
  servers.add(server);
  const reserved = reservedPorts.get(port);
  if (reserved === undefined) server.listen(port, host, 4096);
  else server.listen({ fd: reserved, backlog: 4096 });
  reservedPorts.delete(port);
  await once(server, 'listening');
  return { port: (server.address() as net.AddressInfo).port, server };
}

/** Bound sockets that do not listen, by port. */
const reservedPorts = new Map<number, number>();

/**
 * A port of 127.0.0.1 where nothing listens, until serve() does. It is bound, so that no other process takes it meanwhile, as
 * the port of a server or as the source port of a client.
 */
export function freePort(): number {
  const libc = koffi.load(null);
  const fd = libc.func('int socket(int, int, int)')(AF_INET, SOCK_STREAM_CLOEXEC, 0);
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  address.writeUInt32BE(0x7f000001, 4);
  if (libc.func('int bind(int, void *, int)')(fd, address, 16) !== 0) throw new Error('bind failed');
  libc.func('int getsockname(int, void *, void *)')(fd, address, Buffer.from([16, 0, 0, 0]));
  const port = address.readUInt16BE(2);
  reservedPorts.set(port, fd);
  return port;
}

const [AF_INET, SOCK_STREAM_CLOEXEC] = [2, 1 | 0x80000];

/** A listening socket that nobody accepts from and whose backlog is full, so that Linux drops further SYNs. */
export async function deafTarget(): Promise<{ port: number }> {
  const libc = koffi.load(null);
  const socket = libc.func('int socket(int, int, int)');
  const listen = libc.func('int listen(int, int)');
  const getsockname = libc.func('int getsockname(int, void *, void *)');
  const fd = socket(AF_INET, SOCK_STREAM_CLOEXEC, 0);
  // Without bind(2) it listens on all addresses, at a port the kernel chooses.
  listen(fd, 0);
  const address = Buffer.alloc(16);
  getsockname(fd, address, Buffer.from([16, 0, 0, 0]));
  const port = address.readUInt16BE(2);
  await connect(port);
  return { port };
}

/**
 * Connects to 127.0.0.1 or `host`; the socket does not close by itself when the other side ends. One that is reset at once may be so
 * before Node tells of the connection; it is returned, too.
 */
export async function connect(
  port: number,
  host = '127.0.0.1',
  options: { localPort?: number; localAddress?: string } = {},
): Promise<net.Socket> {
  const socket = keep(net.connect({ ...options, port, host, allowHalfOpen: true }));
  await once(socket, 'connect').catch((error) => {
    if (error.code !== 'ECONNRESET') throw error;
  });
  return socket;
}

/** What has ended sockets that have failed. */
const failures = new WeakMap<net.Socket, string>();

function keep(socket: net.Socket): net.Socket {
  sockets.add(socket);
  socket.once('error', ({ code = '' }: NodeJS.ErrnoException) => failures.set(socket, code));
  socket.on('error', () => {});
  socket.on('close', () => sockets.delete(socket));
  return socket;
}

/** Every byte a socket receives from now on, and how it ended: "end", "ECONNRESET", or "close" if this side closed it. */
export async function collect(socket: net.Socket): Promise<{ bytes: Buffer; how: string }> {
  if (socket.destroyed) return { bytes: Buffer.alloc(0), how: failures.get(socket) ?? 'close' };
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  const ended = new Promise<string>((resolve) => {
    socket.on('end', () => resolve('end'));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    socket.on('close', () => resolve('close'));
  });
  socket.resume();
  const how = await within(300_000, ended);
  return { bytes: Buffer.concat(chunks), how };
}

/**
 * Whether a socket that collect() has seen to its end was reset. libuv reports a reset right behind bytes as an
 * end; but a write after a reset fails, and after a FIN it does not.
 */
export async function wasReset(socket: net.Socket, how: string): Promise<boolean> {
  if (how !== 'end') return how === 'ECONNRESET';
  return within(60_000, new Promise((resolve) => socket.write('?', (error) => resolve(error != null))));
}

/** What a client hears that connects and says `say`: all of it, or "reset" if it was reset at any time. */
export async function hear(
  port: number,
  options: { host?: string; localAddress?: string; say?: string } = {},
): Promise<string> {
  const socket = keep(net.connect({ host: '127.0.0.1', allowHalfOpen: true, ...options, port }));
  if (options.say !== undefined) socket.write(options.say);
  const { bytes, how } = await collect(socket);
  return how === 'EPIPE' || (await wasReset(socket, how)) ? 'reset' : String(bytes);
}

/** The promise's value, or an Error if it takes longer than `ms`. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let clock: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    clock = setTimeout(() => reject(new Error(`nothing happened within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(clock);
  }
}

/** Waits until `condition` holds, at most `ms`. */
export async function until(condition: () => boolean, ms = 120_000): Promise<void> {
  const end = performance.now() + ms;
  for (;;) {
    const begin = performance.now();
    if (condition()) return;
    if (begin > end) throw new Error(`not within ${ms} ms: ${condition}`);
    // To look at a thousand descriptors takes a while. Meanwhile the sockets of this process have to go on.
    await sleep(5 + 4 * (performance.now() - begin));
  }
}

/**
 * Does `work`, which has to act in time: at least every so many seconds, say. A failure of it counts only if this process has not
 * stood still meanwhile for longer than `most` ms, as on a machine that gives it no processor; otherwise, it is done once more.
 */
export async function undisturbed<T>(most: number, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    let longest = 0;
    let last = performance.now();
    const look = (): void => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    };
    const clock = setInterval(look, 20);
    try {
      return await work();
    } catch (error) {
      look();
      if (longest <= most || attempt === 5) throw error;
    } finally {
      clearInterval(clock);
    }
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * The share of one processor that the forwarder uses during the next second. A loop that spins uses all that it gets. On a busy
 * machine work that was begun before may take a while, so the lowest share of several seconds counts, up to the first in which
 * it is idle.
 */
export async function load(forwarder: Forwarder): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let seconds = 0; seconds < 8 && least > 0.1; seconds++) {
    const [before, start] = [forwarder.cpu(), performance.now()];
    await sleep(1000);
    least = Math.min(least, ((forwarder.cpu() - before) * 1000) / (performance.now() - start));
  }
  return least;
}

/**
 * The CPU seconds that the forwarder uses while `work` is done. For what passes by itself: load() would wait until a loop that has
 * spun meanwhile is idle.
 */
export async function spentDuring(forwarder: Forwarder, work: () => Promise<unknown>): Promise<number> {
  const before = forwarder.cpu();
  await work();
  return forwarder.cpu() - before;
}

/** Lets `forwarder` open no descriptor of this number or above. */
export function limitDescriptors(forwarder: { pid: number }, limit: number): void {
  execFileSync('prlimit', ['--pid', `${forwarder.pid}`, `--nofile=${limit}:`]);
}

/** Ends everything this module has begun. */
export async function closeAll(): Promise<void> {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
  servers.clear();
  for (const fd of reservedPorts.values()) closeSync(fd);
  reservedPorts.clear();
  const ends = [...children].map((child) => once(child, 'close'));
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(ends);
}

/** Another user may not be able to read this repository, and gets a copy of what runs. */
function commandOf(user: string | undefined): string[] {
  if (user === undefined) return [process.execPath, programs.forwarder];
  const copy = mkdtempSync(join(tmpdir(), 'wormhole-'));
  process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
  chmodSync(copy, 0o755);
  for (const name of ['forwarder.cjs', 'koffi.node', 'package.json']) {
    copyFileSync(join(dirname(programs.forwarder), name), join(copy, name));
  }
  const become = ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--'];
  return [...become, process.execPath, join(copy, 'forwarder.cjs')];
}
