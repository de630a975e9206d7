import { readdirSync } from 'node:fs';
import type { Command, Option } from 'commander';
import type { Keyword } from '../recipe/keywords.js';

/** What may be typed next: words with what they mean, or the name of a file. */
export interface Candidates {
  words: { text: string; about?: string }[];
  files?: boolean;
}

/** How long the engine may take to tell the names of containers, ms: somebody waits for them. */
const ENGINE_MS = 80;

const NOTHING: Candidates = { words: [] };

/** What may be typed in the place of the last word. Not all of it begins as that does. */
export async function candidatesFor(program: Command, typed: string[]): Promise<Candidates> {
  const current = typed.at(-1) ?? '';
  let command = program;
  const operands: string[] = [];
  const before = typed.slice(0, -1);
  for (let at = 0; at < before.length; at++) {
    const word = before[at] ?? '';
    const option = operands.length === 0 || !isCreate(command) ? optionOf(command, word) : undefined;
    if (option?.required && !word.includes('=')) {
      if (at === before.length - 1) return valuesOf(option);
      at++;
    } else if (word.startsWith('-') && operands.length === 0) continue;
    else {
      const next: Command | undefined = operands.length === 0 ? findCommand(command, word) : undefined;
      if (next) command = next;
      else operands.push(word);
    }
  }
  if (current.startsWith('-') && !(isCreate(command) && operands.length > 0))
    return current.includes('=') ? assignmentsOf(command, current) : { words: optionsOf(command) };
  const subcommands =
    operands.length === 0
      ? visible(command).map((one) => ({ text: one.name(), about: one.description() }))
      : [];
  if (command === program) return { words: subcommands };
  const own = await operandsOf(command, operands, current);
  return { ...own, words: [...subcommands, ...own.words] };
}

function isCreate(command: Command): boolean {
  return command.name() === 'create';
}

function optionOf(command: Command, word: string): Option | undefined {
  const name = word.replace(/=.*/s, '');
  return command.options.find(({ short, long }) => short === name || long === name);
}

function findCommand(command: Command, name: string): Command | undefined {
  return command.commands.find((one) => one.name() === name);
}

function visible(command: Command): readonly Command[] {
  return command.createHelp().visibleCommands(command);
}

function optionsOf(command: Command): Candidates['words'] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map(({ long, short, description }) => ({ text: long ?? short ?? '', about: description }));
}

/** What may stand behind the = of an option. One whose value may be missing, such as --proxy-protocol, has it only there. */
async function assignmentsOf(command: Command, current: string): Promise<Candidates> {
  const option = optionOf(command, current);
  if (!option) return NOTHING;
  const { words: values } = await valuesOf(option);
  return { words: values.map(({ text }) => ({ text: `${option.long}=${text}` })) };
}

async function valuesOf(option: Option): Promise<Candidates> {
  if (option.argChoices) return { words: option.argChoices.map((text) => ({ text })) };
  switch (option.long) {
    case '--host':
      return { words: words(await peers()) };
    case '--key':
    case '--file':
    case '--output':
      return { words: [], files: true };
    case '--link':
      return { words: words(await linkIds()) };
    case '--idle':
    case '--start-timeout':
    case '--udp-timeout':
    case '--idle-timeout':
    case '--keepalive':
    case '--check':
    case '--interval':
      return { words: words(['30s', '5m', '1h']) };
    case '--workers':
      return { words: words(['auto', '2', '4', '8']) };
    default:
      return NOTHING;
  }
}

async function operandsOf(command: Command, given: string[], current: string): Promise<Candidates> {
  const isFirst = given.length === 0;
  switch (command.name()) {
    case 'create':
      return recipeWords(given, current);
    case 'delete':
    case 'upgrade':
    case 'export':
    case 'report':
      return { words: words((await linkIds()).filter((id) => !given.includes(id))) };
    case 'edit':
    case 'show':
    case 'stop':
    case 'start':
    case 'sleep':
      return isFirst ? { words: words(await linkIds()) } : NOTHING;
    case 'drain':
    case 'undrain':
      return {
        words: words(isFirst ? await linkIds() : given.length === 1 ? await tailNames(given[0]) : []),
      };
    case 'ping':
    case 'accept':
    case 'revoke':
    case 'allow':
    case 'tunnel-create':
      return isFirst ? { words: words(await peers()) } : NOTHING;
    case 'tunnel-delete':
      return isFirst ? { words: words(await tunnelPeers()) } : NOTHING;
    case 'publish':
      return isFirst ? { words: words(await listedServices()) } : publishedWords(given.slice(1), current);
    case 'unpublish':
      return isFirst ? { words: words(await publishedServices()) } : NOTHING;
    case 'help':
      return isFirst
        ? { words: visible(command.parent ?? command).map((one) => ({ text: one.name() })) }
        : NOTHING;
    case 'completion':
      return isFirst ? { words: words(['bash', 'zsh', 'fish']) } : NOTHING;
    default:
      return NOTHING;
  }
}

async function recipeWords(given: string[], current: string): Promise<Candidates> {
  const { nextWords } = await import('../recipe/next-words.js');
  const { keywords, argumentOf } = nextWords(given);
  return { words: words([...(await argumentsOf(argumentOf, current)), ...keywords]) };
}

/** What is published begins with its tail: the head of a recipe goes before. */
async function publishedWords(given: string[], current: string): Promise<Candidates> {
  if (given.length === 0) return { words: words(['tail', 'trigger']) };
  return recipeWords(['url', ':1', ...given], current);
}

/** The services that have a list of machines here. */
async function listedServices(): Promise<string[]> {
  const { listedNames } = await import('../registry/look-up.js');
  return listedNames().sort();
}

/** The services that this machine publishes. */
async function publishedServices(): Promise<string[]> {
  const { publishedNames } = await import('../state/published.js');
  return publishedNames();
}

async function argumentsOf(keyword: Keyword | undefined, current: string): Promise<string[]> {
  switch (keyword) {
    case 'url':
      return urls(current);
    case 'docker-ns': {
      const { containerNames } = await import('../docker/container-names.js');
      const { isKeyword } = await import('../recipe/keywords.js');
      return (await containerNames(ENGINE_MS)).map((name) => (isKeyword(name) ? `/${name}` : name));
    }
    case 'remote':
    case 'tunnel':
    case 'udptunnel':
      return [...(await peers()), ...(await listedServices()).map((name) => `service:${name}`)];
    case 'idle':
      return ['30s', '5m', '1h'];
    case 'weight':
      return ['1', '2', '3'];
    case 'unit':
      return services();
    default:
      return [];
  }
}

/** What a url may begin with. */
function urls(current: string): string[] {
  const [protocol = ''] = /^[a-z]+:\/\//.exec(current) ?? [];
  const protocols = ['tcp://', 'udp://', 'unix://', 'unixgram://', 'unixpacket://'];
  const namespaces = list('/run/netns').map((name) => `${protocol}${name}@`);
  return protocol === '' ? [...protocols, ...namespaces] : namespaces;
}

/** Where files of units are (systemd.unit(5)). */
const UNIT_DIRECTORIES = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/run/systemd/generator',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];

/** The services that have a unit file of their own, without those of Wormhole. */
function services(): string[] {
  const names = UNIT_DIRECTORIES.flatMap(list).filter((name) => /[^@]\.service$/.test(name));
  return [...new Set(names)].filter((name) => !/^wormholed?[-.@]/.test(name)).sort();
}

async function linkIds(): Promise<string[]> {
  const { readUnitFile, unitFileNames } = await import('../systemd/unit-files.js');
  const { idOfUnit, socketUnit } = await import('../units/names.js');
  return unitFileNames('wormhole-').flatMap((name) => {
    const id = idOfUnit(name);
    if (id === undefined || name !== socketUnit(id)) return [];
    const text = readUnitFile(name) ?? '';
    return /^\[X-Wormhole\]$/m.test(text) && !/^Parent=/m.test(text) ? [id] : [];
  });
}

/** The names of the tails of a link that has several. */
async function tailNames(id: string | undefined): Promise<string[]> {
  const { readLinks } = await import('../state/links.js');
  const link = readLinks().links.find((one) => one.id === id)?.link;
  return link?.tails?.map(({ name }) => name) ?? [];
}

/** The names by which machines are known here, whether they have answered or are said in tunnels. */
async function peers(): Promise<string[]> {
  const { pinnedPeers } = await import('../state/peers.js');
  return [...new Set([...pinnedPeers().map(({ name }) => name), ...(await tunnelPeers())])].sort();
}

async function tunnelPeers(): Promise<string[]> {
  const { readTunnels } = await import('../state/tunnels.js');
  return readTunnels().tunnels.map(({ peer }) => peer);
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function words(texts: string[]): Candidates['words'] {
  return texts.map((text) => ({ text }));
}
