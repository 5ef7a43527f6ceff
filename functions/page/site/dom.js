// @ts-check

/**
 * Makes an element.
 *
 * An attribute that is a function listens to the event of its name, as `onclick` does. One that is true is set without
 * a value, and one that is null, undefined or false is left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  add(element, children);
  return element;
}

/**
 * Puts children at the end of an element.
 * @param {Element | DocumentFragment} element
 * @param {Child} child
 */
export function add(element, child) {
  if (Array.isArray(child)) child.forEach((each) => add(element, each));
  else if (child instanceof Node) element.append(child);
  else if (child !== null && child !== undefined && child !== false) element.append(String(child));
}

/**
 * Replaces what an element has inside.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
}

let numbers = 0;

/**
 * An id that no other element of the page has.
 * @param {string} what
 */
export function freshId(what) {
  numbers += 1;
  return `${what}-${numbers}`;
}

/**
 * A field with its label.
 * @param {string} label
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} input
 * @param {string} [hint]
 */
export function field(label, input, hint) {
  if (!input.id) input.id = freshId("field");
  const told = hint ? h("small", { id: `${input.id}-hint` }, hint) : null;
  if (told) input.setAttribute("aria-describedby", told.id);
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, told);
}

/**
 * A choice of one of some values.
 * @param {string} label
 * @param {Record<string, string>} choices the text of each value
 * @param {string} chosen
 * @param {(value: string) => void} choose
 */
export function select(label, choices, chosen, choose) {
  const input = h(
    "select",
    { "aria-label": label, onchange: () => choose(input.value) },
    Object.entries(choices).map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
  return input;
}

/**
 * A button that copies a text, and says so.
 * @param {string} text
 * @param {string} [label]
 */
export function copyButton(text, label = "Copy") {
  const button = h("button", {
    type: "button",
    class: "quiet",
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select it and copy it by hand";
      }
    },
  }, label);
  return button;
}

/**
 * Tells people who listen to the page what has changed.
 * @param {string} text
 */
export function announce(text) {
  const place = document.getElementById("announcements");
  if (place) place.textContent = text;
}
