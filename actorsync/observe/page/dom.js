// A description of elements, and a function that makes the page match it. Text is only ever set as text.
// What has not changed stays the same node, so that focus, selection and scroll positions survive each update.

const SVG = "http://www.w3.org/2000/svg";
const IS_SVG = new Set(["svg", "path", "line"]);

/** Return the description of an element. A property `key` names it among its siblings; `on…` is a listener. */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children };
}

/** Make the children of an element match a list of descriptions and texts. */
export function show(parent, children) {
  const focused = document.activeElement;
  patch(parent, children);
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

function patch(parent, children) {
  const named = new Map();
  for (const node of parent.childNodes) if (node.key !== undefined) named.set(node.key, node);
  let here = parent.firstChild;
  for (const child of children.flat(Infinity)) {
    if (child == null || child === false) continue;
    const isText = typeof child !== "object";
    let node = isText ? fitting(here, null) : child.props.key === undefined ? fitting(here, child.tag) : named.get(child.props.key);
    if (!node) node = isText ? document.createTextNode("") : made(child);
    if (node === here) here = here.nextSibling;
    else parent.insertBefore(node, here);
    if (!isText) update(node, child);
    else if (node.data !== String(child)) node.data = String(child);
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

function fitting(node, tag) {
  if (!node || node.key !== undefined) return null;
  return (tag === null ? node.nodeType === Node.TEXT_NODE : node.localName === tag) ? node : null;
}

function made({ tag, props }) {
  const node = IS_SVG.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  node.key = props.key;
  node.shown = {};
  return node;
}

function update(node, { props, children }) {
  for (const name of Object.keys(node.shown)) if (!(name in props)) set(node, name, null);
  for (const [name, value] of Object.entries(props)) {
    if (name !== "key" && node.shown[name] !== value) set(node, name, value);
  }
  node.shown = props;
  patch(node, children);
}

function set(node, name, value) {
  if (name.startsWith("on")) node[name] = value;
  else if (value == null || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}
