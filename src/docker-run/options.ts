import { isIP } from 'node:net';
import { quoted } from '../text/quote.js';
import { readMount, readTmpfs, readVolume } from './mounts.js';
import { type PortBinding, readPublish } from './ports.js';
import { RunArgumentError, type RunRequest } from './request.js';

/** Endings that a container's name cannot have: those of the further containers of a run (../docker/runs.ts). */
const RESERVED_ENDINGS = ['-netns', '-replaced', '-former'];

/** An option of docker run: its one-letter form, whether it takes a value, and what the value does to a request. */
export interface RunOption {
  short?: string;
  takes: 'value' | 'switch';
  /** @throws RunArgumentError with what is wrong with the value; option and value are added to it */
  read: (text: string, request: RunRequest) => void;
}

/** Options of docker run that contradict how links use containers, and why. Off, as in `--rm=false`, they are fine. */
export const refusals = new Map([
  ['interactive', 'nobody can type into a container that is started by a connection; leave it out'],
  ['i', 'nobody can type into a container that is started by a connection; leave it out'],
  ['tty', 'a container that is started by a connection has no terminal; leave it out'],
  ['t', 'a container that is started by a connection has no terminal; leave it out'],
  ['rm', 'the container is kept, with its data, until the link is deleted; leave it out'],
]);

/** The options of docker run that `docker-run` knows, by their long names. */
export const runOptions: Record<string, RunOption> = {
  'add-host': value((text, { holder }) => {
    const [, host, address] = /^([^:=]+)[:=](.+)$/.exec(text) ?? [];
    const plain = address?.replace(/^\[(.*)\]$/, '$1') ?? '';
    must(host !== undefined && (isIP(plain) > 0 || plain === 'host-gateway'), 'write it HOST:ADDRESS');
    add(settings(holder), 'ExtraHosts', `${host}:${plain}`);
  }),
  'cap-add': value((text, { container }) => {
    add(settings(container), 'CapAdd', capability(text));
  }),
  'cap-drop': value((text, { container }) => {
    add(settings(container), 'CapDrop', capability(text));
  }),
  cpus: value((text, { container }) => {
    must(
      /^(\d+(\.\d{0,9})?|\.\d{1,9})$/.test(text) && Number(text) > 0,
      'write a number above 0, such as 1.5',
    );
    settings(container).NanoCpus = Math.round(Number(text) * 1e9);
  }),
  detach: toggle(() => {}, 'd'),
  dns: value((text, { holder }) => {
    must(isIP(text) > 0, 'write an IP address');
    add(settings(holder), 'Dns', text);
  }),
  entrypoint: value((text, { container }) => {
    container.Entrypoint = [text];
  }),
  env: value((text, { container }) => {
    must(
      /^[^=\s]+=/.test(text),
      'write NAME=VALUE; there is no environment here that a value could come from',
    );
    add(container, 'Env', text);
  }, 'e'),
  'env-file': value((text, { envFiles }) => {
    must(text.startsWith('/'), 'write an absolute path');
    envFiles.push(text);
  }),
  hostname: value((text, { holder }) => {
    must(
      text.length <= 253 && /^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$/.test(text),
      'not the name of a host',
    );
    holder.Hostname = text;
  }, 'h'),
  init: toggle((on, { container }) => {
    settings(container).Init = on;
  }),
  label: value((text, { container }) => {
    const [, name = '', content = ''] = /^([^=]*)=?(.*)$/s.exec(text) ?? [];
    must(name.trim() !== '', 'write NAME or NAME=VALUE');
    must(!name.startsWith('wormhole.'), 'labels that begin with "wormhole." are for Wormhole');
    container.Labels = { ...container.Labels, [name]: content };
  }, 'l'),
  memory: value((text, { container }) => {
    const size = bytes(text);
    must(size >= 6 * 1024 ** 2, 'the engine gives no less than 6m');
    settings(container).Memory = size;
  }, 'm'),
  mount: value((text, { container }) => {
    add(settings(container), 'Mounts', readMount(text));
  }),
  name: value((text, request) => {
    must(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$/.test(text), 'not a name for a container');
    const suffix = RESERVED_ENDINGS.find((taken) => text.endsWith(taken));
    must(suffix === undefined, `a name cannot end in ${quoted(suffix ?? '')} here`);
    request.name = text;
  }),
  network: value((text, { holder }) => {
    must(settings(holder).NetworkMode === undefined, 'a second network; only one is supported');
    const other = /^container:(.*)$/.exec(text)?.[1];
    must(other === undefined, 'to be in the network of another container, write docker-ns and its name');
    must(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text), 'write bridge, none, host, or the name of a network');
    settings(holder).NetworkMode = text;
  }),
  'pids-limit': value((text, { container }) => {
    must(/^(-1|\d+)$/.test(text), 'write a whole number, or -1 for no limit');
    settings(container).PidsLimit = Number(text);
  }),
  platform: value((text, request) => {
    must(/^[a-z0-9]+\/[a-z0-9_]+(\/[a-z0-9]+)?$/.test(text), 'write OS/ARCHITECTURE, such as linux/arm64');
    request.platform = text;
  }),
  privileged: toggle((on, { container }) => {
    settings(container).Privileged = on;
  }),
  publish: value((text, { holder }) => {
    // In place, since a range may have all ports.
    const exposed: Record<string, object> = holder.ExposedPorts ?? {};
    const bindings: Record<string, PortBinding[]> = settings(holder).PortBindings ?? {};
    for (const [port, binding] of readPublish(text)) {
      exposed[port] = {};
      bindings[port] ??= [];
      bindings[port].push(binding);
    }
    holder.ExposedPorts = exposed;
    settings(holder).PortBindings = bindings;
  }, 'p'),
  pull: value((text, request) => {
    must(text === 'always' || text === 'missing' || text === 'never', 'write always, missing or never');
    request.pull = text;
  }),
  'read-only': toggle((on, { container }) => {
    settings(container).ReadonlyRootfs = on;
  }),
  restart: value((text, { container }) => {
    must(
      !/^(always|unless-stopped)$/.test(text),
      'the link starts it when it is needed; write no or on-failure',
    );
    const [, name, times] = /^(no|on-failure)(?::(\d{1,9}))?$/.exec(text) ?? [];
    must(
      name !== undefined && (name !== 'no' || times === undefined),
      'write no, on-failure or on-failure:TIMES',
    );
    settings(container).RestartPolicy = { Name: name, MaximumRetryCount: Number(times ?? 0) };
  }),
  tmpfs: value((text, { container }) => {
    const [path, options] = readTmpfs(text);
    settings(container).Tmpfs = { ...settings(container).Tmpfs, [path]: options };
  }),
  user: value((text, { container }) => {
    must(/^[^\s:]+(:[^\s:]+)?$/.test(text), 'write USER or USER:GROUP');
    container.User = text;
  }, 'u'),
  volume: value((text, { container }) => {
    const volume = readVolume(text);
    if ('anonymous' in volume) container.Volumes = { ...container.Volumes, [volume.anonymous]: {} };
    else add(settings(container), 'Binds', volume.bind);
  }, 'v'),
  workdir: value((text, { container }) => {
    must(text.startsWith('/'), 'write an absolute path');
    container.WorkingDir = text;
  }, 'w'),
};

/** Reads what may follow the `=` of an option that is on or off. @throws RunArgumentError */
export function readSwitch(text: string): boolean {
  must(/^(true|false|1|0)$/.test(text), 'write true or false');
  return text === 'true' || text === '1';
}

function value(read: RunOption['read'], short?: string): RunOption {
  return { takes: 'value', read, ...(short !== undefined && { short }) };
}

function toggle(set: (on: boolean, request: RunRequest) => void, short?: string): RunOption {
  const read: RunOption['read'] = (text, request) => set(readSwitch(text), request);
  return { takes: 'switch', read, ...(short !== undefined && { short }) };
}

function must(holds: boolean, reason: string): asserts holds {
  if (!holds) throw new RunArgumentError(reason);
}

type Part = RunRequest['holder'];

function settings(part: Part): NonNullable<Part['HostConfig']> {
  part.HostConfig ??= {};
  return part.HostConfig;
}

function add<K extends string, V>(part: { [key in K]?: V[] | undefined }, key: K, item: V): void {
  part[key] = [...(part[key] ?? []), item];
}

function capability(text: string): string {
  must(/^[a-zA-Z_]+$/.test(text), 'not the name of a capability, such as NET_ADMIN');
  return text.toUpperCase();
}

// docker/go-units: RAMInBytes. Powers of 1024, whether or not there is an i.
function bytes(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?) ?(?:([kmgtp]?)(?:i?b)?)$/i.exec(text) ?? [];
  must(number !== undefined, 'write a size, such as 512m or 1.5g');
  return Math.floor(Number(number) * 1024 ** ' kmgtp'.indexOf(unit.toLowerCase() || ' '));
}
