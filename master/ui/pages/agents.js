// Every agent, what it is and what it has.
import { html } from "../html.js";
import { Bars, Command, Rows, State } from "../parts.js";
import { age, word } from "../format.js";

const attributeText = (value) => (typeof value === "object" && value !== null ? value.text ?? value.scalar ?? JSON.stringify(value) : value);

const COLUMNS = [
  { head: "Agent", text: (row) => `${row.info.name} ${row.id}`, cell: (row) => html`<b>${row.info.name}</b> <span class="empty">${row.id}</span>` },
  { head: "Condition", text: (row) => word(row.condition), cell: (row) => html`<${State} text=${word(row.condition)} /> ${age(row.since_ms)}` },
  { head: "Tasks", text: (row) => row.tasks_active ?? 0, cell: (row) => html`<a href=${`#/tasks?q=${encodeURIComponent(row.info.name)}`}>${row.tasks_active ?? 0}</a>` },
  { head: "Resources", text: () => "", cell: (row) => html`<${Bars} total=${row.info.resources} allocated=${row.allocated} offered=${row.offered} />` },
  { head: "Address", text: (row) => row.info.address || "" },
  { head: "Isolation", text: (row) => word(row.info.isolation) },
  { head: "Attributes", text: (row) => Object.entries(row.info.attributes || {}).map(([name, value]) => `${name}=${attributeText(value)}`).join(" "), cell: (row) => html`<span title="attributes">${Object.entries(row.info.attributes || {}).map(([name, value]) => html`<div key=${name}>${name}=${attributeText(value)}</div>`)}</span>` },
];

export function Agents({ state, filter, onFilter }) {
  const list = [...state.agents.values()].map((row) => ({ ...row, key: row.id }));
  return html`<${Rows} id="agents" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty="No agent has registered. Start one with: proffer agent" /><${Command} text="proffer agents" />`;
}
