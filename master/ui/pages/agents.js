// Every agent, what it is and what it has.
import { html } from "../html.js";
import { Bars, Command, Rows, State } from "../parts.js";
import { Age } from "../clock.js";
import { byName, word } from "../format.js";

const attributeText = (value) => (typeof value === "object" && value !== null ? value.text ?? value.scalar ?? JSON.stringify(value) : value);
const attributes = (row) => Object.entries(row.info.attributes || {}).sort(([a], [b]) => byName(a, b)).map(([name, value]) => `${name}=${attributeText(value)}`);

const COLUMNS = [
  { head: "Agent", text: (row) => `${row.info.name} ${row.id}`, cell: (row) => html`<b>${row.info.name}</b> <span class="soft">${row.id}</span>` },
  { head: "Condition", text: (row) => word(row.condition), cell: (row) => html`<${State} text=${word(row.condition)} /> <${Age} at=${row.since_ms} />` },
  { head: "Tasks", kind: "number", text: (row) => row.tasks_active ?? 0, cell: (row) => html`<a href=${`#/tasks?q=${encodeURIComponent(row.info.name)}`}>${row.tasks_active ?? 0}</a>` },
  { head: "Allocated", kind: "bars-cell", text: () => "", cell: (row) => html`<${Bars} total=${row.info.resources} allocated=${row.allocated} offered=${row.offered} />` },
  { head: "Address", text: (row) => row.info.address || "" },
  { head: "Isolation", text: (row) => word(row.info.isolation) + (row.info.insecure ? " insecure" : ""), cell: (row) => html`${word(row.info.isolation)}${row.info.insecure ? html` <span class="state bad">▲ no TLS</span>` : null}` },
  { head: "Version", text: (row) => row.info.version || "" },
  { head: "Attributes", kind: "wrap", text: (row) => attributes(row).join(" "), cell: (row) => attributes(row).map((text) => html`<code key=${text} class="chip">${text}</code> `) },
];

export function Agents({ state, filter, onFilter }) {
  const list = [...state.agents.values()].map((row) => ({ ...row, key: row.id })).sort((a, b) => byName(a.key, b.key));
  return html`<${Rows} id="agents" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty=${html`No agent has registered. Start one with: <code>proffer agent</code>`} /><${Command} text="proffer agents" />`;
}
