// The roles: their part, and what they use of the cluster.
import { html } from "../html.js";
import { Command, Rows } from "../parts.js";
import { milli, resourcesText } from "../format.js";

const share = (row) => `${(Number(row.dominant_share_ppm || 0) / 10000).toFixed(1)} %`;

const COLUMNS = [
  { head: "Role", text: (row) => row.name },
  { head: "Weight", text: (row) => milli(row.config?.weight_milli ?? 1000) },
  { head: "Dominant share", text: share },
  { head: "Uses", text: (row) => resourcesText(row.allocated) },
  { head: "Frameworks", text: (row) => (row.frameworkNames || []).join(", ") },
];

export function Roles({ state, filter, onFilter }) {
  const list = [...state.roles.values()].map((row) => ({ ...row, key: row.name, frameworkNames: (row.frameworks || []).map((id) => state.frameworks.get(id)?.info.name || id) }));
  return html`<${Rows} id="roles" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty="No role is in use." /><${Command} text="proffer roles; proffer roles set eng --weight 2" />`;
}
