import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './rig/shell.ts';

/**
 * Builds a Debian package in `directory` and returns its path. Debian 12 has Node 18, and the lab reaches no other archive: this one says
 * that it is nodejs of the version that runs the tests, and has a symlink to the Node that the lab shows its hosts.
 */
export async function nodePackage(directory: string): Promise<string> {
  const tree = join(directory, 'nodejs');
  mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  const version = process.versions.node;
  writeFileSync(
    join(tree, 'DEBIAN/control'),
    `Package: nodejs\nVersion: ${version}\nArchitecture: all\nMaintainer: The lab <lab@example.org>\nDescription: the Node of the lab\n`,
  );
  symlinkSync('/usr/local/bin/node', join(tree, 'usr/bin/node'));
  const path = join(directory, `nodejs_${version}_all.deb`);
  await run(['dpkg-deb', '--root-owner-group', '--build', tree, path]);
  return path;
}
