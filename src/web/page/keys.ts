/** Something with a place on the map. */
interface Stop {
  getBoundingClientRect(): { left: number; top: number; width: number; height: number };
}

const DIRECTIONS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** The stop that an arrow key leads to: the nearest one in its direction, of which a step aside counts twice. */
export function nextInDirection<T extends Stop>(key: string, from: T, stops: T[]): T | undefined {
  const direction = DIRECTIONS[key];
  if (!direction) return key === 'Home' ? stops[0] : key === 'End' ? stops.at(-1) : undefined;
  const [dx, dy] = direction;
  const start = centre(from);
  let best: { stop: T; distance: number } | undefined;
  for (const stop of stops) {
    if (stop === from) continue;
    const end = centre(stop);
    const ahead = (end.x - start.x) * dx + (end.y - start.y) * dy;
    const aside = Math.abs((end.x - start.x) * dy) + Math.abs((end.y - start.y) * dx);
    if (ahead < 4) continue;
    const distance = ahead + 2 * aside;
    if (!best || distance < best.distance) best = { stop, distance };
  }
  return best?.stop;
}

function centre(stop: Stop): { x: number; y: number } {
  const { left, top, width, height } = stop.getBoundingClientRect();
  return { x: left + width / 2, y: top + height / 2 };
}
