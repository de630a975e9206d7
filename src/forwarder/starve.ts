import { type Flow, READABLE, type Relay } from './connection.js';
import { want } from './loop.js';
import { hasSpare } from './pipes.js';
import { EPOLLOUT } from './syscalls.js';
import { start } from './timers.js';

/*
 * Flows that cannot go on because the kernel has no pipe or no memory for them. Their bytes stay where they are, and
 * nothing is watched for them meanwhile: a level-triggered event that cannot be dealt with would come on every round.
 */

/** How soon such a flow tries again if nothing else wakes it, ms. */
const PAUSE_MS = 250;

/** Flows woken together: each costs a system call, and most of them may find the pipe taken again. */
const WOKEN_AT_ONCE = 64;

/** Leaves the bytes of `flow` in the socket until there is a pipe for them. */
export function waitForPipe(flow: Flow): void {
  wait(flow, flow.from.connection.relay.starved);
}

/** Leaves the bytes of `flow` in the socket, or in its pipe if it has one, until the kernel may have memory again. */
export function waitForMemory(flow: Flow): void {
  wait(flow, flow.from.connection.relay.memoryless);
}

/** Wakes flows that wait for a pipe if there may be one: `freedDescriptors` says that more can be made. */
export function feedStarved(relay: Relay, freedDescriptors: boolean): void {
  if (relay.starved.length > 0 && (freedDescriptors || hasSpare(relay.pool))) wake(relay, relay.starved);
}

/** Wakes flows of both kinds after the pause: to be called by the relay's `starvedTimer`. */
export function wakeStarved(relay: Relay): void {
  wake(relay, relay.starved);
  wake(relay, relay.memoryless);
  if (relay.starved.length + relay.memoryless.length > 0) startPause(relay);
}

function wait(flow: Flow, list: Flow[]): void {
  const { from, to } = flow;
  const { relay } = from.connection;
  flow.starved = true;
  if (flow.held > 0) want(relay.loop, to, to.wanted & ~EPOLLOUT);
  else want(relay.loop, from, from.wanted & ~READABLE);
  list.push(flow);
  if (relay.starvedTimer.place < 0) startPause(relay);
}

function wake(relay: Relay, list: Flow[]): void {
  for (const flow of list.splice(0, WOKEN_AT_ONCE)) {
    flow.starved = false;
    if (flow.done) continue;
    if (flow.held > 0) want(relay.loop, flow.to, flow.to.wanted | EPOLLOUT);
    else want(relay.loop, flow.from, flow.from.wanted | READABLE);
  }
}

function startPause(relay: Relay): void {
  start(relay.loop.timers, relay.starvedTimer, relay.loop.now + PAUSE_MS);
}
