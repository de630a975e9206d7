import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a package is made from. */
export interface Commit {
  /** When it was made, in seconds since 1970: the time of everything in the package. */
  time: number;
  /** The version of its package, as Debian compares them. */
  version: string;
}

/**
 * The commit that is checked out. A tagged one, `v0.1.0`, has the version 0.1.0. Any other one has a later version, which grows with
 * the time of the commit: 0.1.0+git20261126085041.a6b6fd0. What is not committed adds `.changed`.
 *
 * Where there is no git, such as in an archive of the sources, the time is `SOURCE_DATE_EPOCH`
 * (https://reproducible-builds.org/specs/source-date-epoch), and the version is that of package.json.
 *
 * @throws Error when there is neither
 */
export function currentCommit(root: string): Commit {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const epoch = process.env.SOURCE_DATE_EPOCH;
  if (epoch !== undefined && !/^\d+$/.test(epoch))
    throw new Error(`SOURCE_DATE_EPOCH="${epoch}" is not a number of seconds since 1970`);
  const shown = git(root, 'show', '--no-patch', '--format=%ct %h', 'HEAD');
  if (shown === undefined) {
    if (epoch === undefined)
      throw new Error(
        `${root} is no git checkout: set SOURCE_DATE_EPOCH, the time of the package in seconds`,
      );
    return { time: Number(epoch), version };
  }
  const [time = '', hash = ''] = shown.split(' ');
  const isChanged = git(root, 'status', '--porcelain') !== '';
  const isTagged = git(root, 'tag', '--points-at', 'HEAD')?.split('\n').includes(`v${version}`);
  const digits = new Date(Number(time) * 1000).toISOString().replace(/\.\d+Z$|\D/g, '');
  return {
    time: Number(epoch ?? time),
    version: (isTagged ? version : `${version}+git${digits}.${hash}`) + (isChanged ? '.changed' : ''),
  };
}

/** What git prints, trimmed; undefined when there is no git or no repository. */
function git(root: string, ...args: string[]): string | undefined {
  try {
    const options = ['-c', `safe.directory=${root.replace(/\/$/, '')}`, '-c', 'core.abbrev=10', '-C', root];
    return execFileSync('git', [...options, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}
