import prettyBytes from 'pretty-bytes';

/** "340 kB", with three digits at most, so that figures that change do not jump. */
export function bytes(number: number): string {
  return prettyBytes(Math.round(number), { maximumFractionDigits: number < 100_000 ? 0 : 1 });
}

/** "1.2 MB/s" */
export function perSecond(number: number): string {
  return `${bytes(number)}/s`;
}

/** "0.4 ms", "12 ms", "3.2 s", "5 min", "2 h", "3 d" */
export function duration(ms: number): string {
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toFixed(1))} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  return ms < 86_400_000 ? `${Math.floor(ms / 3_600_000)} h` : `${Math.floor(ms / 86_400_000)} d`;
}

/** A moment as "10:02:31", with the day unless that is today's, in the time zone of the browser. */
export function moment(ms: number, now = Date.now()): string {
  const at = new Date(ms);
  const two = (value: number) => String(value).padStart(2, '0');
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date(now).toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}
