import { Presets, SingleBar } from 'cli-progress';
import type { PullProgress } from '../docker/pull-progress.js';
import type { ShowProgress } from '../links/create.js';
import { printable } from '../text/printable.js';

/** Between two lines where there is no terminal to draw on, ms. */
const LINE_INTERVAL_MS = 5_000;

/** A function that shows the progress of a pull on stderr: a bar on a terminal, elsewhere a line every 5 seconds. */
export function showProgress(): ShowProgress {
  return process.stderr.isTTY ? drawBar() : writeLines();
}

function drawBar(): ShowProgress {
  const bar = new SingleBar(
    { format: '{bar} {text}', clearOnComplete: true, hideCursor: true, fps: 5 },
    Presets.shades_classic,
  );
  let active = false;
  return (progress) => {
    if (progress === 'done') {
      if (active) bar.stop();
      active = false;
      return;
    }
    const { layers, bytes } = progress;
    const text = printable(progress.text);
    // The engine reports no bytes of layers that it has already.
    const { done, total } = bytes.total > 0 ? bytes : layers;
    if (!active) bar.start(total || 1, done, { text });
    active = true;
    bar.setTotal(total || 1);
    bar.update(done, { text });
  };
}

function writeLines(): ShowProgress {
  let last = Number.NEGATIVE_INFINITY;
  let latest: PullProgress | undefined;
  const write = ({ text }: PullProgress) => process.stderr.write(`wormhole: ${printable(text)}\n`);
  return (progress) => {
    if (progress === 'done') {
      if (latest) write(latest);
      latest = undefined;
    } else if (performance.now() - last > LINE_INTERVAL_MS) {
      last = performance.now();
      latest = undefined;
      write(progress);
    } else {
      latest = progress;
    }
  };
}
