import prettyBytes from 'pretty-bytes';

/** "340 kB", with three digits at most, so that figures that change do not jump. */
export function bytes(number: number): string {
  return prettyBytes(Math.round(number), { maximumFractionDigits: number < 100_000 ? 0 : 1 });
}

/** "1.2 MB/s" */
export function perSecond(number: number): string {
  return `${bytes(number)}/s`;
}

/** A moment as "10:02:31", with the day unless that is today's, in the time zone of the browser. */
export function moment(ms: number, now = Date.now()): string {
  const at = new Date(ms);
  const two = (value: number) => String(value).padStart(2, '0');
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date(now).toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}
