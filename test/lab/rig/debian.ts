import { run } from './shell.ts';

const documentation = ['doc', 'doc-base', 'man', 'info', 'locale', 'lintian', 'bug'];

/** The releases that are tested, by what systemd they have: bookworm (Debian 12) has 252, trixie (Debian 13) has 257. */
export type Release = 'bookworm' | 'trixie';

/** What a Debian tree is made of. */
export interface Tree {
  /** Default bookworm. */
  release?: Release;
  /** Debian packages, with their dependencies, without what those recommend. */
  packages: string[];
  /** `minbase` has apt and what is essential; `extract` has only the packages' files, nothing configured. */
  variant: 'minbase' | 'extract';
  /** A shell script that is run at the end, chrooted into the tree. */
  customize: string;
  /** The shell in the tree that runs it. Default `/bin/sh`. */
  shell?: string;
}

/** All that decides what `makeTree` makes, as text, for the cache key. */
export function treeRecipe(tree: Tree): string {
  return JSON.stringify([releaseOf(tree), documentation, tree]);
}

/** Makes `tree` at `target`: a directory or a tar. Takes from 5 s to 2 min. */
export async function makeTree(tree: Tree, target: string, format: 'directory' | 'tar'): Promise<void> {
  const { shell = '/bin/sh' } = tree;
  // The variant that installs nothing has no later hook.
  const hook = tree.variant === 'extract' ? 'extract' : 'customize';
  await run(
    [
      // What mmdebstrap mounts in the tree must not outlive it, even when it is killed.
      ...['unshare', '--mount', '--propagation=private', 'mmdebstrap', '--quiet'],
      '--mode=root',
      `--format=${format}`,
      `--variant=${tree.variant}`,
      `--include=${tree.packages.join(',')}`,
      '--dpkgopt=force-unsafe-io',
      ...documentation.map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`),
      `--${hook}-hook=chroot "$1" ${shell} -eu <<'SCRIPT'\n${tree.customize}\nSCRIPT`,
      releaseOf(tree),
      target,
    ],
    { timeout: 900 },
    `mmdebstrap ${target}`,
  );
}

function releaseOf({ release = 'bookworm' }: Tree): Release {
  return release;
}
