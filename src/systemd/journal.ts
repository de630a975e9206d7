import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/**
 * The last lines that a unit, or systemd about it, wrote to the journal in this boot, oldest first.
 *
 * @param since only lines from then on, in ms since the epoch
 * @param count how many lines at the most
 * @returns the bare messages; a journal that cannot be read is told as the one line
 */
export async function lastLines(unit: string, since: number, count = 5): Promise<string[]> {
  const args = ['-u', unit, '-b', '-o', 'cat', '-n', String(count), '--no-pager', '-q'];
  try {
    const { stdout } = await promisify(execFile)('journalctl', [
      ...args,
      `--since=@${Math.floor(since / 1000)}`,
    ]);
    return stdout.split('\n').filter((line) => line !== '');
  } catch (error) {
    return [`(the journal could not be read: ${(error as Error).message.split('\n')[0]})`];
  }
}
