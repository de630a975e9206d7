import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Column } from './report.ts';

const run = promisify(execFile);

/** What one load measures: numbers by the column they stand in. */
export type Result = Record<string, number>;

/** A load that is put on a relay for `seconds`, against an iperf3 or an HTTP server behind it. */
export interface Load {
  readonly target: 'iperf3' | 'http';
  readonly columns: readonly Column[];
  /** The column of the CPU time of the relay for a unit, and what a second of it is there. Default: µs a request. */
  readonly cpu?: { readonly title: string; readonly scale: number };
  /** `units` are the requests or bytes by which CPU time is divided. */
  run(port: number, seconds: number): Promise<Result & { units?: number }>;
}

const oneStream: Column = { title: '1 stream GB/s', better: 'more', digits: 2 };
const eightStreams: Column = { title: '8 streams GB/s', better: 'more', digits: 2 };
const reverse: Column = { title: 'reverse GB/s', better: 'more', digits: 2 };
const median: Column = { title: 'keep-alive p50 µs', better: 'less', digits: 0 };
const rate: Column = { title: '64 clients req/s', better: 'more', digits: 0 };
const late: Column = { title: 'p99 ms', better: 'less', digits: 1 };
const besideMedian: Column = { title: 'p50 µs beside 2 streams', better: 'less', digits: 0 };
const besideLate: Column = { title: 'p99 ms beside 2 streams', better: 'less', digits: 2 };
const besideBulk: Column = { title: 'those 2 GB/s', better: 'more', digits: 2 };
const connects: Column = { title: 'connect+close /s', better: 'more', digits: 0 };

/** CPU time of the relay a request with 64 clients, which the caller measures. */
export const cpu: Column = { title: 'CPU µs/req', better: 'less', digits: 1 };

/** CPU time of the relay a gigabyte of one stream. */
const cpuOfBytes: Column = { title: 'CPU s/GB', better: 'less', digits: 3 };

/** All loads, in the order of the table's columns. */
export const loads: readonly Load[] = [
  stream(oneStream, [], cpuOfBytes),
  stream(eightStreams, ['-P', '8']),
  stream(reverse, ['-R']),
  {
    target: 'http',
    columns: [median],
    run: async (port, seconds) => ({ [median.title]: (await wrk(port, seconds, ['-t1', '-c1'])).p50 * 1e6 }),
  },
  {
    target: 'http',
    columns: [rate, late, cpu],
    run: async (port, seconds) => {
      const { requests, perSecond, p99 } = await wrk(port, seconds, ['-t1', '-c64']);
      return { [rate.title]: perSecond, [late.title]: p99 * 1000, units: requests };
    },
  },
  {
    target: 'http',
    columns: [connects],
    run: async (port, seconds) => ({
      [connects.title]: (await wrk(port, seconds, ['-t1', '-c16', '-H', 'Connection: close'])).perSecond,
    }),
  },
  {
    target: 'http',
    columns: [besideMedian, besideLate, besideBulk],
    run: async (port, seconds) => {
      const bulk = download(port, seconds + 1);
      await new Promise((resolve) => setTimeout(resolve, 500));
      const small = await wrk(port, seconds, ['-t1', '-c1']);
      const result: Result = { [besideBulk.title]: (await bulk) / 1e9 };
      // A client that gets no answer within that time has waited at least as long.
      const [p50, p99] = small.requests === 0 ? [seconds, seconds] : [small.p50, small.p99];
      return { ...result, [besideMedian.title]: p50 * 1e6, [besideLate.title]: p99 * 1000 };
    },
  },
];

/** Loads that are only put on relays when they are named. */
export const namedLoads: readonly Load[] = [
  stream({ title: '64 streams GB/s', better: 'more', digits: 2 }, ['-P', '64'], {
    title: 'CPU s/GB of 64',
    better: 'less',
    digits: 3,
  }),
];

/** Bytes per second of two downloads at a time. */
async function download(port: number, seconds: number): Promise<number> {
  const many = `http://127.0.0.1:${port}${BULK_PATH}?[1-999]`;
  const args = ['-sZ', '--parallel-max', '2', '-o', '/dev/null', '-w', '%{size_download}\\n'];
  // Its time is over in the middle of a download.
  const { stdout } = await run('timeout', [`${seconds}`, 'stdbuf', '-oL', 'curl', ...args, many], {
    maxBuffer: 1 << 26,
  }).catch((error) => error);
  return (
    String(stdout)
      .split('\n')
      .reduce((sum, size) => sum + Number(size), 0) / seconds
  );
}

/** What the HTTP server has to send at BULK_PATH. */
export const BULK_PATH = '/bulk';
export const BULK_BYTES = 64 << 20;

function stream(column: Column, args: string[], cpuColumn?: Column): Load {
  return {
    target: 'iperf3',
    columns: [column, ...(cpuColumn ? [cpuColumn] : [])],
    ...(cpuColumn && { cpu: { title: cpuColumn.title, scale: 1e9 } }),
    run: async (port, seconds) => {
      const { bits, bytes } = await iperf3(['-c', '127.0.0.1', '-p', `${port}`, '-t', `${seconds}`, ...args]);
      return { [column.title]: bits / 8e9, ...(cpuColumn && { units: bytes }) };
    },
  };
}

/** Bits per second, and bytes, as the receiver counts them. The server serves one test at a time and says when it is busy. */
async function iperf3(args: string[]): Promise<{ bits: number; bytes: number }> {
  for (let attempt = 1; ; attempt++) {
    const { stdout } = await run('iperf3', [...args, '-J']).catch((error) => error);
    const { end, error } = JSON.parse(stdout);
    if (error === undefined && end.sum_received !== undefined) {
      const { bits_per_second: bits, bytes } = end.sum_received;
      return { bits, bytes };
    }
    if (attempt === 10) throw new Error(`iperf3 ${args.join(' ')}: ${error}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

interface WrkResult {
  requests: number;
  perSecond: number;
  /** Seconds. */
  p50: number;
  p99: number;
}

async function wrk(port: number, seconds: number, args: string[]): Promise<WrkResult> {
  const { stdout } = await run('wrk', [
    ...args,
    '--latency',
    '-d',
    `${seconds}s`,
    `http://127.0.0.1:${port}/`,
  ]);
  const find = (pattern: RegExp): RegExpExecArray => {
    const found = pattern.exec(stdout);
    if (found === null) throw new Error(`wrk said:\n${stdout}`);
    return found;
  };
  const time = (percent: number): number => {
    const [, amount, unit] = find(new RegExp(`${percent}%\\s+([\\d.]+)(us|ms|s)`));
    return Number(amount) * (unit === 'us' ? 1e-6 : unit === 'ms' ? 1e-3 : 1);
  };
  return {
    requests: Number(find(/(\d+) requests in/)[1]),
    perSecond: Number(find(/Requests\/sec:\s+([\d.]+)/)[1]),
    p50: time(50),
    p99: time(99),
  };
}
