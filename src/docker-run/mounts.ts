import type { MountSettings } from 'dockerode';
import { RunArgumentError } from './request.js';

const modes = new Set([
  ...['ro', 'rw', 'z', 'Z', 'nocopy', 'cached', 'delegated', 'consistent'],
  ...['shared', 'rshared', 'slave', 'rslave', 'private', 'rprivate'],
]);

/**
 * Reads the value of --volume: `/HOST/PATH:/PATH[:MODES]`, `NAME:/PATH[:MODES]` or `/PATH`, an anonymous volume.
 *
 * @throws RunArgumentError
 */
export function readVolume(text: string): { bind: string } | { anonymous: string } {
  const [source = '', target, mode = ''] = text.split(':');
  if (target === undefined) return { anonymous: inside(source) };
  if (text.split(':').length > 3) fail('write SOURCE:/PATH or SOURCE:/PATH:ro');
  inside(target);
  if (!source.startsWith('/')) volumeName(source);
  const wrong = mode === '' ? undefined : mode.split(',').find((word) => !modes.has(word));
  if (wrong !== undefined) fail('there are no such modes; one is ro');
  return { bind: text };
}

/** Reads the value of --tmpfs: `/PATH[:OPTIONS]`, with options of mount(8). @throws RunArgumentError */
export function readTmpfs(text: string): [path: string, options: string] {
  const colon = text.indexOf(':');
  return colon < 0 ? [inside(text), ''] : [inside(text.slice(0, colon)), text.slice(colon + 1)];
}

/**
 * Reads the value of --mount: `type=bind|volume|tmpfs,source=…,target=…` and more, as docker run does. Without a type
 * it is a volume.
 *
 * @throws RunArgumentError
 */
export function readMount(text: string): MountSettings {
  if (text.includes('"')) fail('fields in quotes are not supported');
  const mount: MountSettings = { Type: 'volume', Source: '', Target: '' };
  for (const field of text.split(',')) {
    const [, key = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(field) ?? [];
    const read = fields.get(key.toLowerCase());
    if (read === undefined) fail(`only these fields are supported: ${[...fields.keys()].join(', ')}`);
    if (value === undefined && !flags.has(key)) fail(`${key} needs a value`);
    read(value ?? 'true', mount);
  }
  inside(mount.Target);
  checkSource(mount);
  return mount;
}

const flags = new Set(['readonly', 'ro', 'volume-nocopy']);

const fields = new Map<string, (value: string, mount: MountSettings) => void>([
  [
    'type',
    (value, mount) => {
      if (value !== 'bind' && value !== 'volume' && value !== 'tmpfs') fail('type is bind, volume or tmpfs');
      mount.Type = value;
    },
  ],
  ...synonyms(['source', 'src'], (value, mount) => {
    mount.Source = value;
  }),
  ...synonyms(['target', 'dst', 'destination'], (value, mount) => {
    mount.Target = value;
  }),
  ...synonyms(['readonly', 'ro'], (value, mount) => {
    mount.ReadOnly = flag(value);
  }),
  [
    'bind-propagation',
    (value, mount) => {
      if (!/^r?(shared|slave|private)$/.test(value)) fail('bind-propagation is shared, slave, private or r…');
      mount.BindOptions = { Propagation: value as 'shared' };
    },
  ],
  [
    'volume-nocopy',
    (value, mount) => {
      mount.VolumeOptions = { NoCopy: flag(value), Labels: {}, DriverConfig: { Name: '', Options: {} } };
    },
  ],
  [
    'tmpfs-size',
    (value, mount) => {
      const [, number, unit = ''] = /^(\d+)([kmg]?)b?$/i.exec(value) ?? [];
      if (number === undefined) fail('tmpfs-size is a size, such as 64m');
      const size = Number(number) * 1024 ** ' kmg'.indexOf(unit.toLowerCase() || ' ');
      mount.TmpfsOptions = { ...tmpfs(mount), SizeBytes: size };
    },
  ],
  [
    'tmpfs-mode',
    (value, mount) => {
      if (!/^[0-7]{3,5}$/.test(value)) fail('tmpfs-mode is an octal number, such as 1770');
      mount.TmpfsOptions = { ...tmpfs(mount), Mode: Number.parseInt(value, 8) };
    },
  ],
]);

type Field = (value: string, mount: MountSettings) => void;

function synonyms(names: string[], read: Field): [string, Field][] {
  return names.map((name) => [name, read]);
}

function tmpfs(mount: MountSettings): NonNullable<MountSettings['TmpfsOptions']> {
  return mount.TmpfsOptions ?? ({} as NonNullable<MountSettings['TmpfsOptions']>);
}

function checkSource({ Type, Source, BindOptions, VolumeOptions, TmpfsOptions }: MountSettings): void {
  if (Type === 'bind' && !Source.startsWith('/')) fail('a bind needs the absolute path of its source');
  if (Type === 'tmpfs' && Source !== '') fail('a tmpfs has no source');
  if (Type === 'volume' && Source !== '') volumeName(Source);
  if (BindOptions && Type !== 'bind') fail('bind-propagation is for type=bind');
  if (VolumeOptions && Type !== 'volume') fail('volume-nocopy is for type=volume');
  if (TmpfsOptions && Type !== 'tmpfs') fail('tmpfs-size and tmpfs-mode are for type=tmpfs');
}

function flag(value: string): boolean {
  if (!/^(true|false|1|0)$/.test(value)) fail('write true or false');
  return value === 'true' || value === '1';
}

function inside(path: string): string {
  if (!path.startsWith('/')) fail('the path inside the container must be absolute');
  if (/^\/+$/.test(path)) fail('the path inside the container cannot be /');
  return path;
}

// What the engine takes for the name of a volume; anything else would be a path of the host.
function volumeName(text: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(text)) return;
  fail('its source is neither an absolute path nor the name of a volume');
}

function fail(reason: string): never {
  throw new RunArgumentError(reason);
}
