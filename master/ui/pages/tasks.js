// Every task that the master knows.
import { html } from "../html.js";
import { Command, Rows, State } from "../parts.js";
import { age, resourcesText, word } from "../format.js";

const COLUMNS = [
  { head: "Task", text: (row) => row.key, cell: (row) => html`<a href=${`#/task/${row.key}`}>${row.name}</a>` },
  { head: "Framework", text: (row) => row.frameworkName },
  { head: "State", text: (row) => word(row.state), cell: (row) => html`<${State} text=${word(row.state)} />${row.ready === false ? " not ready" : ""}` },
  { head: "Since", text: (row) => age(row.at_ms) },
  { head: "Agent", text: (row) => row.agent_name || row.agent },
  { head: "Uses", text: (row) => resourcesText(row.resources) },
  { head: "Why", text: (row) => row.message || "", cell: (row) => html`<span title=${row.message}>${(row.message || "").split("\n")[0].slice(0, 80)}</span>` },
];

export function Tasks({ state, filter, onFilter }) {
  const list = [...state.tasks.values()].map((row) => ({ ...row, key: row.id, frameworkName: state.frameworks.get(row.framework)?.info.name || row.framework }));
  list.sort((a, b) => a.key.localeCompare(b.key, undefined, { numeric: true }));
  return html`<${Rows} id="tasks" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty="No task runs. Deploy a service with: proffer deploy examples/web.yaml" /><${Command} text="proffer tasks; proffer ps" />`;
}
