// The files of a task: one directory at a time, read when it is opened and when the task changes.
import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../html.js";
import { bytes, byName } from "../format.js";
import { readJson } from "../session.js";

export function Sandbox({ path, state, onSizes }) {
  const place = useSignal("");
  const files = useSignal(null);
  const note = useSignal("");
  const read = () => readJson(`${path}/files?path=${encodeURIComponent(place.value)}`)
    .then((body) => {
      files.value = body.entries.sort((a, b) => byName(a.name, b.name));
      note.value = body.truncated ? "There are more files than are shown." : "";
      if (!place.value) onSizes(Object.fromEntries(body.entries.map((file) => [file.name, Number(file.size || 0)])));
    })
    .catch((error) => { files.value = []; note.value = error.message; });
  useEffect(() => { read(); }, [place.value, state]);
  const inside = (name) => (place.value ? `${place.value}/${name}` : name);
  const up = place.value.split("/").slice(0, -1).join("/");
  return html`<div class="card" id="sandbox"><h2>Sandbox <code>/${place.value}</code> <button onClick=${read}>Read again</button></h2>
    ${files.value === null ? html`<p class="empty">Reading…</p>` : html`<table class="files"><tbody>
      ${place.value ? html`<tr><td><button class="plain" onClick=${() => { place.value = up; }}>..</button></td><td></td></tr>` : null}
      ${files.value.map((file) => html`<tr key=${file.name}><td>${file.kind === "directory"
        ? html`<button class="plain" onClick=${() => { place.value = inside(file.name); }}>${file.name}/</button>`
        : file.kind === "file" ? html`<a href=${`${path}/files?path=${encodeURIComponent(inside(file.name))}`} download=${file.name}>${file.name}</a>`
        : `${file.name} (${file.kind})`}</td><td class="number">${file.kind === "directory" ? "" : bytes(file.size || 0)}</td></tr>`)}
    </tbody></table>`}
    ${note.value ? html`<p class="empty">${note.value}</p>` : files.value?.length === 0 ? html`<p class="empty">Empty.</p>` : null}
  </div>`;
}
