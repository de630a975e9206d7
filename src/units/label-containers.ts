import type { LabelledContainer } from '../docker/labelled.js';
import { LABEL_PREFIX, type LabelledLink, RefusedLabel, readLabel } from './label.js';
import type { LabelPolicy } from './labels-config.js';

/** What is wrong with a label of a container. The message is one line. */
export interface LabelFault {
  container: string;
  label: string;
  message: string;
}

/** A link that a label asks for, and the label. */
export interface WantedLink extends LabelledLink {
  container: string;
  label: string;
  /** Whether the container runs, in whose namespace one end is. */
  running: boolean;
}

/** What the labels of all containers ask for. */
export interface LabelsRead {
  links: WantedLink[];
  faults: LabelFault[];
  /** The ids of links of which it cannot be told now what they are to be: those that exist stay as they are. */
  undecided: string[];
}

const COMPOSE = 'com.docker.compose.';

/** The prefixes of labels that are read, that of Wormhole first. */
export const READ_PREFIXES = [LABEL_PREFIX, COMPOSE];

/** Labels that Wormhole gives to the containers that links run; see docker/runs.ts. */
const OF_RUNS = ['wormhole.link', 'wormhole.run', 'wormhole.role', 'wormhole.path'];

/** How many labels of one container count: each is a link, with units of its own. */
const MAX_LABELS = 20;

/** How many tails the labels of one container have together: those of a label with several are links of their own. */
const MAX_TAILS = 50;

/** How much of the name of a label is told, which may be of any length. */
const MAX_NAME = 80;

/** A container that a label names is not there at this moment. */
class Absent extends Error {}

/** Reads the labels of all containers. */
export function readAllLabels(all: LabelledContainer[], policy: LabelPolicy): LabelsRead {
  const read: LabelsRead = { links: [], faults: [], undecided: [] };
  const containers = indexed(all);
  for (const container of all) readContainer(container, { containers, policy, read });
  const counts = new Map<string, number>();
  for (const { id } of read.links) counts.set(id, (counts.get(id) ?? 0) + 1);
  const rivals = new Set(read.links.filter(({ id }) => (counts.get(id) ?? 0) > 1));
  for (const { container, label } of rivals)
    read.faults.push({
      container,
      label,
      message: 'a label wormhole.link and a label wormhole.expose of one container cannot have one name',
    });
  read.links = read.links.filter((link) => !rivals.has(link));
  return read;
}

/** All containers, by what names them, since anybody who may start containers may start a thousand. */
interface Containers {
  byId: ReadonlyMap<string, LabelledContainer>;
  byName: ReadonlyMap<string, LabelledContainer>;
  /** Those of the services of Compose projects. */
  byService: ReadonlyMap<string, LabelledContainer[]>;
  /** Why labels do not lead to the network of a container; undefined if they may. */
  refusals: Map<LabelledContainer, Error | undefined>;
}

function indexed(all: LabelledContainer[]): Containers {
  const byService = new Map<string, LabelledContainer[]>();
  for (const container of all) {
    const { [`${COMPOSE}project`]: project, [`${COMPOSE}service`]: service, ...others } = container.labels;
    const isOneOff = /^true$/i.test(others[`${COMPOSE}oneoff`] ?? '');
    if (container.imageMissing || project === undefined || service === undefined || isOneOff) continue;
    const key = JSON.stringify([project, service]);
    byService.set(key, [...(byService.get(key) ?? []), container]);
  }
  return {
    byId: new Map(all.map((one) => [one.id, one])),
    byName: new Map(all.map((one) => [one.name, one])),
    byService,
    refusals: new Map(),
  };
}

function readContainer(
  container: LabelledContainer,
  { containers, policy, read }: { containers: Containers; policy: LabelPolicy; read: LabelsRead },
): void {
  const { name, running } = container;
  const fault = (label: string, message: string) =>
    read.faults.push({
      container: name,
      label: label.length > MAX_NAME ? `${label.slice(0, MAX_NAME)}…` : label,
      message,
    });
  const own = (labels: Record<string, string>) => {
    const all = Object.entries(labels).filter(
      ([key]) => key.startsWith(LABEL_PREFIX) && !OF_RUNS.includes(key),
    );
    all.sort(([one], [other]) => (one < other ? -1 : 1));
    const [first] = all.slice(MAX_LABELS);
    if (first)
      fault(
        first[0],
        `only the first ${MAX_LABELS} labels of a container count, by name: it and ${all.length - MAX_LABELS - 1} more do not`,
      );
    return all.slice(0, MAX_LABELS);
  };
  for (const [label] of own(container.imageLabels))
    fault(label, 'its image brings it, and labels of images do not count: give it to the container');
  let tails = 0;
  for (const [label, value] of own(container.labels)) {
    const guess = `${name}.${label.slice(label.lastIndexOf('.') + 1)}`;
    try {
      if (container.imageMissing) throw new Absent('its image is gone, which may have brought it');
      if ('wormhole.run' in container.labels)
        throw new RefusedLabel(
          'a container that a link runs cannot ask for links: say child in the recipe of that',
        );
      requireOwnNamespace(container, containers);
      const resolve = (wanted: string) => {
        const found = findNamed(wanted, container, containers);
        requireOwnNamespace(found, containers);
        return found.name;
      };
      const link = readLabel({ key: label, value }, { container: name, policy, resolve });
      const more = tails + (link.recipe.tails?.length ?? 1);
      if (more > MAX_TAILS)
        throw new RefusedLabel(
          `the labels of a container lead to ${MAX_TAILS} tails at most, with this one it would be ${more}`,
        );
      tails = more;
      read.links.push({ ...link, container: name, label, running });
    } catch (error) {
      if (!(error instanceof RefusedLabel) && !(error instanceof Absent)) throw error;
      fault(label, error.message);
      if (error instanceof Absent) read.undecided.push(guess);
    }
  }
}

/**
 * The container that a label means: that of the service of this name in the Compose project of the container with the label, or
 * else the container of exactly this name.
 */
function findNamed(
  wanted: string,
  { labels }: LabelledContainer,
  { byService, byName }: Containers,
): LabelledContainer {
  const project = labels[`${COMPOSE}project`];
  const services = project === undefined ? [] : (byService.get(JSON.stringify([project, wanted])) ?? []);
  const [service, ...more] = services;
  if (service && more.length > 0)
    throw new Absent(
      `service "${wanted}" of this Compose project has ${services.length} containers, ${services
        .map(({ name }) => `"${name}"`)
        .sort()
        .join(', ')}: name those that are meant, with or between them`,
    );
  const found = service ?? byName.get(wanted);
  if (!found)
    throw new Absent(
      `there is no container "${wanted}"${project === undefined ? '' : ', nor a service of that name in this Compose project'}`,
    );
  return found;
}

function requireOwnNamespace(container: LabelledContainer, containers: Containers): void {
  const { refusals } = containers;
  if (!refusals.has(container)) refusals.set(container, refusalOf(container, containers));
  const refusal = refusals.get(container);
  if (refusal) throw refusal;
}

/** A container that is in the namespace of the host would be a way to all of the host. */
function refusalOf(container: LabelledContainer, { byId, byName }: Containers): Error | undefined {
  // The engine would take it for the id of another one.
  if (/^[0-9a-f]{64}$/.test(container.name))
    return new RefusedLabel(`container "${container.name}" is named like an id`);
  const seen = new Set<string>();
  for (let at = container; ; ) {
    seen.add(at.id);
    const [, other] = /^container:(.+)$/.exec(at.network) ?? [];
    if (other === undefined) {
      if (at.network !== 'host' && !at.network.includes(':')) return undefined;
      return new RefusedLabel(
        `container "${container.name}" is in the network namespace of this host, to which labels do not lead`,
      );
    }
    const next = byId.get(other) ?? byName.get(other);
    if (!next || seen.has(next.id))
      return new Absent(`container "${container.name}" is in the network of a container that is gone`);
    at = next;
  }
}
