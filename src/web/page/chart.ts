import uPlot from 'uplot';
import type { Rate } from '../history.js';
import { element, setChildren, setText } from './dom.js';
import { moment, perSecond } from './format.js';

const HOUR_MS = 3_600_000;

/** A time that was not looked at for longer than this has an average, ms. */
const LONG_MS = 30_000;

/** A chart of what has flowed in the last hour. */
export interface Chart {
  element: HTMLElement;
  show(rates: Rate[]): void;
  destroy(): void;
}

/** Makes a chart. The figures under the pointer, and the latest otherwise, stand above it in words. */
export function createChart(title: string, height: number): Chart {
  const now = element('span');
  const [clients, targets] = [element('span', { class: 'key' }), element('span', { class: 'key second' })];
  const caption = element('figcaption', {}, [element('b', { text: title }), clients, targets, now]);
  const canvas = element('div', { attributes: { 'aria-hidden': 'true' } });
  const figure = element('figure', { class: 'chart' }, [caption, canvas]);
  let rates: Rate[] = [];
  let plot: uPlot | undefined;

  const describe = (at: number | undefined) => {
    const rate = at === undefined ? rates.at(-1) : rates[at];
    setText(clients, `from clients ${rate ? perSecond(rate.fromClients) : ''}`);
    setText(targets, `from targets ${rate ? perSecond(rate.fromTargets) : ''}`);
    if (!rate) return setText(now, 'not looked at yet');
    const average = rate.to - rate.from > LONG_MS ? ', the average of a time when nobody looked' : '';
    setText(
      now,
      at === undefined ? `${rate.open} open` : `${moment(rate.from)} to ${moment(rate.to)}${average}`,
    );
  };
  const draw = () => {
    plot?.destroy();
    plot = new uPlot(optionsOf(Math.max(200, canvas.clientWidth), height, describe), dataOf(rates), canvas);
  };
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  scheme.addEventListener('change', draw);
  const observer = new ResizeObserver(() => {
    if (plot) plot.setSize({ width: Math.max(200, canvas.clientWidth), height });
    else if (canvas.clientWidth > 0) draw();
  });
  observer.observe(canvas);
  describe(undefined);
  return {
    element: figure,
    show(latest) {
      rates = latest;
      plot?.setData(dataOf(rates));
      if (plot?.cursor.idx == null) describe(undefined);
    },
    destroy() {
      scheme.removeEventListener('change', draw);
      observer.disconnect();
      plot?.destroy();
      setChildren(canvas, []);
    },
  };
}

/** Each rate holds until the next begins. */
function dataOf(rates: Rate[]): uPlot.AlignedData {
  const last = rates.at(-1);
  const times = rates.map(({ from }) => from / 1000);
  if (!last) return [[], [], []];
  return [
    [...times, last.to / 1000],
    [...rates.map(({ fromClients }) => fromClients), last.fromClients],
    [...rates.map(({ fromTargets }) => fromTargets), last.fromTargets],
  ];
}

function optionsOf(width: number, height: number, describe: (at: number | undefined) => void): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour('--soft'),
    font: '11px system-ui, sans-serif',
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
  };
  const stepped = uPlot.paths.stepped?.({ align: 1 });
  const series = (name: string, dash: number[]): uPlot.Series => ({
    stroke: colour(name),
    fill: `color-mix(in srgb, ${colour(name)} 12%, transparent)`,
    width: 1.6,
    dash,
    points: { show: false },
    ...(stepped && { paths: stepped }),
  });
  return {
    width,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: {
      x: { time: true, range: () => [(Date.now() - HOUR_MS) / 1000, Date.now() / 1000] },
      y: { range: (_, _min, max) => [0, Math.max(1000, max * 1.08)] },
    },
    axes: [
      { ...axis, size: 24, values: (_, times) => times.map((time) => moment(time * 1000).slice(-8, -3)) },
      { ...axis, size: 76, values: (_, values) => values.map(perSecond), space: 26 },
    ],
    series: [{}, series('--accent', []), series('--connected', [4, 3])],
    hooks: {
      setCursor: [({ cursor: { idx } }) => describe(idx ?? undefined)],
    },
  };
}
