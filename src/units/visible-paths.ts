import { posix } from 'node:path';
import { type Address, addressesOf, type Link, localTailOf } from '../recipe/link.js';
import { isPath, isUnix } from '../recipe/recipe.js';

/** What the forwarder does not see unless a socket that it needs is there. */
const HIDDEN = ['/root', '/tmp', '/var/tmp'];

/** What of /run it does not see when a socket that it needs is there: sockets that rule a machine, or tell of it. */
const HIDDEN_IN_RUN = [
  ...['containerd', 'credentials', 'dbus', 'docker', 'docker.sock', 'podman', 'user', 'wormhole.sock'],
  ...['systemd/private', 'systemd/userdb', 'systemd/io.system.ManagedOOM'],
  // Not journal/socket, to which it logs.
  ...['dev-log', 'io.systemd.journal', 'stdout', 'streams', 'syslog'].map(
    (name) => `systemd/journal/${name}`,
  ),
].map((name) => `/run/${name}`);

/**
 * The directories that the forwarder has to see: that of its target, in which a socket that is created again is found, and those in
 * which clients of datagrams have the sockets that answers go to. And what stays hidden nevertheless.
 */
export function visiblePaths(link: Link): {
  directories: string[];
  hidden: string[];
  protectHome: 'yes' | 'tmpfs';
} {
  const tail = localTailOf(link);
  const tails = tail ? pathsOf(addressesOf(tail)) : [];
  const heads = pathsOf(addressesOf(link.head).filter(({ protocol }) => protocol === 'unixgram'));
  const clients = heads.length > 0 ? ['/tmp', '/var/tmp'] : [];
  const seen = [...new Set([...[...tails, ...heads].map((path) => posix.dirname(path)), ...clients])];
  const isSeen = (path: string): boolean =>
    [...tails, ...seen].some((one) => `${one}/`.startsWith(`${path}/`));
  const inRun = seen.some((directory) => directory === '/run' || directory === '/var/run')
    ? HIDDEN_IN_RUN
    : [];
  return {
    directories: seen.map((directory) => `-${directory}`),
    hidden: [...HIDDEN, ...inRun].filter((path) => !isSeen(path)).map((path) => `-+${path}`),
    protectHome: seen.some((directory) => /^\/(home|root|run\/user)(\/|$)/.test(directory)) ? 'tmpfs' : 'yes',
  };
}

function pathsOf(addresses: Address[]): string[] {
  return addresses.flatMap((one) => (isUnix(one) && isPath(one) ? [one.path] : []));
}
