import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** A line of the journal. `time` is in ms since 1970, `priority` that of syslog(3), `source` the SYSLOG_IDENTIFIER. */
export interface JournalLine {
  time: number;
  source: string;
  priority: number;
  text: string;
}

/** The most that journalctl may print, bytes. */
const MOST_BYTES = 16 * 1024 * 1024;

/** The last lines of some units, the oldest first; none when the journal cannot be read. */
export async function lastLinesOf(units: string[], count: number): Promise<JournalLine[]> {
  const matches = units.flatMap((unit) => ['-u', unit]);
  const args = ['-o', 'json', '-n', String(count), '--no-pager', '-q', ...matches];
  const { stdout } = await promisify(execFile)('journalctl', args, { maxBuffer: MOST_BYTES }).catch(() => ({
    stdout: '',
  }));
  return linesOf(stdout);
}

/** The lines that `journalctl -o json` prints. */
function linesOf(stdout: string): JournalLine[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine);
}

function parseLine(json: string): JournalLine {
  const entry: Record<string, unknown> = JSON.parse(json);
  const { MESSAGE: message } = entry;
  return {
    time: Math.trunc(Number(entry.__REALTIME_TIMESTAMP) / 1000),
    source: String(entry.SYSLOG_IDENTIFIER ?? ''),
    // An array, if a program has given several.
    priority: Number(/^[0-7]$/.exec(String(entry.PRIORITY))?.[0] ?? 6),
    // What is not UTF-8 comes as an array of bytes.
    text: Array.isArray(message) ? Buffer.from(message).toString() : String(message ?? ''),
  };
}

/**
 * The last lines that a unit, or systemd about it, wrote to the journal, oldest first.
 *
 * @param since only lines from then on, in ms since the epoch
 * @param count how many lines at most
 * @returns the bare messages; when the journal cannot be read, one line that says so
 */
export function lastLines(unit: string, since: number, count = 5): Promise<string[]> {
  // Unlike -u UNIT, this also finds what systemd's short-lived children log about the unit, such as why a socket cannot be
  // bound in another namespace: they have ended before the journal can look up their unit.
  return linesSince([`UNIT=${unit}`, '_UID=0', '+', `_SYSTEMD_UNIT=${unit}`], since, count);
}

/** As {@link lastLines}, without those of systemd: what the processes of a unit wrote. */
export function lastOutput(unit: string, since: number, count = 5): Promise<string[]> {
  return linesSince([`_SYSTEMD_UNIT=${unit}`], since, count);
}

async function linesSince(matches: string[], since: number, count: number): Promise<string[]> {
  const run = promisify(execFile);
  // Not -b: in a container, ProtectKernelTunables= makes a service see the boot id of the machine, not its own.
  const from = `--since=@${Math.floor(since / 1000)}`;
  // -r: with --since alone, -n is about the first lines.
  const args = ['-o', 'json', '-r', '-n', String(count), '--no-pager', '-q', from];
  try {
    await run('journalctl', ['--sync']);
    const { stdout } = await run('journalctl', [...args, ...matches], { maxBuffer: MOST_BYTES });
    return linesOf(stdout)
      .filter(({ time }) => time >= since)
      .reverse()
      .flatMap(({ text }) => text.split('\n'))
      .filter((line) => line !== '')
      .slice(-count);
  } catch (error) {
    return [`(the journal could not be read: ${(error as Error).message.split('\n')[0]})`];
  }
}
