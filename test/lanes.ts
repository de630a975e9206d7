/** Prints now, or when the job has ended. */
export type Print = (chunk: string | Uint8Array) => void;

/** What the scheduler has to know of a job. */
export interface Job {
  /** How many of the lanes it takes. */
  lanes: number;
  /** What it will probably take, in seconds. Longer ones begin earlier. */
  seconds: number;
}

/**
 * Does `work` for every job; the jobs that are done at a time take no more than `lanes` together, except for one that
 * needs more than that by itself. The longest begin first, but of those that take half of the lanes or more one at a time while
 * there are others: jobs that compute and jobs that wait then fill each other's gaps.
 *
 * What a job prints comes out in one piece when it ends; what the only job prints, or the last one, at once. A job whose
 * work throws ends everything.
 */
export async function inLanes<J extends Job>(
  jobs: J[],
  lanes: number,
  work: (job: J, print: Print) => Promise<void>,
): Promise<void> {
  const waiting = jobs.toSorted((one, other) => other.seconds - one.seconds);
  const running = new Map<J, { kept: (string | Uint8Array)[]; done: Promise<void> }>();
  const isLast = () => waiting.length === 0 && running.size === 1;
  const flush = (job: J) => {
    for (const chunk of running.get(job)?.kept.splice(0) ?? []) process.stdout.write(chunk);
  };
  const begin = (job: J) => {
    waiting.splice(waiting.indexOf(job), 1);
    const kept: (string | Uint8Array)[] = [];
    const print: Print = (chunk) => {
      kept.push(chunk);
      if (isLast()) flush(job);
    };
    const done = (async () => {
      // Not before it is among those that run.
      await undefined;
      await work(job, print);
      flush(job);
      running.delete(job);
      if (isLast()) for (const last of running.keys()) flush(last);
    })();
    running.set(job, { kept, done });
  };
  while (waiting.length > 0 || running.size > 0) {
    for (let job = choose(waiting, [...running.keys()], lanes); job; ) {
      begin(job);
      job = choose(waiting, [...running.keys()], lanes);
    }
    await Promise.race([...running.values()].map(({ done }) => done));
  }
}

/** Returns which of the jobs `waiting`, longest first, begins beside those `running`; undefined when none does yet. */
export function choose<J extends Job>(waiting: J[], running: J[], lanes: number): J | undefined {
  if (running.length === 0) return waiting[0];
  const free = lanes - running.reduce((sum, job) => sum + job.lanes, 0);
  const isWide = (job: Job) => job.lanes >= lanes / 2;
  const onlyNarrow = running.some(isWide) && waiting.some((job) => !isWide(job));
  return waiting.find((job) => job.lanes <= free && !(onlyNarrow && isWide(job)));
}
