import { setTimeout as sleep } from 'node:timers/promises';
import { type ContainerState, containerState } from './container-state.js';

/** A container that was started does not do what it is for. `message` is one line for people. */
export class NotReady extends Error {}

/** How long a container without a health check has to run, in ms: one that cannot work often ends at once. */
const SETTLE_MS = 150;

/** How long waitUntilReady waits. */
export interface ReadyOptions {
  /** In ms. */
  timeout: number;
}

/**
 * Waits until a container that has been started runs, for 150 ms at least, and is healthy, if it has a health check.
 *
 * @param name its exact name
 * @throws NotReady when it ends, is unhealthy, or time is up; EngineDown, or the engine's own error
 */
export async function waitUntilReady(name: string, { timeout }: ReadyOptions): Promise<ContainerState> {
  const began = performance.now();
  for (;;) {
    // An engine may take long to answer, and its answer may be about any moment from here on.
    const asked = { waited: performance.now() - began, at: Date.now() };
    const state = await containerState(name);
    const waited = performance.now() - began;
    if (state === undefined) throw new NotReady(`container "${name}" has been removed`);
    const broken = whyBroken(state);
    if (broken !== undefined) throw new NotReady(`container "${state.name}" ${broken}`);
    if (
      state.running &&
      (state.health === 'healthy' || (state.health === 'none' && hasSettled(state, asked)))
    ) {
      return state;
    }
    if (waited > timeout)
      throw new NotReady(`container "${state.name}" ${whyLate(state)} after ${seconds(timeout)}`);
    await sleep(waited < 1000 ? 25 : 200);
  }
}

/** Says why a container will not get ready any more, or nothing while it still may. */
export function whyBroken(state: ContainerState): string | undefined {
  if (state.health === 'unhealthy' && state.running) return `is unhealthy${said(state)}`;
  if (state.status === 'created') return `has not been started${state.error && ` (${state.error})`}`;
  if (state.status !== 'exited' && state.status !== 'dead') return undefined;
  const { startedAt, finishedAt, exitCode, outOfMemory } = state;
  const lived = Math.max(0, (finishedAt ?? 0) - (startedAt ?? 0));
  const why = outOfMemory ? ', out of memory' : '';
  return `ended with status ${exitCode} after ${seconds(lived)}${why}`;
}

function hasSettled({ startedAt }: ContainerState, { waited, at }: { waited: number; at: number }): boolean {
  // Either clock will do: the container may have been started long before, and the machine's may have been set back.
  return waited >= SETTLE_MS || at - (startedAt ?? at) >= SETTLE_MS;
}

function whyLate(state: ContainerState): string {
  if (state.status === 'restarting')
    return `ended with status ${state.exitCode} again and again, and does not run`;
  if (state.running) return `is not healthy${said(state)}`;
  return `is ${state.status}, not running,`;
}

function said({ healthOutput }: ContainerState): string {
  const line =
    healthOutput
      .split('\n')
      .at(-1)
      ?.replaceAll(/\p{Cc}/gu, '')
      .slice(0, 200) ?? '';
  return line === '' ? '' : ` ("${line}")`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}
