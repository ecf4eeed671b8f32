// Why something waits: the master's own explanation, asked once when the page is opened.
import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../html.js";
import { Command } from "../parts.js";
import { readJson } from "../session.js";

/** `rest` is `KIND/SUBJECT`: `demand/f1/web-6d5c`, `framework/f1`, `agent/a2`. */
export function Why({ rest }) {
  const answer = useSignal(null);
  const note = useSignal("");
  const [kind, ...subject] = rest.split("/");
  const ask = () => readJson(`/v1/why/${[kind, ...subject].map(encodeURIComponent).join("/")}`)
    .then((body) => { answer.value = body.explanation; note.value = ""; })
    .catch((error) => { note.value = error.message; });
  useEffect(() => { answer.value = null; ask(); }, [rest]);
  const why = answer.value;
  return html`<section class="card" id="why">
      <h2>Why does ${kind} ${subject.join("/")} wait? <button onClick=${ask}>Ask again</button></h2>
      ${note.value ? html`<p class="empty">${note.value}</p>` : why === null ? html`<p class="empty">Asking…</p>` : html`
        <p>${why.summary}</p>
        ${why.funnel.length ? html`<table><thead><tr><th>Rule</th><th class="number">Agents left</th></tr></thead>
          <tbody>${why.funnel.map((step) => html`<tr key=${step.rule}><td>${step.rule}</td><td class="number">${step.remaining}</td></tr>`)}</tbody></table>` : null}
        ${why.nearest_miss ? html`<p>Nearest: ${why.nearest_miss}</p>` : null}
        ${why.hints.length ? html`<ul>${why.hints.map((hint) => html`<li key=${hint}>${hint}</li>`)}</ul>` : null}`}
    </section>
    <${Command} text=${`proffer why ${subject.join("/")}`} />`;
}
