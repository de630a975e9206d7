import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** How long a connection may take, ms. */
const CONNECT_MS = 5_000;

/** How long the program that connects may take to start and to end beside that, ms. */
const SPARE_MS = 10_000;

/**
 * Connects, sends nothing, and prints `accepted`, or the code of the error. With a time to stay, it waits that long for the other end
 * to close.
 */
const PROGRAM = `
const [host, port, stay, timeout] = JSON.parse(process.argv[1]);
const socket = require('node:net').connect(port, host);
const end = (text) => { process.stdout.write(text); process.exit(0); };
socket.setTimeout(timeout, () => end('ETIMEDOUT'));
socket.on('error', (error) => end((error.errors?.at(-1) ?? error).code ?? error.message));
socket.on('connect', () => {
  socket.setTimeout(0);
  if (stay === 0) end('accepted');
  setTimeout(end, stay, 'accepted');
  socket.on('data', () => end('accepted'));
  socket.on('end', () => end('CLOSED'));
});
`;

/** How to connect. */
export interface ProbeOptions {
  /** A path of the network namespace; by default this one. */
  namespace?: string | undefined;
  /** How long to wait for a target that accepts and closes, ms: the forwarder of another link does so if it reaches nothing. Default 0. */
  stay?: number;
  /** Ends the probe: the target is known to accept. */
  signal?: AbortSignal;
}

/** Where to connect to. */
export interface Target {
  host: string;
  port: number;
}

/**
 * Whether a target accepts a connection from a network namespace, as the forwarder there would open it. Not a byte is sent.
 *
 * @returns undefined when it does, and otherwise the code of the error, or `CLOSED`
 */
export async function probe(
  { host, port }: Target,
  { namespace, stay = 0, signal }: ProbeOptions = {},
): Promise<string | undefined> {
  const words = [process.execPath, '-e', PROGRAM, JSON.stringify([host, port, stay, CONNECT_MS])];
  const [program = '', ...args] =
    namespace === undefined ? words : ['nsenter', `--net=${namespace}`, '--', ...words];
  try {
    const { stdout } = await run(program, args, {
      timeout: CONNECT_MS + stay + SPARE_MS,
      ...(signal && { signal }),
    });
    return stdout === 'accepted' ? undefined : stdout;
  } catch (error) {
    if (signal?.aborted) return undefined;
    throw error;
  }
}
