import { type Flow, READABLE, type Relay } from './connection.js';
import { modify } from './loop.js';
import { hasSpare } from './pipes.js';
import { EPOLLOUT } from './syscalls.js';
import { start } from './timers.js';

/*
 * Flows that cannot progress because the kernel has no pipe or no memory for them. Their bytes stay where
 * they are, and epoll does not watch them: a level-triggered event that cannot be handled would recur on
 * every round.
 */

/** The delay before such a flow is retried, ms. */
const PAUSE_MS = 250;

/**
 * The most flows retried at once. Each costs a system call, and most of them may find the pipe taken again.
 */
const RETRIED_AT_ONCE = 64;

/** Suspends a flow, whose bytes are in the socket, until there is a pipe for them. */
export function waitForPipe(flow: Flow): void {
  wait(flow, flow.from.connection.relay.pipeWaiters);
}

/** Suspends a flow, whose bytes are in the socket or in its pipe, until the kernel may have memory again. */
export function waitForMemory(flow: Flow): void {
  wait(flow, flow.from.connection.relay.memoryWaiters);
}

/**
 * Resumes flows that wait for a pipe if there may be one. `freedDescriptors` says that more can be created.
 */
export function retryPipeWaiters(relay: Relay, freedDescriptors: boolean): void {
  if (relay.pipeWaiters.length > 0 && (freedDescriptors || hasSpare(relay.pool)))
    wake(relay, relay.pipeWaiters);
}

/** Resumes flows of both kinds. To be called by the `retryTimer` of the relay. */
export function retryWaiters(relay: Relay): void {
  wake(relay, relay.pipeWaiters);
  wake(relay, relay.memoryWaiters);
  if (relay.pipeWaiters.length + relay.memoryWaiters.length > 0) startPause(relay);
}

function wait(flow: Flow, list: Flow[]): void {
  const { from, to } = flow;
  const { relay } = from.connection;
  flow.isSuspended = true;
  if (flow.held > 0) modify(relay.loop, to, to.wanted & ~EPOLLOUT);
  else modify(relay.loop, from, from.wanted & ~READABLE);
  list.push(flow);
  if (relay.retryTimer.index < 0) startPause(relay);
}

function wake(relay: Relay, list: Flow[]): void {
  for (const flow of list.splice(0, RETRIED_AT_ONCE)) {
    flow.isSuspended = false;
    if (flow.done) continue;
    if (flow.held > 0) modify(relay.loop, flow.to, flow.to.wanted | EPOLLOUT);
    else modify(relay.loop, flow.from, flow.from.wanted | READABLE);
  }
}

function startPause(relay: Relay): void {
  start(relay.loop.timers, relay.retryTimer, relay.loop.now + PAUSE_MS);
}
