import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';

/** What a package.json says of a package. */
interface Package {
  name: string;
  version: string;
  license?: string | { type: string };
  author?: string | { name?: string };
  repository?: string | { url?: string };
}

/** The licence of the addon, which no program contains, is that of koffi. */
const ADDON = 'node_modules/koffi';

/**
 * The licences of all packages that are part of the programs, with their texts.
 *
 * @param root the repository
 * @param inputs the files that the programs are made of, relative to `root`
 * @throws Error when a package has no licence
 */
export function thirdPartyLicenses(root: string, inputs: string[]): string {
  const packages = new Set([ADDON, ...inputs.flatMap((input) => packageOf(input) ?? [])]);
  const sections = [...packages].sort().map((path) => section(join(root, path)));
  return ['Wormhole contains the following packages.\n', ...sections].join(`\n${'='.repeat(80)}\n\n`);
}

/** The directory of the package that a file belongs to; undefined for our own files. */
function packageOf(input: string): string | undefined {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0];
}

function section(directory: string): string {
  const { name, version, license, author, repository }: Package = JSON.parse(
    readFileSync(join(directory, 'package.json'), 'utf8'),
  );
  const texts = licenseFiles(directory).map((file) => readFileSync(file, 'utf8').trim());
  if (texts.length === 0) {
    if (license === undefined)
      throw new Error(`${directory} has no licence: may it be a part of the programs?`);
    const by = typeof author === 'string' ? author : (author?.name ?? 'unknown');
    const from = typeof repository === 'string' ? repository : (repository?.url ?? 'unknown');
    texts.push(`The package has no text of its licence. Author: ${by}. Source: ${from}`);
  }
  const id = typeof license === 'object' ? license.type : (license ?? 'license as below');
  return `${name} ${version}, ${id}\n\n${texts.join('\n\n')}\n`;
}

/** The licence files of a package, including those of the sources that it has copied. */
function licenseFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => /^(?:licen[cs]e|copying|notice)\b/i.test(basename(name)))
    .filter((name) => !/(?:^|\/)node_modules\//.test(name))
    .sort()
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile());
}
