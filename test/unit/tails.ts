import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, descriptorOf, run, serve, until } from './forwarder-launch.ts';
import { unixSocket } from './unix-sockets.ts';

/* The forwarders of a link with several tails: a front, and one for each tail that it hands clients to. */

/** For the sockets of tails. */
export const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** A forwarder. */
export type Program = ReturnType<typeof run>;

/** A tail: the socket that systemd would hold, and its forwarder while one runs. */
export interface Tail {
  name: string;
  path: string;
  /** Starts its forwarder, under a command that becomes it: "strace -D". */
  start(wrapper?: string): Program;
}

let names = 0;

/** A tail whose target is a port of this machine, or a path. */
export function tailTo(target: number | string, args: string[] = []): Tail {
  const to = typeof target === 'number' ? `127.0.0.1:${target}` : target;
  return tailWith(['--to', to, '--dial-timeout', '2', ...args]);
}

/** A tail with these options of the forwarder. */
export function tailWith(args: string[]): Tail {
  const name = `t${names++}`;
  const path = join(directory, `${name}.sock`);
  const { fd } = unixSocket('unixpacket').bind(path).listen(64);
  return {
    name,
    path,
    start: (wrapper) =>
      run(
        ['--link', name, '--idle', '0', '--hand-off', 'once', ...args],
        'export LISTEN_FDS=1 LISTEN_PID=$$;',
        { fds: [fd], ...(wrapper !== undefined && { wrapper }) },
      ),
  };
}

/** Waits until the forwarder of a tail runs. */
export async function serves({ path }: Tail): Promise<void> {
  const front = unixSocket('unixpacket').connect(path);
  await until(() => front.receive() !== undefined);
  front.close();
}

/** Starts the forwarders of tails, and waits until they run: one that starts for longer than a front waits would be passed over. */
export async function startAll(tails: readonly Tail[]): Promise<Program[]> {
  const programs = tails.map((tail) => tail.start());
  await Promise.all(tails.map(serves));
  return programs;
}

/** Starts a front with a listener of its own. `options` has what follows the socket of each tail. */
export async function frontTo(
  tails: Tail[],
  args: string[] = [],
  options: (tail: Tail) => string = () => '1 5',
): Promise<Program & { port: number }> {
  const listener = net.createServer().listen(0, '127.0.0.1', 4096);
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  const program = run(
    [
      '--link',
      'front',
      '--idle',
      '0',
      ...tails.flatMap((tail) => ['--tail', `${tail.name} ${tail.path} ${options(tail)}`]),
      ...args,
    ],
    'export LISTEN_FDS=1 LISTEN_PID=$$;',
    { fds: [descriptorOf(listener)] },
  );
  listener.close();
  return { ...program, port };
}

/** A server that says its name to every client, and then sends back what it gets. */
export async function named(name: string, port = 0): Promise<{ port: number; server: net.Server }> {
  return serve((socket) => {
    socket.write(`${name}\n`);
    socket.pipe(socket);
  }, port);
}

/** Connects, and returns the socket with the name of the server that answers. */
export async function ask(port: number): Promise<{ socket: net.Socket; name: string }> {
  const socket = await connect(port);
  const [chunk] = await once(socket, 'data');
  return { socket, name: `${chunk}`.trim() };
}

/** The names of the servers that answer so many clients, one after the other. */
export async function namesOf(port: number, count: number): Promise<string[]> {
  const found: string[] = [];
  for (let n = 0; n < count; n++) {
    const { socket, name } = await ask(port);
    socket.destroy();
    found.push(name);
  }
  return found;
}
