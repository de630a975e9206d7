import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { programs } from '../programs.ts';
import { listenRaw } from '../unit/forwarder-fidelity-run.ts';

/** A relay of the comparison. */
export interface Relay {
  readonly name: string;
  /** What must exist to run it, and the Debian package that brings it. */
  readonly needs: readonly [path: string, debianPackage: string][];
  /** Starts it from `port` to `target`, both on 127.0.0.1; its configuration may be written to `directory`. */
  start(port: number, target: number, directory: string): Promise<ChildProcess>;
  /**
   * Starts it for its first connection, as a service manager does, and returns the ms from connect(2) to the first byte of an
   * answer of the HTTP server at `target`. Undefined for a relay that is not started that way.
   */
  wake?: (target: number) => Promise<number>;
}

const started = new Set<ChildProcess>();
process.on('exit', stopAll);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

/** Ends all that start() has started. */
export function stopAll(): void {
  for (const child of started) child.kill('SIGTERM');
  started.clear();
}

/** Starts a program that is ended with the benchmark. */
export function start(command: string, args: string[], options: { listener?: number } = {}): ChildProcess {
  const { listener } = options;
  // SIGPIPE is ignored in services (IgnoreSIGPIPE= of systemd.exec(5)); systemd-socket-proxyd relies on it.
  const script = 'trap "" PIPE; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"';
  const child = spawn('sh', ['-c', script, 'sh', command, ...args], {
    stdio: ['ignore', 'ignore', 'ignore', ...(listener === undefined ? [] : [listener])],
  });
  started.add(child);
  return child;
}

/** CPU seconds used so far by a process, its children, and those of them that are gone. */
export function cpuSeconds(pid: number): number {
  // proc_pid_stat(5): fields 14 to 17 are utime, stime, cutime and cstime, in ticks of 10 ms.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const own = fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean),
  );
  return children.reduce((sum, child) => {
    try {
      return sum + cpuSeconds(Number(child));
    } catch {
      return sum;
    }
  }, own);
}

const proxyd = '/lib/systemd/systemd-socket-proxyd';
const streamModule = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** A build of the forwarder: the path of its forwarder.cjs, and what it is started with besides. */
export function build(name: string, main: string, more: readonly string[] = []): Relay {
  const args = (target: number) => [
    ...[main, '--link', 'bench', '--to', `127.0.0.1:${target}`, '--idle', '0'],
    ...more,
  ];
  return {
    name,
    needs: [],
    start: (port, target) => activate(port, process.execPath, args(target)),
    wake: (target) => firstByte(process.execPath, args(target)),
  };
}

/** An HAProxy with lines of configuration for its global and its default section. */
function haproxy(name: string, global: string, defaults: string): Relay {
  return {
    name,
    needs: [['/usr/sbin/haproxy', 'haproxy']],
    start: async (port, target, directory) => {
      const config = join(directory, `haproxy-${port}.cfg`);
      writeFileSync(
        config,
        `global\n maxconn 4096\n${global}` +
          `defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n${defaults}` +
          `listen bench\n bind 127.0.0.1:${port}\n server target 127.0.0.1:${target}\n`,
      );
      return start('/usr/sbin/haproxy', ['-db', '-f', config]);
    },
  };
}

/** The relays, ours first. Each is set up as its manual suggests, without limits that matter here. */
export const relays: readonly Relay[] = [
  build('wormhole', programs.forwarder),
  {
    name: 'systemd-socket-proxyd',
    needs: [[proxyd, 'systemd']],
    start: (port, target) => activate(port, proxyd, ['--connections-max=4096', `127.0.0.1:${target}`]),
    wake: (target) => firstByte(proxyd, [`127.0.0.1:${target}`]),
  },
  haproxy('HAProxy', '', ''),
  haproxy('HAProxy splice-auto', '', ' option splice-auto\n'),
  haproxy('HAProxy one thread', ' nbthread 1\n', ''),
  {
    name: 'nginx stream',
    needs: [
      ['/usr/sbin/nginx', 'nginx'],
      [streamModule, 'libnginx-mod-stream'],
    ],
    start: async (port, target, directory) =>
      startNginx(
        directory,
        port,
        `load_module ${streamModule};`,
        `stream { server { listen 127.0.0.1:${port} backlog=4096; tcp_nodelay on; proxy_pass 127.0.0.1:${target}; } }`,
      ),
  },
  {
    name: 'socat',
    needs: [['/usr/bin/socat', 'socat']],
    start: async (port, target) =>
      start('/usr/bin/socat', [
        `TCP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr,nodelay,backlog=4096`,
        `TCP:127.0.0.1:${target},nodelay`,
      ]),
  },
  {
    name: 'Go io.Copy',
    needs: [['/usr/bin/go', 'golang-go']],
    start: async (port, target, directory) => {
      const program = join(directory, 'go-relay');
      if (!existsSync(program)) await compileGo(program, directory);
      return start(program, [`127.0.0.1:${port}`, `127.0.0.1:${target}`]);
    },
  },
  {
    name: 'node:net',
    needs: [],
    start: async (port, target) =>
      start(process.execPath, [
        fileURLToPath(new URL('node-relay.mjs', import.meta.url)),
        `${port}`,
        `${target}`,
      ]),
  },
];

async function compileGo(program: string, directory: string): Promise<void> {
  const source = fileURLToPath(new URL('relay.go', import.meta.url));
  const env = { ...process.env, GOCACHE: join(directory, 'go-cache'), GO111MODULE: 'off' };
  await promisify(execFile)('/usr/bin/go', ['build', '-o', program, source], { env });
}

/** Starts an nginx of its own with one worker, from the text of its configuration. */
export function startNginx(directory: string, port: number, head: string, body: string): ChildProcess {
  const config = join(directory, `nginx-${port}.conf`);
  writeFileSync(
    config,
    `${head}\ndaemon off; worker_processes 1; pid ${directory}/nginx-${port}.pid; error_log /dev/null;\n` +
      `events { worker_connections 8192; }\n${body}\n`,
  );
  return start('/usr/sbin/nginx', ['-c', config]);
}

/** Waits until something listens on a port of 127.0.0.1. */
export async function listening(port: number): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const socket = net.connect(port, '127.0.0.1');
    const up = await new Promise((resolve) => {
      socket.on('connect', () => resolve(true));
      socket.on('error', () => resolve(false));
    });
    socket.destroy();
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on port ${port}`);
}

/** The Debian packages that these needs lack here. */
export function missing(needs: Relay['needs']): string[] {
  return needs.filter(([path]) => !existsSync(path)).map(([, debianPackage]) => debianPackage);
}

/** The time from a connection to the first byte of an answer, ms, where the connection starts the program. */
async function firstByte(command: string, args: string[]): Promise<number> {
  const { fd, port } = listenRaw();
  try {
    const begin = performance.now();
    const client = net.connect(port, '127.0.0.1');
    client.write('GET / HTTP/1.1\r\nHost: bench\r\n\r\n');
    await once(client, 'connect');
    const child = start(command, args, { listener: fd });
    await once(client, 'data');
    const took = performance.now() - begin;
    client.destroy();
    started.delete(child);
    child.kill();
    await once(child, 'exit');
    return took;
  } finally {
    closeSync(fd);
  }
}

async function activate(port: number, command: string, args: string[]): Promise<ChildProcess> {
  const server = net.createServer().listen(port, '127.0.0.1', 4096);
  await once(server, 'listening');
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  const child = start(command, args, { listener: fd });
  server.close();
  return child;
}
