import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { posix } from 'node:path';
import { promisify } from 'node:util';
import { addressesOf, type End } from '../recipe/link.js';
import { isFar, isPath, isUnix, type Recipe, type RecipeAddress, splitEnd } from '../recipe/recipe.js';
import { inspectPath } from '../system/unix-sockets.js';
import type { CreateOptions } from '../units/plan.js';

/** The path of a head has something that must not be replaced, or that of a tail may not be used. */
export class PathRefused extends Error {}

/**
 * Makes sure that the paths of a head are free. A socket that no program uses any more is replaced by systemd, which would
 * replace one in use, and any other file, too.
 *
 * @throws PathRefused
 */
export function requireFreePaths(head: End): void {
  for (const path of pathsOf(addressesOf(head))) {
    const use = inspectPath(path);
    if (use === 'live socket')
      throw new PathRefused(
        `a program listens on ${path} already (ss -xlp shows which): stop it, or take another path`,
      );
    if (use === 'file')
      throw new PathRefused(`${path} exists, and is not a socket: remove it, or take another path`);
  }
}

/**
 * Makes sure that the options about unix sockets have something to apply to, that their users and groups exist, and that the
 * forwarder may connect to the path of the tail, if there is a socket now.
 *
 * @throws PathRefused
 */
export async function checkPathOptions(recipe: Recipe, options: CreateOptions): Promise<void> {
  const applying = applyingOptions(recipe, options);
  for (const [name, option] of [
    ['socketMode', '--mode'],
    ['socketOwner', '--owner'],
    ['group', '--group'],
  ] as const)
    if (options[name] !== applying[name])
      throw new PathRefused(
        `${option} "${options[name]}" is for a ${name === 'group' ? 'tail' : 'head'} with a path, such as unix:///run/x.sock, and the recipe has none`,
      );
  const here = linksHere(recipe);
  const { socketOwner, group } = options;
  if (here.some(hasPathHead)) await requireOwner(socketOwner);
  const tails = here.flatMap(tailPaths);
  for (const path of [...tails, ...here.flatMap(datagramHeads)]) requireOwnDirectory(path);
  if (group !== undefined && tails.length > 0) await requireAccount('group', group, `--group "${group}"`);
  if (group === undefined) for (const path of tails) await requireUsable(path);
}

/** The options without those about paths and tails that a recipe, with what it has on other machines, does not have. */
export function applyingOptions(recipe: Recipe, options: CreateOptions): CreateOptions {
  const { socketMode, socketOwner, group, balance, check, ...others } = options;
  const links = allLinks(recipe);
  const hasHead = links.some(hasPathHead);
  const hasTail = links.some((link) => tailPaths(link).length > 0);
  return {
    ...others,
    ...(hasHead && socketMode !== undefined && { socketMode }),
    ...(hasHead && socketOwner !== undefined && { socketOwner }),
    ...(hasTail && group !== undefined && { group }),
    ...(recipe.tails && balance !== undefined && { balance }),
    ...(recipe.tails && check !== undefined && { check }),
  };
}

function allLinks(recipe: Recipe): Recipe[] {
  const children = [recipe, ...(recipe.tails ?? [])].flatMap(({ child }) => child?.link ?? []);
  return [recipe, ...children.flatMap(allLinks)];
}

function hasPathHead({ head }: Recipe): boolean {
  return splitEnd(head).some(isPath);
}

/** The forwarder sees the directory of its target, and that of a head whose clients it answers. @throws PathRefused */
function requireOwnDirectory(path: string): void {
  const directory = posix.dirname(path);
  if (directory === '/' || /^(?:\/var)?\/run\/wormhole(?:\/|$)/.test(directory))
    throw new PathRefused(
      `the forwarder would see all of ${directory} beside ${path}: take a socket in a directory of its own`,
    );
  // BindReadOnlyPaths= would take what follows for another path.
  if (directory.includes(':'))
    throw new PathRefused(
      `${path}: systemd cannot show the forwarder a directory with ":" in its name: take another one`,
    );
}

/** The paths at which a link receives datagrams. */
function datagramHeads({ head }: Recipe): string[] {
  return pathsOf(splitEnd(head).filter(({ protocol }) => protocol === 'unixgram'));
}

/** The links of a recipe on this machine. */
function linksHere(recipe: Recipe): Recipe[] {
  const { child } = recipe;
  return [recipe, ...(child && !isFar(child) ? linksHere(child.link) : [])];
}

/** The paths that a link leads to. The head of a chain is one of ours, and for everyone unless --mode says otherwise. */
function tailPaths(link: Recipe): string[] {
  return [link, ...(link.tails ?? [])].flatMap(({ tail }) => (tail ? pathsOf(splitEnd(tail)) : []));
}

function pathsOf(addresses: RecipeAddress[]): string[] {
  return addresses.flatMap((address) => (isUnix(address) && isPath(address) ? [address.path] : []));
}

async function requireOwner(owner: string | undefined): Promise<void> {
  const [user = '', group = ''] = (owner ?? '').split(':');
  if (user !== '') await requireAccount('passwd', user, `--owner "${owner}"`);
  if (group !== '') await requireAccount('group', group, `--owner "${owner}"`);
}

async function requireAccount(database: 'passwd' | 'group', name: string, option: string): Promise<void> {
  if (/^\d+$/.test(name) || (await account(database, name)) !== undefined) return;
  throw new PathRefused(
    `${option}: this host has no ${database === 'passwd' ? 'user' : 'group'} called "${name}"`,
  );
}

/** The name of a user or group, found by its name or number; undefined when there is none. */
async function account(database: 'passwd' | 'group', key: string): Promise<string | undefined> {
  try {
    return (await promisify(execFile)('getent', [database, key])).stdout.split(':')[0];
  } catch {
    // Exit status 2: there is none.
    return undefined;
  }
}

/** The forwarder runs as a user that exists only while it runs, and so as any other. */
async function requireUsable(path: string): Promise<void> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || (found.mode & 0o002) !== 0) return;
  const group = (await account('group', `${found.gid}`)) ?? `${found.gid}`;
  const advice =
    (found.mode & 0o020) === 0 ? `chmod o+w ${path}` : `create the link with --group ${group}, or chmod o+w`;
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
  throw new PathRefused(
    `the forwarder, which runs as nobody, may not connect to ${path} (mode ${mode}, group ${group}): ${advice}`,
  );
}
