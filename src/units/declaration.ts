import { closest, distance } from 'fastest-levenshtein';
import { RecipeError } from '../recipe/error.js';
import { isKeyword } from '../recipe/keywords.js';
import { parseId } from '../recipe/names.js';
import { parseRecipe } from '../recipe/parse.js';
import type { Recipe } from '../recipe/recipe.js';
import { quoted } from '../text/quote.js';
import {
  readBalance,
  readCount,
  readGroup,
  readIdleTimeout,
  readKeepAlive,
  readMode,
  readNetworks,
  readOwner,
  readProxyVersion,
  readPull,
  readSpan,
  readWorkers,
} from './create-options.js';
import { type CreateOptions, DEFAULT_OPTIONS } from './plan.js';
import { parseFile, type Setting } from './syntax.js';
import type { TunnelMode } from './tunnel.js';
import { expandSpecifiers, splitWords, WordFault } from './words.js';

/** The text of a file, or of one in the directory beside it, and its path for people. */
export interface Source {
  path: string;
  text: string;
}

/** A place in a file. */
export interface FileLine {
  path: string;
  line: number;
}

/** What is wrong with a file, for people. The message is one line. */
export interface FileFault extends FileLine {
  message: string;
}

/** A file that says nothing that could be carried out. */
export class FaultyFile extends Error {
  constructor(readonly faults: FileFault[]) {
    super(faults.map(({ path, line, message }) => `${path}:${line}: ${message}`).join('\n'));
  }
}

/** The lines of a file that become drop-ins of units. */
export interface ExtraLines {
  Unit: string[];
  Socket: string[];
  Service: string[];
}

interface Declared {
  /** The file that it was read from, absolute; undefined for standard input. */
  file?: string;
  /** The label that it was read from, such as `app wormhole.link.db`; undefined for what a file describes. */
  label?: string;
  /** What errors are about. */
  at: FileLine;
  extra: ExtraLines;
}

/** A link as a file describes it. Its recipe has an id. */
export interface DeclaredLink extends Declared {
  kind: 'link';
  id: string;
  recipe: Recipe;
  options: CreateOptions;
}

/** A standing tunnel as a file describes it. */
export interface DeclaredTunnel extends Declared {
  kind: 'tunnel';
  host: string;
  mode: TunnelMode;
}

/** What one file describes. */
export type Declaration = DeclaredLink | DeclaredTunnel;

/** What a file is read with. */
export interface Context {
  /** The name of the file without its ending, which is the link's id if its recipe says none; undefined when it has no name. */
  name?: string;
  /** The file, if the units are to say that they come from it. */
  file?: string;
  /** The name of this machine, for specifiers. */
  hostname: string;
}

/** The option of `create` for each key of [Link], beside Recipe= and Idle=. */
const OPTIONS = {
  StartTimeout: ['startTimeout', readSpan],
  UdpTimeout: ['udpTimeout', readSpan],
  MaxConnections: ['maxConnections', readCount],
  MaxPerSource: ['maxPerSource', readCount],
  Rate: ['rate', readCount],
  IdleTimeout: ['idleTimeout', readIdleTimeout],
  KeepAlive: ['keepAlive', readKeepAlive],
  ProxyProtocol: ['proxyProtocol', readProxyVersion],
  AcceptProxyProtocol: ['acceptProxyProtocol', readNetworks],
  Mode: ['socketMode', readMode],
  Owner: ['socketOwner', readOwner],
  Group: ['group', readGroup],
  Pull: ['pull', readPull],
  Balance: ['balance', readBalance],
  Check: ['check', readSpan],
  Workers: ['workers', readWorkers],
} as const;

const LINK_KEYS = ['Recipe', 'Idle', ...Object.keys(OPTIONS)];
const TUNNEL_KEYS = ['Host', 'Udp'];
const SECTIONS = ['Link', 'Tunnel', 'Unit', 'Socket', 'Service'];

/** A setting of a file, with the path of that. */
type Found = Setting & { path: string };

/**
 * Reads a file with those of the directory beside it, in their order: they count as one.
 *
 * @throws FaultyFile
 */
export function parseDeclaration(sources: Source[], context: Context): Declaration {
  const faults: FileFault[] = [];
  const settings: Found[] = [];
  const opened: (FileLine & { name: string })[] = [];
  for (const { path, text } of sources) {
    const parsed = parseFile(text);
    faults.push(...parsed.faults.map((fault) => ({ path, ...fault })));
    opened.push(...parsed.sections.map((section) => ({ path, ...section })));
    settings.push(...parsed.settings.map((setting) => Object.assign(setting, { path })));
  }
  const [first] = sources;
  const main = ['Link', 'Tunnel'].flatMap((name) => opened.find((section) => section.name === name) ?? []);
  const [about, other] = main;
  for (const { name, path, line } of opened)
    if (!SECTIONS.includes(name) && !name.startsWith('X-'))
      faults.push({
        path,
        line,
        message: `no section of that name is known here; there are ${SECTIONS.map((one) => `[${one}]`).join(' ')}`,
      });
  if (!about && first)
    faults.push({ path: first.path, line: 1, message: 'there is neither a [Link] nor a [Tunnel]' });
  if (other) faults.push({ ...lineOf(other), message: 'a file describes a link or a tunnel, not both' });
  if (!about || other) throw new FaultyFile(faults);
  const reader = readerOf(settings, context, faults);
  const declared =
    about.name === 'Link' ? readLink(reader, lineOf(about)) : readTunnel(reader, lineOf(about));
  if (faults.length > 0 || !declared) throw new FaultyFile(faults);
  return declared;
}

interface Reader {
  context: Context;
  /** The settings of a key in their order, without those that an empty one has reset. */
  all(section: string, key: string): Found[];
  fault(at: FileLine, message: string): undefined;
  settings: Found[];
}

function readerOf(settings: Found[], context: Context, faults: FileFault[]): Reader {
  return {
    context,
    settings,
    all(section, key) {
      const same = settings.filter((setting) => setting.section === section && setting.key === key);
      return same.slice(same.findLastIndex(({ value }) => value === '') + 1);
    },
    fault(at, message) {
      faults.push({ ...lineOf(at), message });
      return undefined;
    },
  };
}

function readLink(reader: Reader, at: FileLine): DeclaredLink | undefined {
  requireKeys(reader, 'Link', LINK_KEYS);
  const options: CreateOptions = { ...DEFAULT_OPTIONS };
  for (const [key, [name, read]] of Object.entries(OPTIONS)) {
    const value = readValue<string | number | string[]>(reader, { section: 'Link', key }, read);
    if (value !== undefined) Object.assign(options, { [name]: value });
  }
  const recipe = readRecipe(reader, at);
  const idle = readValue(reader, { section: 'Link', key: 'Idle' }, readSpan);
  const [idleAt] = reader.all('Link', 'Idle').slice(-1);
  if (recipe && idleAt && recipe.recipe.idle !== undefined)
    return reader.fault(idleAt, 'the recipe says idle already');
  if (!recipe) return undefined;
  const { file } = reader.context;
  return {
    kind: 'link',
    ...(file !== undefined && { file }),
    at: recipe.at,
    id: recipe.recipe.id,
    recipe: { ...recipe.recipe, ...(idle !== undefined && { idle }) },
    options,
    extra: extraLines(reader),
  };
}

function readRecipe(
  reader: Reader,
  section: FileLine,
): { recipe: Recipe & { id: string }; at: FileLine } | undefined {
  const found = reader.all('Link', 'Recipe');
  const [first] = found;
  if (!first) return reader.fault(section, 'Recipe= is missing, such as Recipe=url :3306 tail docker-ns db');
  const words: { text: string; at: FileLine }[] = [];
  for (const setting of found) {
    const split = wordsOf(reader, setting);
    if (!split) return undefined;
    words.push(...split);
  }
  const { name } = reader.context;
  const at = lineOf(first);
  try {
    const recipe = parseRecipe(words.map(({ text }) => text));
    if (recipe.id !== undefined) return { recipe: { ...recipe, id: recipe.id }, at };
    if (name === undefined)
      return reader.fault(at, 'the recipe needs an id, such as id web: there is no name of a file');
    if (isKeyword(name))
      return reader.fault(
        at,
        `the name of the file, "${name}", is a word of recipes, and can be no id: rename it`,
      );
    return { recipe: { ...recipe, id: parseId({ text: name, position: 0 }) }, at };
  } catch (error) {
    if (!(error instanceof RecipeError)) throw error;
    // A fault of the id that the name of the file is has no word.
    const message =
      error.word !== '' && error.position === 0
        ? `the name of the file, ${quoted(error.word)}, is to be the id of the link: ${error.message.replace(/^word 0, "[^"]*": /, '')}`
        : error.message;
    return reader.fault(words[error.position - 1]?.at ?? at, message);
  }
}

/** The words of a value, with the lines that they stand in. */
function wordsOf(reader: Reader, setting: Found): { text: string; at: FileLine }[] | undefined {
  const where = (offset: number) => ({ path: setting.path, line: setting.lineAt(offset) });
  let split: ReturnType<typeof splitWords>;
  try {
    split = splitWords(setting.value);
  } catch (error) {
    if (error instanceof WordFault) return reader.fault(where(error.at), `${setting.key}=: ${error.message}`);
    throw error;
  }
  const words = [];
  for (const { text, at } of split) {
    try {
      words.push({ text: expandSpecifiers(text, specifiersOf(reader.context)), at: where(at) });
    } catch (error) {
      return reader.fault(where(at), `${setting.key}=: ${(error as Error).message}`);
    }
  }
  return words;
}

function specifiersOf({ name, hostname }: Context): Record<string, string> {
  return { ...(name !== undefined && { N: name }), H: hostname, l: hostname.replace(/\..*/, '') };
}

function readTunnel(reader: Reader, at: FileLine): DeclaredTunnel | undefined {
  requireKeys(reader, 'Tunnel', TUNNEL_KEYS);
  for (const setting of reader.settings)
    if (setting.section === 'Socket') return reader.fault(setting, 'a tunnel has no socket unit');
  const host = readValue(reader, { section: 'Tunnel', key: 'Host' }, (text) => {
    if (/^[\x21-\x7e]+$/.test(text)) return text;
    throw new Error('expected the name or address of a machine, such as myserver');
  });
  const isUdp = readValue(reader, { section: 'Tunnel', key: 'Udp' }, readBoolean) ?? false;
  if (host === undefined)
    return reader.all('Tunnel', 'Host').length > 0
      ? undefined
      : reader.fault(at, 'Host= is missing, such as Host=myserver');
  const { file } = reader.context;
  const [hostAt = at] = reader.all('Tunnel', 'Host').slice(-1);
  return {
    kind: 'tunnel',
    ...(file !== undefined && { file }),
    at: lineOf(hostAt),
    host,
    mode: isUdp ? 'udp' : 'esp',
    extra: extraLines(reader),
  };
}

/** A boolean (systemd.syntax(7)). */
function readBoolean(text: string): boolean {
  if (/^(?:1|yes|true|on)$/i.test(text)) return true;
  if (/^(?:0|no|false|off)$/i.test(text)) return false;
  throw new Error('expected yes or no');
}

/** The last value of a key. A fault is reported, and gives undefined, as a missing value does. */
function readValue<T>(
  reader: Reader,
  { section, key }: { section: string; key: string },
  read: (text: string) => T,
): T | undefined {
  const setting = reader.all(section, key).at(-1);
  if (!setting) return undefined;
  try {
    return read(expandSpecifiers(setting.value, specifiersOf(reader.context)));
  } catch (error) {
    return reader.fault(setting, `${key}=${printed(setting.value)}: ${(error as Error).message}`);
  }
}

function printed(value: string): string {
  return /^[\x21-\x7e]{1,100}$/.test(value) ? value : quoted(value.slice(0, 100));
}

/** Reports the keys of a section that there are not. One that could be anything is not quoted: it may be a part of a secret. */
function requireKeys(reader: Reader, section: string, known: string[]): void {
  for (const setting of reader.settings) {
    const { key } = setting;
    if (setting.section !== section || known.includes(key) || key.startsWith('X-')) continue;
    const near = closest(key, known);
    const advice =
      distance(key, near) <= 2
        ? `did you mean ${near}=?`
        : `there are ${known.map((one) => `${one}=`).join(' ')}`;
    reader.fault(
      setting,
      /^[A-Za-z]{1,40}$/.test(key)
        ? `${key}= is not a setting of [${section}]; ${advice}`
        : `this is not a setting of [${section}]; a line that goes on in the next one ends with a backslash`,
    );
  }
}

function extraLines({ settings }: Reader): ExtraLines {
  const lines = (section: string) =>
    settings.filter((setting) => setting.section === section).map(({ key, value }) => `${key}=${value}`);
  return { Unit: lines('Unit'), Socket: lines('Socket'), Service: lines('Service') };
}

function lineOf({ path, line }: FileLine): FileLine {
  return { path, line };
}
