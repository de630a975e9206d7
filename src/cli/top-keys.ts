import { readDuration } from '../recipe/duration.js';
import { type Column, columnsFor, type Order } from './top-text.js';

/** What the user of top has chosen. `typing` is the text that goes into a question at the bottom. */
export interface View {
  order: Order;
  several: boolean;
  selected: number;
  paused: boolean;
  /** Seconds between two looks. */
  interval: number;
  typing?: { what: 'filter' | 'interval'; text: string };
}

/** A key, as the `keypress` event of node:readline tells it. */
export interface Key {
  name?: string;
  sequence?: string;
  ctrl?: boolean;
}

/** What else a key asks for. */
export type Wish = 'quit' | 'details' | 'suspend';

/** The keys that sort by a column, as in htop: P processor, M memory, T time, N name. */
const SORTS: Record<string, Column> = { P: 'in', M: 'sessions', T: 'dial', N: 'id', E: 'errors' };

/** What a key makes of the view of `count` links. */
export function pressKey(view: View, key: Key, count: number): View | Wish {
  if (key.ctrl && key.name === 'c') return 'quit';
  if (key.ctrl && key.name === 'z') return 'suspend';
  if (view.typing) return type(view, view.typing, key);
  const { order, selected } = view;
  const select = (place: number): View => ({ ...view, selected: Math.max(0, Math.min(place, count - 1)) });
  const sequence = key.sequence ?? '';
  const sort = SORTS[sequence];
  if (sort !== undefined) return { ...view, order: { ...order, sort, reversed: false } };
  switch (sequence) {
    case '<':
      return sortBeside(view, -1);
    case '>':
      return sortBeside(view, 1);
    case '/':
      return { ...view, typing: { what: 'filter', text: order.filter } };
    case ' ':
      return { ...view, paused: !view.paused };
  }
  switch (key.name) {
    case 'q':
      return 'quit';
    case 'return':
    case 'enter':
      return count > 0 ? 'details' : view;
    case 'up':
      return select(selected - 1);
    case 'down':
      return select(selected + 1);
    case 'pageup':
      return select(selected - 10);
    case 'pagedown':
      return select(selected + 10);
    case 'home':
      return select(0);
    case 'end':
      return select(count - 1);
    case 'left':
      return sortBeside(view, -1);
    case 'right':
    case 'f6':
      return sortBeside(view, 1);
    case 'i':
    case 'r':
      return { ...view, order: { ...order, reversed: !order.reversed } };
    case 'p':
      return { ...view, paused: !view.paused };
    case 'd':
      return { ...view, typing: { what: 'interval', text: '' } };
    case 'escape':
      return { ...view, order: { ...order, filter: '' } };
  }
  return view;
}

function sortBeside(view: View, step: 1 | -1): View {
  const columns = columnsFor(view.several);
  const at = columns.indexOf(view.order.sort) + step;
  const sort = columns[(at + columns.length) % columns.length] ?? view.order.sort;
  return { ...view, order: { ...view.order, sort, reversed: false } };
}

/** A filter applies while it is typed; an interval once it is complete, and not at all if it is no span of time. */
function type(view: View, typing: NonNullable<View['typing']>, key: Key): View {
  const { typing: _, ...done } = view;
  if (key.name === 'escape')
    return typing.what === 'filter' ? { ...done, order: { ...view.order, filter: '' } } : done;
  if (key.name === 'return' || key.name === 'enter') {
    const interval = typing.what === 'interval' ? readDuration(typing.text) : undefined;
    return interval === undefined ? done : { ...done, interval };
  }
  const text =
    key.name === 'backspace'
      ? [...typing.text].slice(0, -1).join('')
      : typing.text + (/^[^\p{Cc}]$/u.test(key.sequence ?? '') ? key.sequence : '');
  const order = typing.what === 'filter' ? { ...view.order, filter: text } : view.order;
  return { ...view, order, typing: { ...typing, text } };
}
