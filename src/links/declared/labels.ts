import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { listLabelled } from '../../docker/labelled.js';
import { readLinks } from '../../state/links.js';
import { isThere } from '../../system/files.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import type { DeclaredLink } from '../../units/declaration.js';
import {
  type LabelFault,
  type LabelsRead,
  READ_PREFIXES,
  readAllLabels,
  type WantedLink,
} from '../../units/label-containers.js';
import { DEFAULT_POLICY, type LabelPolicy, parseLabelPolicy } from '../../units/labels-config.js';
import { DEFAULT_OPTIONS } from '../../units/plan.js';
import { requireEngine } from '../containers/require-engine.js';
import { deleteLinks } from '../delete.js';
import { type ApplyReport, applyLinks } from './apply.js';
import { contentOf, unitsOfLink } from './drop-ins.js';
import { readSource } from './files.js';

/** What labels may ask for; without the file, {@link DEFAULT_POLICY}. */
export const LABELS_FILE = '/etc/wormhole/labels.conf';

/** How long the file must have been as it is before it counts, ms. */
const POLICY_SETTLE_MS = 1_000;

/** How labels are carried out. */
export interface LabelsRequest {
  keyFile: string;
  /** Only tell what would happen. */
  dryRun: boolean;
  /** Delete the links of all labels, and make none. */
  deleteAll: boolean;
  /**
   * Whether a link whose container or label is gone may be deleted now. A container that is recreated is gone for a moment, and its
   * link is changed in place if it is back in time.
   */
  mayDelete(id: string): boolean;
}

/** What became of labels. */
export interface LabelsOutcome {
  faults: LabelFault[];
  waiting: Pick<LabelFault, 'container' | 'label'>[];
}

/**
 * Makes links what the labels of containers say: creates those that are missing, changes in place those that differ, and deletes
 * those whose container or label is gone, or whose label is refused by now.
 *
 * @returns the labels from which no link could be made, and those that nobody has tried since their container does not run
 * @throws EngineDown, or the engine's own error; FaultyFile when the file of the administrator is wrong: then all stays
 */
export async function applyLabels(request: LabelsRequest, log: LogLine): Promise<LabelsOutcome> {
  const { links, faults, undecided } = request.deleteAll
    ? { links: [], faults: [], undecided: [] }
    : await readLabels();
  const existing = labelledLinks();
  const stays = new Set([...links.map(({ id }) => id), ...undecided]);
  const refused = new Set(faults.map(({ container, label }) => `${container} ${label}`));
  const gone = new Map(
    [...existing].filter(([id, label]) => !stays.has(id) && (refused.has(label) || request.mayDelete(id))),
  );
  faults.push(...(await deleteAll(gone, request, log)));
  // The link of a container that does not run waits for it as it is.
  const runs = links.filter(({ running }) => running);
  faults.push(...(await applyAll(runs, request, log)));
  return { faults, waiting: links.filter(({ running }) => !running) };
}

async function readLabels(): Promise<LabelsRead> {
  const policy = await readPolicy();
  await requireEngine();
  return readAllLabels(await listLabelled(READ_PREFIXES), policy);
}

/** A file that is being written is empty for a moment, or missing, which would permit more than its administrator does. */
async function readPolicy(): Promise<LabelPolicy> {
  for (let age = ageOfPolicy(); age >= 0 && age < POLICY_SETTLE_MS; age = ageOfPolicy())
    await sleep(POLICY_SETTLE_MS - age);
  return isThere(LABELS_FILE) ? parseLabelPolicy(readSource(LABELS_FILE)) : DEFAULT_POLICY;
}

/** How long ago the file was written, made or removed, ms; negative when the clock has been set back since. */
function ageOfPolicy(): number {
  const changes = [dirname(LABELS_FILE), LABELS_FILE].flatMap(
    (path) => statSync(path, { throwIfNoEntry: false })?.ctimeMs ?? [],
  );
  return Date.now() - Math.max(...changes);
}

/** The ids of the links that were made from labels, with these. */
function labelledLinks(): Map<string, string> {
  const found = new Map<string, string>();
  for (const { id, parent, owner } of readLinks().links) {
    if (parent !== undefined || owner !== undefined) continue;
    const { label } = contentOf(unitsOfLink(id));
    if (label !== undefined) found.set(id, label);
  }
  return found;
}

async function deleteAll(
  gone: Map<string, string>,
  { dryRun }: LabelsRequest,
  log: LogLine,
): Promise<LabelFault[]> {
  if (dryRun) for (const id of gone.keys()) log(`would delete link ${id}`, { event: 'changed', link: id });
  if (dryRun || gone.size === 0) return [];
  const faults: LabelFault[] = [];
  for (const { id, failure, left } of await deleteLinks([...gone.keys()], { mentionFiles: false })) {
    const origin = gone.get(id) ?? '';
    for (const line of left) log(line, { event: 'failed', link: id });
    if (failure) faults.push({ ...splitOrigin(origin), message: `its link stays: ${failure.message}` });
    else log(`deleted link ${id}, of label ${origin}`, { event: 'changed', link: id });
  }
  return faults;
}

async function applyAll(
  links: WantedLink[],
  { keyFile, dryRun }: LabelsRequest,
  log: LogLine,
): Promise<LabelFault[]> {
  const faults: LabelFault[] = [];
  const origins = new Map(links.map((link) => [link.id, originOf(link)]));
  const tell = (what: string, { id, url, also = [] }: { id: string; url: string; also?: string[] }) =>
    log(`${what} link ${[id, url, ...also].join(' ')}, of label ${origins.get(id)}`, {
      event: 'changed',
      link: id,
    });
  const report: ApplyReport = {
    differs: ({ id, former }) => {
      if (dryRun)
        log(`would ${former === '' ? 'create' : 'change'} link ${id}`, { event: 'changed', link: id });
    },
    created: (link) => tell('created', link),
    changed: (link) => tell('changed', link),
    deleted: () => {},
    note: (line) => log(line, { event: 'changed' }),
    failed: ({ path, message }) =>
      faults.push({ ...splitOrigin(path), message: message.replace(/\s*\n\s*/g, ' / ') }),
  };
  await applyLinks({ links: links.map(declare), keyFile, dryRun }, report);
  return faults;
}

function declare(link: WantedLink): DeclaredLink {
  const { id, recipe } = link;
  const label = originOf(link);
  return {
    kind: 'link',
    ...{ id, recipe, label },
    at: { path: label, line: 1 },
    options: { ...DEFAULT_OPTIONS },
    extra: { Unit: [], Socket: [], Service: [] },
  };
}

/** A container and its label, as units note them. No name of a container has a blank. */
function originOf({ container, label }: Pick<LabelFault, 'container' | 'label'>): string {
  return `${container} ${label}`;
}

function splitOrigin(origin: string): Pick<LabelFault, 'container' | 'label'> {
  const [container = '', label = ''] = origin.split(' ');
  return { container, label };
}
