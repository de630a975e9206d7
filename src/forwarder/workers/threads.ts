import { workerData as data, Worker } from 'node:worker_threads';
import type { Passed } from '../listen.js';
import type { StartThread, WorkerData } from './workers.js';

/*
 * The threads themselves. This file alone needs node:worker_threads, and is loaded by those that do.
 */

/** What a thread is told about threads: how workers are started, or what it has been started with. */
export interface Threads {
  readonly startThread?: StartThread;
  readonly own?: WorkerData;
}

/** What this thread has been started with. */
export const workerData: WorkerData = data;

/** No socket and no session is passed to a worker by the service manager. */
export const NOTHING_PASSED: Passed = {
  sockets: { streams: [], datagrams: [], unixDatagrams: [], packets: [] },
  stored: [],
};

/** Starts a worker: this program once more, with the same options. `failed` gets what it has died of. */
export const startThread: StartThread = (workerData, failed) => {
  const [, program = '', ...args] = process.argv;
  const thread = new Worker(program, {
    argv: ['--worker', ...args],
    workerData,
    // Descriptors come and go between the threads.
    trackUnmanagedFds: false,
  });
  thread.on('error', failed);
  thread.on('exit', (status) => failed(new Error(`a worker has ended with status ${status}`)));
};
