import { spawn, spawnSync } from 'node:child_process';

/**
 * How many times as long as on the machine where the times of the tests were chosen something may take: other machines are slower, and
 * are shared. `run` and `waitFor` multiply by it what they are given.
 */
export const SLOWNESS = 3;

/** What a finished command left behind. `status` is its exit status, or 128 + the signal that ended it. */
export interface Result {
  stdout: string;
  stderr: string;
  status: number;
}

/** How to run a command. */
export interface RunOptions {
  /** Written to its standard input, which is empty by default. */
  input?: string | Uint8Array;
  /** Seconds after which the command and all it started are killed and `run` throws, times SLOWNESS. Default 50. */
  timeout?: number;
  /** Throw when the exit status is not 0. Default true. */
  check?: boolean;
}

/** A command that keeps running beside the test. */
export interface Running {
  /** What it has written so far. */
  stdout(): string;
  /** What it has written to standard error so far. */
  stderr(): string;
  /** Resolves when it has ended and its output is complete; never rejects. */
  exited: Promise<Result>;
  /** Writes to its standard input. */
  write(text: string | Uint8Array): void;
  /** Closes its standard input. */
  end(): void;
  /** Sends `signal` (default SIGTERM) to it and its children, SIGKILL 5 s later, and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Result>;
}

const signals: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };

/** Sends `signal` to the process group `pid` leads; a group that is gone is no error. */
export function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

const live = new Set<number>();
process.on('exit', () => {
  for (const pid of live) killGroup(pid, 'SIGKILL');
});

/** Starts `argv` on this machine, in a process group of its own, and returns at once. It ends when this process ends. */
export function start(argv: string[]): Running {
  const [file = '', ...args] = argv;
  const child = spawn(file, args, { detached: true, stdio: 'pipe' });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  // A command may end before it has read all its input.
  child.stdin.on('error', () => {});
  const stdout = () => Buffer.concat(out).toString();
  const stderr = () => Buffer.concat(err).toString();
  const exited = new Promise<Result>((resolve) => {
    if (child.pid !== undefined) live.add(child.pid);
    child.on('error', (error) => resolve({ stdout: '', stderr: error.message, status: 127 }));
    child.on('exit', () => live.delete(child.pid ?? 0));
    child.on('close', (code, signal) =>
      resolve({ stdout: stdout(), stderr: stderr(), status: code ?? 128 + (signals[signal ?? ''] ?? 0) }),
    );
  });
  const kill = (signal: NodeJS.Signals) => child.pid !== undefined && killGroup(child.pid, signal);
  return {
    stdout,
    stderr,
    exited,
    write: (text) => void child.stdin.write(text),
    end: () => void child.stdin.end(),
    async stop(signal = 'SIGTERM') {
      kill(signal);
      const timer = setTimeout(() => kill('SIGKILL'), 5000);
      const result = await exited;
      clearTimeout(timer);
      return result;
    },
  };
}

/** The last `count` lines of `text`. */
export function tail(text: string, count: number): string {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}

/**
 * Runs `argv` on this machine and waits for it. `shown` is how error messages call the command.
 *
 * Throws when the time is up and, unless `check` is false, when the exit status is not 0.
 */
export function run(argv: string[], options: RunOptions = {}, shown = argv.join(' ')): Promise<Result> {
  return finish(start(argv), options, shown);
}

/** Feeds a command that was started and waits for it, as `run` does. */
export async function finish(running: Running, options: RunOptions, shown: string): Promise<Result> {
  const { input, check = true } = options;
  const timeout = (options.timeout ?? 50) * SLOWNESS;
  if (input !== undefined) running.write(input);
  running.end();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    running.stop('SIGKILL');
  }, timeout * 1000);
  const result = await running.exited;
  clearTimeout(timer);
  const output = tail(`${result.stdout}\n${result.stderr}`, 40);
  if (late) throw new Error(`no end after ${timeout} s: ${shown}\n${output}`);
  if (check && result.status !== 0) throw new Error(`exit status ${result.status}: ${shown}\n${output}`);
  return result;
}

/** Runs `argv` on this machine without giving way to anything else, for clean-up while the process exits. */
export function runSync(argv: string[]): Result {
  const [file = '', ...args] = argv;
  const { stdout, stderr, status } = spawnSync(file, args, { encoding: 'utf8', timeout: 60_000 });
  return { stdout: stdout ?? '', stderr: stderr ?? '', status: status ?? 127 };
}

/** Removes `path` and all below it, but nothing that is mounted there. A path that is not there is no error. */
export function removeTree(path: string): void {
  const { status, stderr } = runSync(['rm', '-rf', '--one-file-system', '--', path]);
  if (status !== 0) throw new Error(stderr.trim());
}
