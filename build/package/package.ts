import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { currentCommit } from './commit.ts';
import { sbom } from './sbom.ts';

const NAME = 'wormhole';
const SCRIPTS = ['preinst', 'postinst', 'prerm', 'postrm'];

/** Where a package is made from, and where it goes. */
export interface PackageRequest {
  /** The repository. */
  root: string;
  /** The directory of the package; it is made if it is missing. */
  out: string;
  /** Its version. Default that of the commit. */
  version?: string;
}

/**
 * Builds the Debian package for this machine's architecture, of what install.sh installs, and returns its path.
 * Two builds of one commit are the same.
 *
 * @throws Error when a tool of Debian is missing, or says that something is wrong
 */
export async function buildPackage({ root, out, version }: PackageRequest): Promise<string> {
  if (version !== undefined && !/^\d[A-Za-z0-9.+~]*$/.test(version))
    throw new Error(
      `"${version}" is no version of a Debian package: a digit, then letters, digits, dots, + and ~`,
    );
  const commit = currentCommit(root);
  const about = { version: version ?? commit.version, time: commit.time };
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-package-'));
  try {
    const stage = join(directory, 'stage');
    installInto(stage, root);
    moveToDebianPlaces(stage);
    addDocumentation(stage, root, about);
    addControlFiles(stage, root, about.version);
    setTimesAndModes(stage, about.time);
    mkdirSync(out, { recursive: true });
    const path = join(out, `${NAME}_${about.version}_${architecture()}.deb`);
    run('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', stage, `${path}.new`], {
      env: { ...process.env, SOURCE_DATE_EPOCH: String(about.time) },
    });
    renameSync(`${path}.new`, path);
    return path;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The files, as for any other package: below /usr, with units that name the programs there. */
function installInto(stage: string, root: string): void {
  run(join(root, 'install.sh'), ['--prefix', '/usr'], { env: { ...process.env, DESTDIR: stage } });
}

/** Moves files from where an administrator's go to where a package's go. */
function moveToDebianPlaces(stage: string): void {
  const move = (from: string, to: string) => {
    mkdirSync(dirname(join(stage, to)), { recursive: true });
    renameSync(join(stage, from), join(stage, to));
  };
  move('etc/systemd/system', 'usr/lib/systemd/system');
  move('etc/tmpfiles.d', 'usr/lib/tmpfiles.d');
  move('usr/share/zsh/site-functions', 'usr/share/zsh/vendor-completions');
  // postinst copies it when there is none. As a file of dpkg's, purge would take it from an installation by install.sh.
  move('etc/wormhole/wormholed.conf', 'usr/share/wormhole/wormholed.conf');
  rmSync(join(stage, 'etc'), { recursive: true });
  // The one that the package depends on.
  rmSync(join(stage, 'usr/lib/wormhole/node'));
  symlinkSync('../../bin/node', join(stage, 'usr/lib/wormhole/node'));
}

/** What Debian's policy wants of every package, and the list of packages in it. */
function addDocumentation(stage: string, root: string, about: { version: string; time: number }): void {
  const man = join(stage, 'usr/share/man');
  for (const section of readdirSync(man))
    for (const page of readdirSync(join(man, section))) compress(join(man, section, page));
  const doc = join(stage, 'usr/share/doc', NAME);
  mkdirSync(doc, { recursive: true });
  const lib = join(stage, 'usr/lib/wormhole');
  rmSync(join(lib, 'LICENSE'));
  renameSync(join(lib, 'dist/THIRD-PARTY-LICENSES'), join(doc, 'THIRD-PARTY-LICENSES'));
  compress(join(doc, 'THIRD-PARTY-LICENSES'));
  writeFileSync(join(doc, 'copyright'), debianFile(root, 'copyright'));
  const date = new Date(about.time * 1000).toUTCString().replace('GMT', '+0000');
  const entry = `${NAME} (${about.version}) unstable; urgency=medium\n\n  * The history is in the repository: git log.\n\n -- ${maintainer(root)}  ${date}\n`;
  writeFileSync(join(doc, 'changelog'), entry);
  compress(join(doc, 'changelog'));
  writeFileSync(join(doc, 'sbom.cdx.json'), sbom(root, NAME, about.time));
  const overrides = join(stage, 'usr/share/lintian/overrides');
  mkdirSync(overrides, { recursive: true });
  copyFileSync(join(import.meta.dirname, 'debian/lintian-overrides'), join(overrides, NAME));
}

/** The directory DEBIAN: what dpkg is told about the package, and the scripts that it runs. */
function addControlFiles(stage: string, root: string, version: string): void {
  const sums = filesBelow(stage).map((file) => {
    const sum = createHash('md5')
      .update(readFileSync(join(stage, file)))
      .digest('hex');
    return { file, line: `${sum}  ${file}\n`, size: statSync(join(stage, file)).size };
  });
  const control = join(stage, 'DEBIAN');
  mkdirSync(control);
  writeFileSync(join(control, 'md5sums'), sums.map(({ line }) => line).join(''));
  const size = sums.reduce((sum, { size }) => sum + Math.ceil(size / 1024), 0);
  const values = {
    ...{ VERSION: version, ARCHITECTURE: architecture(), SIZE: String(size) },
    LIBRARIES: libraries(join(stage, 'usr/lib/wormhole/dist/koffi.node')),
    ...unitLists(root),
  };
  for (const name of ['control', 'triggers', ...SCRIPTS])
    writeFileSync(join(control, name), fillIn(debianFile(root, name), values));
}

/** The lists of units in install.sh, which the scripts of the package need too, and all that the package has. */
function unitLists(root: string): Record<string, string> {
  const script = readFileSync(join(root, 'install.sh'), 'utf8');
  const list = (name: string): string => {
    const words = new RegExp(`^${name}="?([^"\\n]+)"?$`, 'm').exec(script)?.[1];
    if (words === undefined) throw new Error(`install.sh sets no ${name}`);
    return words;
  };
  return {
    ENABLED: list('enabled'),
    ATBOOT: list('atboot'),
    TCP: list('tcp'),
    UNITS: readdirSync(join(root, 'units')).sort().join(' '),
  };
}

/** The Debian packages of the libraries that a file is linked against, with the versions that it needs. */
function libraries(file: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-libraries-'));
  try {
    mkdirSync(join(directory, 'debian'));
    writeFileSync(
      join(directory, 'debian/control'),
      `Source: ${NAME}\n\nPackage: ${NAME}\nArchitecture: any\n`,
    );
    const printed = run('dpkg-shlibdeps', ['-O', '--warnings=0', `-e${file}`], { cwd: directory });
    const depends = /^shlibs:Depends=(.+)$/m.exec(printed)?.[1];
    if (depends === undefined) throw new Error(`dpkg-shlibdeps does not know what ${file} needs: ${printed}`);
    return depends;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Gives everything one time, and the modes that root's umask has nothing to do with. */
function setTimesAndModes(stage: string, time: number): void {
  const names = readdirSync(stage, { recursive: true, withFileTypes: true });
  for (const entry of names) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isSymbolicLink()) chmodSync(path, entry.isDirectory() || isScript(path) ? 0o755 : 0o644);
    lutimesSync(path, time, time);
  }
  chmodSync(stage, 0o755);
  lutimesSync(stage, time, time);
}

function isScript(path: string): boolean {
  return readFileSync(path).subarray(0, 2).toString() === '#!';
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

/** Replaces a file with its gzip, in which there is no time and no name. */
function compress(path: string): void {
  writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
  rmSync(path);
}

function debianFile(root: string, name: string): string {
  return readFileSync(join(root, 'build/package/debian', name), 'utf8');
}

function maintainer(root: string): string {
  const name = /^Maintainer: (.+)$/m.exec(debianFile(root, 'control'))?.[1];
  if (name === undefined) throw new Error('build/package/debian/control has no Maintainer:');
  return name;
}

/** Puts values where a text says `@NAME@`. @throws Error for a name that has none */
function fillIn(text: string, values: Record<string, string>): string {
  return text.replaceAll(/@([A-Z]+)@/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`nothing is known to put for @${name}@`);
    return value;
  });
}

function architecture(): string {
  return run('dpkg', ['--print-architecture']).trim();
}

/** Runs a program and returns what it prints. @throws Error with what it says on stderr, or that it is missing */
function run(
  program: string,
  args: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): string {
  try {
    return execFileSync(program, args, { ...options, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { code, stderr, message } = error as NodeJS.ErrnoException & { stderr?: string };
    if (code === 'ENOENT') throw new Error(`${program} is missing: apt install dpkg-dev`);
    throw new Error(`${program} fails: ${stderr?.trim() || message}`);
  }
}
