/** Prints now, or when it is the job's turn. */
export type Print = (chunk: string | Uint8Array) => void;

/**
 * Does `work` for every job, `lanes` at a time, and returns what it returned, in the order of the jobs.
 *
 * What the jobs print comes out in their order too: the first that has not ended prints at once, what the others
 * print is kept for their turn. A job whose work throws ends everything.
 */
export async function inLanes<Job, Outcome>(
  jobs: Job[],
  lanes: number,
  work: (job: Job, print: Print) => Promise<Outcome>,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const kept: (string | Uint8Array)[][] = jobs.map(() => []);
  const ended = new Set<number>();
  let turn = 0;
  let next = 0;
  const flush = () => {
    for (const chunk of kept[turn]?.splice(0) ?? []) process.stdout.write(chunk);
  };
  const lane = async () => {
    for (let index = next++; index < jobs.length; index = next++) {
      const print: Print = (chunk) => {
        kept[index]?.push(chunk);
        if (index === turn) flush();
      };
      outcomes[index] = await work(jobs[index] as Job, print);
      ended.add(index);
      while (ended.has(turn)) {
        turn++;
        flush();
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return outcomes;
}
