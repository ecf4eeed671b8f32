// Every framework, what it uses and what it waits for.
import { html } from "../html.js";
import { Command, Rows, State } from "../parts.js";
import { Age } from "../clock.js";
import { bytes, byName, resourcesText } from "../format.js";

const unmet = (row) => row.unmet;
const standbys = (row) => (row.standbys || []).length;

const COLUMNS = [
  { head: "Framework", text: (row) => `${row.info.name} ${row.id}`, cell: (row) => html`<b>${row.info.name}</b> <span class="soft">${row.id}</span>` },
  { head: "State", text: (row) => (row.connected ? "connected" : "disconnected"), cell: (row) => html`<${State} text=${row.connected ? "connected" : "disconnected"} /> <${Age} at=${row.since_ms} />` },
  { head: "Roles", text: (row) => (row.info.roles || []).join(" ") },
  { head: "Tasks", kind: "number", text: (row) => row.tasks_active ?? 0, cell: (row) => html`<a href=${`#/tasks?q=${encodeURIComponent(`${row.id}/`)}`}>${row.tasks_active ?? 0}</a>` },
  { head: "Waiting", kind: "number", text: unmet, cell: (row) => (unmet(row) ? html`<a href=${`#/why/framework/${row.id}`} title="Why does it wait?">${unmet(row)}</a>` : "0") },
  { head: "Allocated", text: (row) => resourcesText(row.allocated) },
  { head: "State store", kind: "number", text: (row) => bytes(row.state_bytes || 0) },
  { head: "Active replica", text: (row) => `${row.replica || "–"}, epoch ${row.epoch || 0}${standbys(row) ? `, ${standbys(row)} standing by` : ""}` },
  { head: "Principal", text: (row) => row.principal || "" },
];

export function Frameworks({ state, filter, onFilter }) {
  const unmetOf = new Map();
  for (const demand of state.demand.values()) {
    unmetOf.set(demand.framework, (unmetOf.get(demand.framework) || 0) + Number(demand.unmet || 0));
  }
  const list = [...state.frameworks.values()].map((row) => ({ ...row, key: row.id, unmet: unmetOf.get(row.id) || 0 })).sort((a, b) => byName(a.key, b.key));
  return html`<${Rows} id="frameworks" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty="No framework has subscribed." /><${Command} text="proffer frameworks; proffer why f1" />`;
}
