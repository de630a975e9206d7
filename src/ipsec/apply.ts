import { spawn } from 'node:child_process';
import { hostname } from 'node:os';
import type { Readable } from 'node:stream';
import type { Step } from './plan.js';

/** A command that ip(8) refused; the message has its own words, and never a key. */
export class IpError extends Error {}

/** What ip says of what does not exist (any more): errno(3) ENOENT, ESRCH, ENODEV and EADDRNOTAVAIL, or its own words. */
const GONE = /No such (file|process|device)|Cannot find device|Cannot assign requested address/;

/** What it says of a kernel that was built without what tunnels need. */
const NO_ESP = /Protocol not supported|algorithm not found/;
const NO_INTERFACE = /Unknown device type|Operation not supported/;

/**
 * Applies steps in order, all or none: when one fails, those before it are undone.
 *
 * Each goes to an `ip -batch -` of its own, on its standard input: of several, `ip xfrm` does not tell which has failed.
 *
 * @throws IpError
 */
export async function applySteps(steps: Step[]): Promise<void> {
  const done: Step[] = [];
  for (const step of steps) {
    try {
      await ip(['-batch', '-'], step.line);
      done.push(step);
    } catch (error) {
      await undoSteps(done);
      throw error;
    }
  }
}

/** Undoes steps, the last first; what is gone already is fine. @throws IpError when something stays, after all others */
export async function undoSteps(steps: Step[]): Promise<void> {
  await runRemovals(steps.flatMap(({ undo }) => undo ?? []).toReversed());
}

/** Runs lines each of which removes something; what is gone already is fine. @throws IpError after all lines */
export async function runRemovals(lines: string[]): Promise<void> {
  let failure: unknown;
  for (const line of lines) {
    try {
      await ip(['-batch', '-'], line);
    } catch (error) {
      if (!(error instanceof IpError) || !GONE.test(error.message)) failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}

/** Runs ip(8), with times in UTC, in this network namespace or a new one. Returns what it printed. @throws IpError */
export async function ip(args: string[], input?: string, { inNewNamespace = false } = {}): Promise<string> {
  const [program = 'ip', ...words] = [...(inNewNamespace ? ['unshare', '--net', 'ip'] : ['ip']), ...args];
  const child = spawn(program, words, {
    env: { PATH: process.env.PATH, TZ: 'UTC', LC_ALL: 'C' },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  const [stdout, stderr] = [child.stdout as Readable, child.stderr as Readable];
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  stdout.on('data', (chunk: Buffer) => out.push(chunk));
  stderr.on('data', (chunk: Buffer) => err.push(chunk));
  // When it fails early, it does not read its input.
  child.stdin?.on('error', () => {});
  child.stdin?.end(`${input}\n`);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', ({ message }) =>
      reject(new IpError(`ip cannot be run (${message}): install iproute2`)),
    );
    child.on('close', resolve);
  });
  if (status === 0) return Buffer.concat(out).toString();
  const said =
    Buffer.concat(err)
      .toString()
      .replace(/^Command failed .*/m, '')
      .trim() || `it says nothing, exit status ${status}`;
  const lacking = describeLacking(said);
  if (lacking !== undefined) throw new IpError(lacking);
  throw new IpError(`ip ${withoutKey(input ?? args.join(' '))}: ${withoutKey(said)}`);
}

/** What the kernel lacks of what tunnels need, and how to get it; undefined when ip has said something else. */
function describeLacking(said: string): string | undefined {
  const missing = NO_ESP.test(said)
    ? ['ESP with AES-GCM', 'esp4 esp6', 'CONFIG_INET_ESP, CONFIG_CRYPTO_GCM']
    : NO_INTERFACE.test(said)
      ? ['xfrm interfaces', 'xfrm_interface', 'CONFIG_XFRM_INTERFACE']
      : undefined;
  if (missing === undefined) return undefined;
  const [what, modules, options] = missing;
  return `the kernel of ${hostname()} cannot carry tunnels, it lacks ${what}: modprobe -a ${modules}, or boot a kernel with ${options}, such as Debian's`;
}

/** ip quotes what it does not understand. */
function withoutKey(text: string): string {
  return text.replace(/0x[0-9a-f]{32,}/g, '(key)').replace(/\s*\n\s*/g, ' / ');
}
