import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
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
}

/** A forwarder under strace(1). */
export interface Traced {
  readonly forwarder: Forwarder;
  /** Its system calls so far, by round of the loop: each but the first begins with epoll_wait(2). */
  rounds(): SystemCall[][];
}

/**
 * Starts the forwarder under strace(1), which notes its system calls of these names, and of all names if there are none. The
 * list of calls is that of its JavaScript thread.
 */
export async function trace(names: string[], options: LaunchOptions): Promise<Traced> {
  const file = join(directory, `trace-${Math.random()}`);
  const filter = names.length === 0 ? '' : `-e trace=epoll_wait,epoll_pwait,${names.join(',')}`;
  // Traced by a grandchild (-D), the program keeps the process that LISTEN_PID names.
  const wrapper = `strace -D -q -o ${file} ${filter} -e signal=none`;
  const forwarder = await launch({ ...options, wrapper });
  const rounds = (): SystemCall[][] => {
    const found: SystemCall[][] = [[]];
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      const parts = /^(\w+)\((-?\d+)?(.*)\) += (-?\d+)/.exec(line);
      if (parts === null) continue;
      const [, name, fd = '-1', args, result] = parts as unknown as [string, string, string, string, string];
      if (name.startsWith('epoll_') && name.endsWith('wait')) found.push([]);
      found.at(-1)?.push({ name, fd: Number(fd), args, result: Number(result) });
    }
    return found;
  };
  return { forwarder, rounds };
}
