import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Forwarder, launch } from './forwarder-launch.ts';

/* The helper that looks up the name of a target, whose addresses a forwarder reads from a file. */

/** A helper. */
export interface Helper {
  readonly file: string;
  readonly socket: string;
  /** Lookups that have been asked for. */
  count(): number;
  /** Writes the file, and answers what has been asked. */
  answer(text: string): void;
}

const ends: (() => void)[] = [];

/** What it has found out. */
export interface Known {
  addresses: string[];
  /** For how long they are valid, ms. Default: an hour. */
  ttl?: number;
  problem?: string;
}

/** The text of the file that says so. */
export function fileOf({ addresses, ttl = 3_600_000, problem }: Known): string {
  const until = Number(process.hrtime.bigint() / 1_000_000n) + ttl;
  const lines = [
    'wormhole name 1',
    'name db.example:5432',
    ...addresses.map((address) => `address ${address}`),
    `until ${until}`,
    ...(problem === undefined ? [] : [`problem ${problem}`]),
    'end',
    '',
  ];
  return lines.join('\n').padEnd(4096, '\0');
}

/** Creates a helper that knows something, or nothing yet. */
export async function helper(known?: Known): Promise<Helper> {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
  const [file, socket] = [join(directory, 'names'), join(directory, 'ask')];
  if (known) writeFileSync(file, fileOf(known));
  let count = 0;
  const open: net.Socket[] = [];
  const server = net.createServer((question) => {
    count += 1;
    open.push(question);
  });
  server.listen(socket);
  await once(server, 'listening');
  ends.push(() => {
    for (const question of open) question.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  });
  return {
    file,
    socket,
    count: () => count,
    answer(text) {
      writeFileSync(file, text);
      for (const question of open.splice(0)) question.destroy();
    },
  };
}

/** Starts a forwarder that asks a helper. */
export function launchNamed(at: Helper, args: string[] = [], options: object = {}): Promise<Forwarder> {
  const names = [
    '--to-file',
    at.file,
    '--ask',
    at.socket,
    '--name',
    'db.example:5432',
    '--place',
    'this host',
  ];
  return launch({ args: [...names, ...args], ...options });
}

/** Ends all helpers. */
export function closeHelpers(): void {
  for (const end of ends.splice(0)) end();
}
