import { emitKeypressEvents } from 'node:readline';
import type { Key } from './top-keys.js';

/** Sequences of console_codes(4) and xterm: the other screen, the cursor, and whether long lines are wrapped. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l';

/** The whole terminal, until it is closed. */
export interface Screen {
  /** Replaces what is shown. Lines beyond the last row are left out. */
  draw(lines: string[]): void;
  size(): { columns: number; rows: number };
  /** Gives the terminal back and stops the process, as ^Z does, until it is continued. */
  suspend(): void;
  close(): void;
  /** Resolves once the screen is closed, also because the terminal has gone. */
  closed: Promise<void>;
}

/**
 * Takes the terminal: the alternate screen, without a cursor, and each key for itself. It is given back on close, on
 * SIGINT, SIGTERM and SIGHUP, and when the process ends for another reason that it notices.
 */
export function openScreen(on: { onKey: (key: Key) => void; onResize: () => void }): Screen {
  const { stdin, stdout } = process;
  let isOpen = false;
  let finish = (): void => {};
  const closed = new Promise<void>((resolve) => {
    finish = resolve;
  });

  const enter = (): void => {
    isOpen = true;
    stdin.setRawMode(true);
    stdin.resume();
    stdout.write(ENTER);
  };
  const leave = (): void => {
    if (!isOpen) return;
    isOpen = false;
    stdout.write(LEAVE);
    try {
      stdin.setRawMode(false);
    } catch {
      // The terminal has gone.
    }
  };
  const onKey = (_: string | undefined, key: Key): void => {
    if (isOpen) on.onKey(key);
  };
  const resume = (): void => {
    // Whoever stopped it from outside has left the terminal as it was.
    leave();
    enter();
    on.onResize();
  };
  const close = (): void => {
    leave();
    for (const [source, event, listener] of listeners) source.off(event, listener);
    stdin.pause();
    finish();
  };
  /** What a shell adds to 128, signal(7). */
  const endings: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 };
  const endOn = (signal: NodeJS.Signals): void => {
    process.exitCode = 128 + (endings[signal] ?? 0);
    close();
  };

  const listeners: [NodeJS.EventEmitter, string, Parameters<NodeJS.EventEmitter['on']>[1]][] = [
    [stdin, 'keypress', onKey],
    [stdin, 'end', close],
    [stdout, 'resize', on.onResize],
    [stdout, 'error', close],
    [process, 'SIGCONT', resume],
    [process, 'exit', leave],
    ...Object.keys(endings).map((signal): [NodeJS.EventEmitter, string, typeof endOn] => [
      process,
      signal,
      endOn,
    ]),
  ];

  emitKeypressEvents(stdin);
  for (const [source, event, listener] of listeners) source.on(event, listener);
  enter();

  return {
    draw(lines) {
      if (!isOpen) return;
      const { rows } = size();
      const text = lines.slice(0, rows).map((line) => `${line}\u001b[K`);
      stdout.write(`\u001b[H${text.join('\r\n')}\u001b[J`);
    },
    size,
    suspend() {
      leave();
      process.kill(process.pid, 'SIGSTOP');
    },
    close,
    closed,
  };
}

/** A terminal that does not tell its size, such as a serial line, counts as one of 80 by 24. */
function size(): { columns: number; rows: number } {
  const { columns, rows } = process.stdout;
  return { columns: columns || 80, rows: rows || 24 };
}
