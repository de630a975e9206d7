import { basename, dirname } from 'node:path';
import { run } from './shell.ts';

/** Copies the file or directory `path` of this machine into `target` of a host; `enter` makes an argv run there. */
export async function copyIn(
  path: string,
  target: string,
  enter: (argv: string[]) => string[],
): Promise<void> {
  const script = 'set -o pipefail; tar -C "$1" -cf - -- "$2" | { shift 2; "$@"; }';
  const unpack = enter(['sh', '-c', 'mkdir -p "$1" && tar -C "$1" -xf -', 'sh', target]);
  await run(['bash', '-c', script, 'bash', dirname(path), basename(path), ...unpack]);
}

/** Copies the file or directory `path` of a host into `target` of this machine; `enter` makes an argv run there. */
export async function copyOut(
  path: string,
  target: string,
  enter: (argv: string[]) => string[],
): Promise<void> {
  const script = 'set -o pipefail; mkdir -p "$1" && { shift; "$@"; } | tar -C "$1" -xf -';
  const pack = enter(['tar', '-C', dirname(path), '-cf', '-', '--', basename(path)]);
  await run(['bash', '-c', script, 'bash', target, ...pack]);
}
