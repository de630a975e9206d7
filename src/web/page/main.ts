import type { Rate } from '../history.js';
import type { Overview, ShownDetails } from '../overview.js';
import { createChart } from './chart.js';
import { byId, element, icon, setChildren, setText } from './dom.js';
import { moment } from './format.js';
import { byState } from './map-model.js';
import { createMap } from './map-view.js';
import { createPanel } from './panel.js';

/** How long an answer may take, ms. */
const TIMEOUT_MS = 15_000;

/** How long the page waits after a failure, ms. */
const RETRY_MS = 5_000;

/** How often the chart of all links is read, ms: it has a sample every ten seconds. */
const HISTORY_MS = 10_000;

const states = new Set<string>();
const search = byId('search') as HTMLInputElement;
const map = createMap(byId('map'), openLink);
const panel = createPanel(byId('panel'), closeLink, openLink);
const hour = createChart('All links, last hour', 104);
byId('hour').append(hour.element);

let shown: string | undefined;
let timer: number | undefined;
let historyRead = 0;

search.addEventListener('input', applyFilter);
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && shown !== undefined) closeLink();
  else if (event.key === 'Escape' && map.leavePlace()) return;
  else if (event.key === 'Escape' && document.activeElement === search) leaveSearch();
  else if (event.key === 'Enter' && document.activeElement === search) map.focus(undefined);
  else if (event.key === '/' && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
});
// Nobody looks at a page that is hidden: it does not ask, and the server ends.
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') refresh();
  else clearTimeout(timer);
});
refresh();

/** Asks for everything that is shown, shows it, and does so again. */
async function refresh(): Promise<void> {
  clearTimeout(timer);
  let next = RETRY_MS;
  try {
    const overview = await ask<Overview>('api/overview');
    showOverview(overview);
    next = overview.next;
    if (performance.now() - historyRead > HISTORY_MS || historyRead === 0) {
      historyRead = performance.now();
      hour.show(await ask<Rate[]>('api/history'));
    }
    if (shown !== undefined) await refreshPanel(shown);
    showProblem(overview.tunnelProblem && `the tunnels are unknown: ${overview.tunnelProblem}`);
  } catch (error) {
    showProblem((error as Error).message);
  }
  clearTimeout(timer);
  if (document.visibilityState === 'visible') timer = window.setTimeout(refresh, next);
}

async function refreshPanel(id: string): Promise<void> {
  try {
    const [details, rates] = await Promise.all([
      ask<ShownDetails>(`api/links/${id}`),
      ask<Rate[]>(`api/history/${id}`),
    ]);
    if (shown === id) panel.show(details, rates);
  } catch (error) {
    if (shown === id) panel.fail((error as Error).message);
  }
}

async function ask<T>(path: string): Promise<T> {
  const response = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS) }).catch((error: Error) => {
    throw new Error(`the figures are not up to date, since this machine does not answer: ${error.message}`);
  });
  if (response.status === 403) throw new Error((await response.text()).trim());
  const body = await response.json();
  if (!response.ok) throw new Error(String(body.error));
  return body;
}

function showOverview(overview: Overview): void {
  setText(byId('machine-name'), overview.machine);
  document.title = `Wormhole: ${overview.machine}`;
  const drawn = overview.links.filter(({ state }) => state !== 'deleted');
  showStates(drawn);
  map.show(overview);
  applyFilter();
  const unreadable = overview.unreadable.length > 0 ? `, ${overview.unreadable.length} unreadable` : '';
  setText(
    byId('status'),
    `${drawn.length} ${drawn.length === 1 ? 'link' : 'links'}${unreadable}, as of ${moment(overview.at)}`,
  );
}

/** A button a state that links have, which shows only these. */
function showStates(links: Overview['links']): void {
  const group = byId('states');
  const found = byState(links);
  for (const state of states) if (!found.has(state as never)) states.delete(state);
  const known = [...group.querySelectorAll('button')].map(({ dataset }) => dataset.state);
  if (known.join() !== [...found.keys()].join())
    setChildren(
      group,
      [...found.keys()].map((state) =>
        element(
          'button',
          {
            class: state,
            on: { click: () => toggleState(state) },
            attributes: { type: 'button', 'data-state': state },
          },
          [icon(state), element('b'), element('span', { text: state })],
        ),
      ),
    );
  for (const button of group.querySelectorAll('button')) {
    const own = found.get(button.dataset.state as never) ?? [];
    button.setAttribute('aria-pressed', String(states.has(button.dataset.state ?? '')));
    const count = button.querySelector('b');
    if (count) setText(count, String(own.length));
  }
}

function toggleState(state: string): void {
  if (!states.delete(state)) states.add(state);
  for (const button of byId('states').querySelectorAll('button'))
    button.setAttribute('aria-pressed', String(states.has(button.dataset.state ?? '')));
  applyFilter();
}

function applyFilter(): void {
  map.filter({ text: search.value.trim(), states });
}

function leaveSearch(): void {
  search.value = '';
  applyFilter();
  map.focus(undefined);
}

function showProblem(text: string | undefined): void {
  const line = byId('problem');
  line.hidden = text === undefined;
  setText(line, text ?? '');
}

function openLink(id: string): void {
  shown = id;
  map.select(id);
  panel.open(id);
  refreshPanel(id);
}

function closeLink(): void {
  const id = shown;
  shown = undefined;
  panel.close();
  map.select(undefined);
  map.focus(id);
}
