// Every task that the master knows.
import { html } from "../html.js";
import { Command, Rows, State } from "../parts.js";
import { Age } from "../clock.js";
import { byName, resourcesText, word } from "../format.js";

const firstLine = (row) => (row.message || "").split("\n")[0];

const COLUMNS = [
  { head: "Task", text: (row) => row.key, cell: (row) => html`<a href=${`#/task/${row.key}`}>${row.name}</a>` },
  { head: "State", text: (row) => `${word(row.state)}${row.ready === false ? " not ready" : ""}`, cell: (row) => html`<${State} text=${word(row.state)} />${row.ready === false ? html` <${State} text="not ready" />` : null}` },
  { head: "Since", kind: "number", text: () => "", cell: (row) => html`<${Age} at=${row.at_ms} />` },
  { head: "Agent", text: (row) => row.agent_name || row.agent },
  { head: "Address", text: (row) => addresses(row).map(({ text }) => text).join(" "), cell: (row) => html`<${Addresses} row=${row} />` },
  { head: "Allocated", text: (row) => resourcesText(row.resources) },
  { head: "Framework", text: (row) => row.frameworkName },
  { head: "Role", text: (row) => row.role },
  { head: "Says", kind: "wrap", text: firstLine, cell: (row) => html`<span title=${row.message}>${firstLine(row).slice(0, 120)}</span>` },
];

/** Its named ports, each with where it answers. */
export function addresses(row) {
  return Object.entries(row.variables || {})
    .filter(([name]) => name.startsWith("port."))
    .map(([name, port]) => ({ name: name.slice("port.".length), text: `${row.address || row.agent_name}:${port}` }))
    .sort((a, b) => byName(a.name, b.name));
}

export function Addresses({ row }) {
  return addresses(row).map(({ name, text }) => html`<span key=${name} class="address" title=${`port ${name}`}><code>${text}</code> <span class="soft">${name}</span></span>`);
}

export function Tasks({ state, filter, onFilter }) {
  const list = [...state.tasks.values()].map((row) => ({ ...row, key: row.id, frameworkName: state.frameworks.get(row.framework)?.info.name || row.framework }));
  list.sort((a, b) => byName(a.key, b.key));
  return html`<${Rows} id="tasks" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty=${html`No task is known. Deploy a service with: <code>proffer deploy examples/web.yaml</code>`} /><${Command} text="proffer tasks; proffer ps" />`;
}
