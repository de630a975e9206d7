/** A moment of today as "10:02", and any other as "2026-11-24 10:02", in the time zone of the machine. */
export function describeTime(ms: number, now = Date.now()): string {
  const at = new Date(ms);
  const pad = (value: number) => String(value).padStart(2, '0');
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
  if (at.toDateString() === new Date(now).toDateString()) return time;
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${time}`;
}
