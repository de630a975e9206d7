import { readFileSync } from 'node:fs';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/*
 * Runs on a host: node clients.mjs '{"load": "kill", "port": 3000, "pidOf": "/sys/fs/cgroup/…/cgroup.procs", "sessions": 200, "rounds": 5}'
 *
 * Prints a line of JSON. Loads:
 *
 *   kill   opens sessions, and kills the forwarder so many times: the time from each kill until a session has its next answer, ms
 *   long   opens sessions one after the other, each of which lasts 1.5 s and is answered once at the end: CPU of PID 1 and of the forwarder
 *   short  asks once over each of so many connections, 8 at a time, which end at once: their rate, and the same CPU
 *
 * With "idle", so many sessions stay open meanwhile.
 */

const {
  load,
  port,
  pidOf,
  sessions = 0,
  rounds = 1,
  idle = 0,
  connections = 0,
} = JSON.parse(process.argv[2]);

/** The processor time that a process has used, s; /proc/PID/stat has hundredths. */
function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The process of the forwarder: the only one of its control group. */
function forwarder() {
  return Number(readFileSync(pidOf, 'utf8').trim().split('\n')[0]) || undefined;
}

/** Opens a session; `ask` sends a byte and waits for the answer. Throws when the session ends. */
async function open() {
  const socket = net.connect(port, '127.0.0.1');
  socket.setNoDelay();
  let answered = () => {};
  let failed = () => {};
  let ended;
  socket.on('data', () => answered());
  socket.on('error', (error) => {
    ended = error;
    failed(error);
  });
  socket.on('close', () => {
    ended ??= new Error('the session was closed');
    failed(ended);
  });
  const session = {
    ask: () =>
      new Promise((resolve, reject) => {
        if (ended) return reject(ended);
        answered = resolve;
        failed = reject;
        socket.write('x');
      }),
    end: () => socket.destroy(),
  };
  await session.ask();
  return session;
}

/** Opens so many sessions, 50 at a time. */
async function openAll(count) {
  const opened = [];
  while (opened.length < count)
    opened.push(...(await Promise.all(Array.from({ length: Math.min(50, count - opened.length) }, open))));
  return opened;
}

const loads = {
  async kill() {
    const all = await openAll(sessions);
    const pauses = [];
    for (let round = 0; round < rounds; round++) {
      await sleep(4000);
      const pid = forwarder();
      const began = performance.now();
      process.kill(pid, 'SIGKILL');
      // What is written before the kernel has ended the process would be answered by it.
      while (isAlive(pid)) await sleep(1);
      const times = await Promise.all(
        all.map(async (session) => {
          await session.ask();
          return performance.now() - began;
        }),
      );
      pauses.push([Math.min(...times), Math.max(...times)]);
    }
    return { pauses };
  },

  async long() {
    await openAll(idle);
    await sleep(3000);
    return measured(async () => {
      const began = performance.now();
      const ends = [];
      // Evenly over time, so that snapshots come as they do when clients come one by one.
      for (let n = 0; n < connections; n++) {
        await sleep(Math.max(0, began + n * 2 - performance.now()));
        ends.push(
          open().then(async (session) => {
            await sleep(1500);
            await session.ask();
            session.end();
          }),
        );
      }
      await Promise.all(ends);
      await sleep(2500);
    });
  },

  async short() {
    await openAll(idle);
    await sleep(3000);
    return measured(async () => {
      let left = connections;
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          while (left-- > 0) (await open()).end();
        }),
      );
    });
  },
};

function isAlive(pid) {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z');
  } catch {
    return false;
  }
}

async function measured(work) {
  const pid = forwarder();
  const before = [cpu(1), cpu(pid), performance.now()];
  await work();
  return {
    managerMicros: ((cpu(1) - before[0]) / connections) * 1e6,
    forwarderMicros: ((cpu(pid) - before[1]) / connections) * 1e6,
    seconds: (performance.now() - before[2]) / 1000,
  };
}

process.stdout.write(`${JSON.stringify(await loads[load]())}\n`);
process.exit(0);
