// Small pieces that several pages use.
import { html } from "./html.js";
import { amount, counted, tone, totals } from "./format.js";

/** A state: colour and shape, so that it is read without colour too. */
export function State({ text }) {
  const shapes = { good: "●", busy: "◐", bad: "▲", calm: "○" };
  const kind = tone(text);
  return html`<span class="state ${kind}"><span aria-hidden="true">${shapes[kind]}</span> ${text}</span>`;
}

/** Allocated, offered and free of one resource. */
function Bar({ name, total, allocated, offered, isCount }) {
  const share = (value) => (total > 0 ? Math.min(100, (100 * value) / total) : 0);
  const show = (value) => amount(name, value, isCount);
  const words = `${show(allocated)} of ${show(total)} allocated${offered ? `, ${show(offered)} offered` : ""}`;
  return html`<div class="bar-row" title=${`${name}: ${words}`}>
    <span class="bar-name">${name}</span>
    <div class="bar" role="img" aria-label=${`${name}: ${words}`}>
      <div class="allocated" style=${`width:${share(allocated)}%`}></div>
      <div class="offered" style=${`width:${share(offered)}%`}></div>
    </div>
    <span class="bar-words"><b>${show(allocated)}</b> of ${show(total)}</span>
    <span class="bar-share">${Math.round(share(allocated))} %</span>
  </div>`;
}

const SHOWN_FIRST = ["cpus", "mem", "disk", "gpus", "ports"];

/** One bar per resource. All three are resource lists as the master sends them. */
export function Bars({ total, allocated, offered }) {
  const [all, used, held, counts] = [totals(total), totals(allocated), totals(offered), counted(total)];
  const names = Object.keys(all).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  return html`<div class="bars">${names.map((name) => html`<${Bar} key=${name} name=${name} total=${all[name]} allocated=${used[name] || 0} offered=${held[name] || 0} isCount=${counts.has(name)} />`)}</div>`;
}

function rank(name) {
  const at = SHOWN_FIRST.indexOf(name);
  return at < 0 ? SHOWN_FIRST.length : at;
}

const ROWS_SHOWN_MAX = 500;

/** Whether a row holds every word of the filter, in any column. */
export function matches(columns, row, filter) {
  const words = (filter || "").toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const text = columns.map((column) => String(column.text(row))).join("\n").toLowerCase();
  return words.every((part) => text.includes(part));
}

/** A table that filters as one types. `columns`: [{head, text(row), cell(row), kind}]. */
export function Rows({ id, columns, rows, filter, onFilter, empty }) {
  const found = rows.filter((row) => matches(columns, row, filter));
  const shown = found.slice(0, ROWS_SHOWN_MAX);
  const leave = (event) => { if (event.key === "Escape") { onFilter(""); event.target.blur(); } };
  return html`<section>
    <div class="tools">
      <input id="filter" type="search" placeholder="Filter: press /" value=${filter} onInput=${(event) => onFilter(event.target.value)} onKeyDown=${leave} aria-label="Filter" />
      <span class="count">${found.length === rows.length ? `${rows.length} in all` : `${found.length} of ${rows.length}`}</span>
    </div>
    ${rows.length === 0 ? html`<p class="empty">${empty}</p>`
      : found.length === 0 ? html`<p class="empty">None of ${rows.length} matches “${filter}”. Escape clears the filter.</p>`
      : html`<div class="scroll"><table id=${id}>
      <thead><tr>${columns.map((column) => html`<th key=${column.head} class=${column.kind}>${column.head}</th>`)}</tr></thead>
      <tbody>${shown.map((row) => html`<tr key=${row.key}>${columns.map((column) => html`<td key=${column.head} class=${column.kind}>${column.cell ? column.cell(row) : column.text(row)}</td>`)}</tr>`)}</tbody>
    </table></div>`}
    ${found.length > shown.length ? html`<p class="empty">The first ${shown.length} are shown; filter to see others.</p>` : null}
  </section>`;
}

/** The command line that shows the same. */
export function Command({ text }) {
  return html`<p class="command">On the command line: <code>${text}</code></p>`;
}
