// The roles: their part, and what they use of the cluster.
import { html } from "../html.js";
import { Command, Rows } from "../parts.js";
import { byName, milli, resourcesText } from "../format.js";

const percent = (row) => Number(row.dominant_share_ppm || 0) / 10000;

const COLUMNS = [
  { head: "Role", text: (row) => row.name, cell: (row) => html`<b>${row.name}</b>` },
  { head: "Weight", kind: "number", text: (row) => milli(row.config?.weight_milli ?? 1000) },
  { head: "Dominant share", text: (row) => `${percent(row).toFixed(1)} %`, cell: (row) => html`<div class="share"><div class="bar"><div class="allocated" style=${`width:${Math.min(100, percent(row))}%`}></div></div><span class="bar-share">${percent(row).toFixed(1)} %</span></div>` },
  { head: "Allocated", text: (row) => resourcesText(row.allocated) },
  { head: "Guarantee", text: (row) => resourcesText(row.config?.guarantee) },
  { head: "Limit", text: (row) => resourcesText(row.config?.limit) },
  { head: "Frameworks", text: (row) => (row.frameworkNames || []).join(", ") },
];

export function Roles({ state, filter, onFilter }) {
  const list = [...state.roles.values()].map((row) => ({ ...row, key: row.name, frameworkNames: (row.frameworks || []).map((id) => state.frameworks.get(id)?.info.name || id) }));
  list.sort((a, b) => byName(a.key, b.key));
  return html`<${Rows} id="roles" columns=${COLUMNS} rows=${list} filter=${filter} onFilter=${onFilter} empty="No role is in use." /><${Command} text="proffer roles; proffer roles set eng --weight 2" />`;
}
