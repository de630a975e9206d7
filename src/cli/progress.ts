import { Presets, SingleBar } from 'cli-progress';
import type { Progress, ShowProgress } from '../control/create.js';

/** Between two lines where there is no terminal to draw on, ms. */
const LINE_INTERVAL_MS = 5_000;

/** A function that shows on stderr how far a pull is: a bar on a terminal, a line now and then elsewhere. */
export function showProgress(): ShowProgress {
  return process.stderr.isTTY ? drawn() : written();
}

function drawn(): ShowProgress {
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
    const { layers, bytes, text } = progress;
    // Of layers the engine has already, no bytes are told.
    const { done, total } = bytes.total > 0 ? bytes : layers;
    if (!active) bar.start(total || 1, done, { text });
    active = true;
    bar.setTotal(total || 1);
    bar.update(done, { text });
  };
}

function written(): ShowProgress {
  let last = 0;
  let latest: Progress | undefined;
  const write = ({ text }: Progress) => process.stderr.write(`wormhole: ${text}\n`);
  return (progress) => {
    if (progress === 'done') {
      if (latest) write(latest);
      latest = undefined;
    } else if (Date.now() - last > LINE_INTERVAL_MS) {
      last = Date.now();
      latest = undefined;
      write(progress);
    } else {
      latest = progress;
    }
  };
}
