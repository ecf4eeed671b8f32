// Small pieces that several pages use.
import { html } from "./html.js";
import { amount, tone, totals } from "./format.js";

/** A state: colour and shape, so that it is read without colour too. */
export function State({ text }) {
  const shapes = { good: "●", busy: "◐", bad: "▲", calm: "○" };
  const kind = tone(text);
  return html`<span class="state ${kind}"><span aria-hidden="true">${shapes[kind]}</span> ${text}</span>`;
}

/** Used, held and free of one resource. */
export function Bar({ name, total, allocated, offered }) {
  const share = (value) => (total > 0 ? Math.min(100, (100 * value) / total) : 0);
  const words = `${amount(name, allocated)} of ${amount(name, total)} used${offered ? `, ${amount(name, offered)} offered` : ""}`;
  return html`<div class="bar-row" title=${words}>
    <span class="bar-name">${name}</span>
    <div class="bar" role="img" aria-label=${`${name}: ${words}`}>
      <div class="used" style=${`width:${share(allocated)}%`}></div>
      <div class="held" style=${`width:${share(offered)}%`}></div>
    </div>
    <span class="bar-words">${words}</span>
  </div>`;
}

const SHOWN_FIRST = ["cpus", "mem", "disk", "gpus", "ports"];

export function Bars({ total, allocated, offered }) {
  const [all, used, held] = [totals(total), totals(allocated), totals(offered)];
  const names = Object.keys(all).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  return html`<div class="bars">${names.map((name) => html`<${Bar} key=${name} name=${name} total=${all[name]} allocated=${used[name] || 0} offered=${held[name] || 0} />`)}</div>`;
}

function rank(name) {
  const at = SHOWN_FIRST.indexOf(name);
  return at < 0 ? SHOWN_FIRST.length : at;
}

const ROWS_SHOWN_MAX = 500;

/** A table that filters as one types. `columns`: [{head, cell(row), text(row)}]. */
export function Rows({ id, columns, rows, filter, onFilter, empty }) {
  const wanted = (filter || "").toLowerCase();
  const found = wanted
    ? rows.filter((row) => columns.some((column) => String(column.text(row)).toLowerCase().includes(wanted)))
    : rows;
  const shown = found.slice(0, ROWS_SHOWN_MAX);
  return html`<section>
    <div class="tools">
      <input id="filter" type="search" placeholder="Filter ( / )" value=${filter} onInput=${(event) => onFilter(event.target.value)} aria-label="Filter" />
      <span class="count">${found.length === rows.length ? rows.length : `${found.length} of ${rows.length}`}</span>
    </div>
    ${rows.length === 0 ? html`<p class="empty">${empty}</p>` : html`<div class="scroll"><table id=${id}>
      <thead><tr>${columns.map((column) => html`<th key=${column.head}>${column.head}</th>`)}</tr></thead>
      <tbody>${shown.map((row) => html`<tr key=${row.key}>${columns.map((column) => html`<td key=${column.head}>${column.cell ? column.cell(row) : column.text(row)}</td>`)}</tr>`)}</tbody>
    </table></div>`}
    ${found.length > shown.length ? html`<p class="empty">The first ${shown.length} are shown; filter to see others.</p>` : null}
  </section>`;
}

/** The command line that shows the same. */
export function Command({ text }) {
  return html`<p class="command">On the command line: <code>${text}</code></p>`;
}
