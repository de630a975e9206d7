import * as echarts from 'echarts';
import type { Sample } from './figures.ts';

const [WIDTH, HEIGHT, PER_LINE] = [420, 170, 2];

/** Draws each figure over the rounds, in one SVG. */
export function drawFigures(samples: Sample[]): string {
  const names = Object.keys(samples[0]?.figures ?? {});
  const place = (index: number) => ({
    left: (index % PER_LINE) * WIDTH,
    top: Math.floor(index / PER_LINE) * HEIGHT,
  });
  const chart = echarts.init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: PER_LINE * WIDTH,
    height: Math.max(1, Math.ceil(names.length / PER_LINE)) * HEIGHT,
  });
  chart.setOption({
    animation: false,
    title: names.map((name, index) => ({ text: name, ...place(index), textStyle: { fontSize: 12 } })),
    grid: names.map((_, index) => ({
      left: place(index).left + 60,
      top: place(index).top + 30,
      width: WIDTH - 90,
      height: HEIGHT - 60,
    })),
    xAxis: names.map((_, index) => ({
      type: 'category',
      gridIndex: index,
      data: samples.map((_, round) => round),
      axisLabel: { fontSize: 9 },
    })),
    yAxis: names.map((_, index) => ({ type: 'value', gridIndex: index, axisLabel: { fontSize: 9 } })),
    series: names.map((name, index) => ({
      type: 'line',
      xAxisIndex: index,
      yAxisIndex: index,
      showSymbol: false,
      data: samples.map(({ figures }) => figures[name]),
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
