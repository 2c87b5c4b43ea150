// Elements made from data. Text is only ever text: names come from files and from other people's devices.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "line", "circle", "rect", "text", "g"]);

/** An element with attributes (or event listeners, `onclick`) and children. */
export function make(tag, attributes = {}, ...children) {
  const element = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The element with an id. */
export const byId = (id) => document.getElementById(id);

/** Shows or hides an element. */
export function show(element, shown = true) {
  element.hidden = !shown;
}

/** A horizontal bar, `share` (0 to 1) of it filled, beside a number that says the same. */
export function bar(share) {
  const filled = make("rect", { x: 0, y: 0, width: Math.max(0.5, 100 * share), height: 8 });
  const drawing = make("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none" }, filled);
  return make("span", { class: "length", "aria-hidden": "true" }, drawing);
}
