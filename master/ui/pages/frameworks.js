// Every framework, what it uses and what it waits for.
import { html } from "../html.js";
import { Command, Rows, State } from "../parts.js";
import { age, resourcesText } from "../format.js";

const unmet = (row) => (row.demand || []).reduce((sum, demand) => sum + Number(demand.unmet || 0), 0);
const roles = (row) => (row.info.roles || []).join(" ");

const COLUMNS = [
  { head: "Framework", text: (row) => `${row.info.name} ${row.id}`, cell: (row) => html`<b>${row.info.name}</b> <span class="empty">${row.id}</span>` },
  { head: "State", text: (row) => (row.connected ? "connected" : "disconnected"), cell: (row) => html`<${State} text=${row.connected ? "connected" : "disconnected"} /> ${age(row.since_ms)}` },
  { head: "Roles", text: roles },
  { head: "Tasks", text: (row) => row.tasks_active ?? 0, cell: (row) => html`<a href=${`#/tasks?q=${encodeURIComponent(`${row.id}/`)}`}>${row.tasks_active ?? 0}</a>` },
  { head: "Waiting", text: unmet },
  { head: "Uses", text: (row) => resourcesText(row.allocated) },
  { head: "Replica", text: (row) => row.replica + ((row.standbys || []).length ? ` (+${row.standbys.length} standing by)` : "") },
  { head: "Principal", text: (row) => row.principal || "" },
];

export function Frameworks({ state, filter, onFilter }) {
  const list = [...state.frameworks.values()].map((row) => ({ ...row, key: row.id }));
  return html`<${Rows} id="frameworks" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty="No framework has subscribed." /><${Command} text="proffer frameworks; proffer why f1" />`;
}
