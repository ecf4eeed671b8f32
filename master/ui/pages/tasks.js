// Every task that the master knows.
import { html } from "../html.js";
import { Command, Rows, State } from "../parts.js";
import { age, resourcesText, word } from "../format.js";
import { taskKey } from "../cluster.js";

const COLUMNS = [
  { head: "Task", text: (row) => row.key, cell: (row) => html`<a href=${`#/task/${encodeURIComponent(row.key)}`}>${row.status.task}</a>` },
  { head: "Framework", text: (row) => row.frameworkName },
  { head: "State", text: (row) => word(row.status.state), cell: (row) => html`<${State} text=${word(row.status.state)} />${row.status.ready === false ? " not ready" : ""}` },
  { head: "Since", text: (row) => age(row.status.at) },
  { head: "Agent", text: (row) => row.agent_name || row.status.agent },
  { head: "Uses", text: (row) => resourcesText(row.resources) },
  { head: "Why", text: (row) => row.status.message || "", cell: (row) => html`<span title=${row.status.message}>${(row.status.message || "").split("\n")[0].slice(0, 80)}</span>` },
];

export function Tasks({ state, filter, onFilter }) {
  const list = [...state.tasks.values()].map((row) => ({ ...row, key: taskKey(row), frameworkName: state.frameworks.get(row.status.framework)?.info.name || row.status.framework }));
  list.sort((a, b) => a.key.localeCompare(b.key, undefined, { numeric: true }));
  return html`<${Rows} id="tasks" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty="No task runs. Deploy a service with: proffer deploy examples/web.yaml" /><${Command} text="proffer tasks; proffer ps" />`;
}
