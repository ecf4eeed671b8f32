// What is offered right now, to whom, and for what.
import { html } from "../html.js";
import { Command, Rows } from "../parts.js";
import { byName, resourcesText } from "../format.js";

const COLUMNS = [
  { head: "Offer", text: (row) => row.id },
  { head: "Framework", text: (row) => row.frameworkName },
  { head: "Role", text: (row) => row.role },
  { head: "Agent", text: (row) => row.agent_name || row.agent },
  { head: "For", text: (row) => (row.group ? `${row.count} × ${row.group}` : "anything") },
  { head: "Resources", text: (row) => resourcesText(row.resources) },
];

export function Offers({ state, filter, onFilter }) {
  const list = [...state.offers.values()].map((row) => ({ ...row, key: row.id, frameworkName: state.frameworks.get(row.framework)?.info.name || row.framework }));
  list.sort((a, b) => byName(a.key, b.key));
  return html`<${Rows} id="offers" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty="No offer is outstanding. Offers are made for what frameworks ask for, and most are answered at once." /><${Command} text="proffer offers" />`;
}
