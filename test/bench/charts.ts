import * as echarts from 'echarts';
import { type Results, spread } from './report.ts';

/* Charts of results as SVG: for each column the medians as bars, with the lowest and the highest of the rounds. */

const [WIDTH, LABELS, BAR, TITLE, PER_LINE] = [420, 160, 22, 54, 2];
const [OURS, OTHERS, SPREAD] = ['#2f6fb0', '#b9c4cf', '#222222'];

/** Draws all columns of the results in one SVG. */
export function drawCharts(results: Results): string {
  const { columns, rows, reference } = results;
  const height = rows.length * BAR + TITLE;
  const chart = echarts.init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: PER_LINE * WIDTH,
    height: Math.ceil(columns.length / PER_LINE) * height,
  });
  const place = (index: number) => ({
    left: (index % PER_LINE) * WIDTH,
    top: Math.floor(index / PER_LINE) * height,
  });
  const found = columns.map((column) => rows.map((row) => spread(row, column)));
  chart.setOption({
    animation: false,
    title: columns.map(({ title, better }, index) => ({
      text: title,
      subtext: `${better} is better`,
      ...place(index),
      textStyle: { fontSize: 13 },
      subtextStyle: { fontSize: 10 },
      itemGap: 2,
    })),
    grid: columns.map((_, index) => ({
      left: place(index).left + LABELS,
      top: place(index).top + TITLE - 16,
      width: WIDTH - LABELS - 30,
      height: rows.length * BAR - 8,
    })),
    xAxis: columns.map((_, index) => ({
      type: 'value',
      gridIndex: index,
      splitNumber: 3,
      axisLabel: { fontSize: 9 },
      splitLine: { lineStyle: { color: '#eeeeee' } },
    })),
    yAxis: columns.map((_, index) => ({
      type: 'category',
      gridIndex: index,
      inverse: true,
      data: rows.map(({ name }) => name),
      axisLabel: { fontSize: 10 },
      axisTick: { show: false },
    })),
    series: columns.flatMap((_, index) => [
      {
        type: 'bar',
        xAxisIndex: index,
        yAxisIndex: index,
        barWidth: '60%',
        data: rows.map(({ name }, row) => ({
          value: found[index]?.[row]?.median ?? 0,
          itemStyle: { color: name.startsWith(reference) ? OURS : OTHERS },
        })),
      },
      {
        type: 'custom',
        xAxisIndex: index,
        yAxisIndex: index,
        data: rows.flatMap((_row, row) => {
          const all = found[index]?.[row];
          return all === undefined ? [] : [[all.low, row, all.high]];
        }),
        renderItem: (
          _params: unknown,
          api: { value(at: number): number; coord(at: [number, number]): [number, number] },
        ) => {
          const [x1, y] = api.coord([api.value(0), api.value(1)]);
          const [x2] = api.coord([api.value(2), api.value(1)]);
          return {
            type: 'line',
            shape: { x1, y1: y, x2, y2: y },
            style: { stroke: SPREAD, lineWidth: 1.5 },
          };
        },
      },
    ]),
  } as echarts.EChartsOption);
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
