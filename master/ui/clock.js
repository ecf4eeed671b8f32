// The time of day, once a second, so that ages grow while one looks. Asks nobody.
import { signal } from "@preact/signals";
import { html } from "./html.js";
import { age } from "./format.js";

const now = signal(Date.now());
setInterval(() => { if (!document.hidden) now.value = Date.now(); }, 1000);

/** How long ago `at` (milliseconds since 1970) was. */
export function Age({ at }) {
  const then = Number(at || 0);
  return html`<time class="age" title=${then ? new Date(then).toLocaleString() : ""}>${age(then, now.value)}</time>`;
}
