/** What an element has: attributes, `class` and `text` among them, and what happens on events. */
interface Properties {
  class?: string;
  text?: string;
  on?: Partial<Record<'click' | 'input' | 'keydown', (event: Event) => void>>;
  attributes?: Record<string, string | number>;
}

/** Makes an HTML element. Texts come from others: they are set as text, never as markup. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  { class: className, text, on = {}, attributes = {} }: Properties = {},
  children: (Node | string | undefined)[] = [],
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  if (className !== undefined) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** Makes an SVG element. */
export function svgElement(
  name: 'svg' | 'path' | 'use' | 'g',
  attributes: Record<string, string | number>,
  children: Node[] = [],
): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}

/** An icon of index.html, which tells nothing that is not also said in words. */
export function icon(name: string): SVGElement {
  return svgElement('svg', { class: `icon ${name}`, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, [
    svgElement('use', { href: `#${name}` }),
  ]);
}

/** The element of index.html with that id. @throws Error */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return found;
}

/** Shows a text. What is unchanged is left alone, so that a selection in it stays. */
export function setText(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** Makes an element have these children. */
export function setChildren(parent: Element, children: (Node | undefined)[]): void {
  parent.replaceChildren(...children.filter((child) => child !== undefined));
}
