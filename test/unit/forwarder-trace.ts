import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Forwarder, type LaunchOptions, launch } from './forwarder-launch.ts';

/* The system calls of the forwarder, seen and changed by strace(1). */

const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

export interface SystemCall {
  readonly name: string;
  /** The first argument, nearly always a descriptor. */
  readonly fd: number;
  readonly args: string;
  readonly result: number;
  /** Whether strace has made it fail. */
  readonly isInjected: boolean;
}

/** A forwarder under strace(1). */
export interface Traced {
  readonly forwarder: Forwarder;
  /** Its system calls so far, by round of the loop: each but the first begins with epoll_wait(2). */
  rounds(): SystemCall[][];
}

/** What is to be traced. */
export interface TraceOptions {
  /** The names of the system calls that are noted; none: all. */
  readonly names?: readonly string[];
  /** What strace(1) makes fail, as its option of that name says: "splice:error=ENOMEM:when=3+7". */
  readonly inject?: readonly string[];
}

/**
 * Starts the forwarder under strace(1), which notes its system calls of these names, and of all names if there are none. The
 * list of calls is that of its JavaScript thread. `inject` makes calls of that thread fail. Throws an Error where strace is missing.
 */
export async function trace(
  names: string[],
  { inject = [], ...options }: LaunchOptions & { inject?: string[] },
): Promise<Traced> {
  const { wrapper, rounds } = createTrace({ names, inject });
  return { forwarder: await launch({ ...options, wrapper }), rounds };
}

/** A wrapper that runs a program under strace(1), and what that has noted. Throws an Error where strace is missing. */
export function createTrace({
  names = [],
  inject = [],
}: TraceOptions): Pick<Traced, 'rounds'> & { wrapper: string } {
  if (spawnSync('strace', ['-V']).status !== 0) {
    throw new Error('strace is missing: apt-get install strace');
  }
  const file = join(directory, `trace-${Math.random()}`);
  // A call that is not noted is not made to fail either.
  const noted = ['epoll_wait', 'epoll_pwait', ...names, ...inject.map((what) => what.split(':')[0])];
  const filter = names.length === 0 && inject.length === 0 ? '' : `-e trace=${noted.join(',')}`;
  // Traced by a grandchild (-D), the program keeps the process that LISTEN_PID names.
  const injections = inject.map((what) => `-e inject=${what}`).join(' ');
  const wrapper = `strace -D -q -o ${file} ${filter} ${injections} -e signal=none`;
  const rounds = (): SystemCall[][] => {
    const found: SystemCall[][] = [[]];
    // It is not there before strace is.
    if (!existsSync(file)) return found;
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      const parts = /^(\w+)\((-?\d+)?(.*)\) += (-?\d+)/.exec(line);
      if (parts === null) continue;
      const [, name, fd = '-1', args, result] = parts as unknown as [string, string, string, string, string];
      if (name.startsWith('epoll_') && name.endsWith('wait')) found.push([]);
      found.at(-1)?.push({
        name,
        fd: Number(fd),
        args,
        result: Number(result),
        isInjected: line.endsWith('(INJECTED)'),
      });
    }
    return found;
  };
  return { wrapper, rounds };
}

/** How often the loop has slept until a timer was due: after each failure, if it does not spin. */
export function pausesOf(rounds: SystemCall[][]): number {
  return rounds.filter(([wait]) => wait?.name.startsWith('epoll') && wait.result === 0).length;
}
