// Builds elements. Text always goes in as text nodes: a company called "<img …>" stays a name.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (`on` holds listeners; false and null are left out) and children. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    } else if (value === true) {
      node.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** An icon of the sprite in index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A term and its description for a definition list; nothing when there is no value. */
export function fact(term, value) {
  if (value === null || value === undefined || value === "") return null;
  return el("div", {}, el("dt", {}, term), el("dd", {}, value));
}

/** The element with that id. */
export function byId(id) {
  return document.getElementById(id);
}
