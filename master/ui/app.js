// The page: which view is shown, the navigation, and the one connection to the master.
import { render } from "preact";
import { signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { html } from "./html.js";
import { follow, link, open, rows, trouble } from "./cluster.js";
import { login } from "./session.js";
import { State } from "./parts.js";
import { Overview } from "./pages/overview.js";
import { Agents } from "./pages/agents.js";
import { Frameworks } from "./pages/frameworks.js";
import { Tasks } from "./pages/tasks.js";
import { Task } from "./pages/task.js";
import { Offers } from "./pages/offers.js";
import { Roles } from "./pages/roles.js";
import { Why } from "./pages/why.js";

const PAGES = [
  ["", "Overview", Overview, null],
  ["agents", "Agents", Agents, "agents"],
  ["frameworks", "Frameworks", Frameworks, "frameworks"],
  ["tasks", "Tasks", Tasks, "tasks"],
  ["offers", "Offers", Offers, "offers"],
  ["roles", "Roles", Roles, "roles"],
];

const place = signal(read());

/** The address after '#': `#/tasks?q=web` → {page, rest, query}. */
function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/");
  return { page, rest: rest.map(decoded).join("/"), query: new URLSearchParams(query || "") };
}

/** Text of an address part; one that is not encoded well is shown as it stands. */
function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

addEventListener("hashchange", () => { place.value = read(); });
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, textarea")) return;
  const filter = document.getElementById("filter");
  if (filter) { event.preventDefault(); filter.focus(); }
});

function setFilter(text) {
  const { page, rest } = place.value;
  const query = text ? `?q=${encodeURIComponent(text)}` : "";
  history.replaceState(null, "", `#/${page}${rest ? `/${rest}` : ""}${query}`);
  place.value = read();
}

/** Pages that are reached from others, not by the navigation. */
const DETAILS = { task: Task, why: Why };

const LINK_WORDS = { connecting: "connecting", live: "live", lost: "lost", denied: "not permitted" };
const LINK_HINTS = { lost: "The connection to the master is lost; trying again. What is shown may be old." };

function TokenForm() {
  const text = useSignal("");
  const submit = (event) => { event.preventDefault(); login(text.value); };
  return html`<form class="card" onSubmit=${submit}>
    <h2>A token is needed</h2>
    <p>The master did not accept this browser. Paste its token, or open the address that <code>proffer dev</code> printed.</p>
    <input type="password" aria-label="Token" value=${text.value} onInput=${(event) => { text.value = event.target.value; }} /> <button>Continue</button>
  </form>`;
}

function App() {
  useEffect(() => { follow(); }, []);
  const { page, rest, query } = place.value;
  const state = rows.value;
  const entry = PAGES.find(([name]) => name === page);
  const View = entry ? entry[2] : DETAILS[page] || Nowhere;
  document.title = `${rest || (entry ? entry[1] : page)} · Proffer`;
  const insecure = [...state.agents.values()].filter((agent) => agent.info?.insecure).length;
  return html`
    <header>
      <h1>Proffer</h1>
      <nav>${PAGES.map(([name, title, , table]) => html`<a key=${name} href=${`#/${name}`} aria-current=${name === page ? "page" : undefined}>${title}${table ? html`<span class="count">${state[table].size}</span>` : null}</a>`)}</nav>
      <span class="link" id="link" title=${LINK_HINTS[link.value]}><${State} text=${LINK_WORDS[link.value]} /></span>
    </header>
    ${open.value ? html`<div class="banner">This master lets everybody in: it runs with --insecure.</div>` : null}
    ${insecure ? html`<div class="banner">${insecure} agent${insecure > 1 ? "s speak" : " speaks"} without TLS.</div>` : null}
    ${link.value === "lost" ? html`<div class="banner">${trouble.value || LINK_HINTS.lost}</div>` : null}
    <main>${link.value === "denied" ? html`<${TokenForm} />` : link.value === "connecting" ? html`<p class="empty">Connecting…</p>` : html`<${View} state=${state} rest=${rest} query=${query} filter=${query.get("q") || ""} onFilter=${setFilter} />`}</main>`;
}

function Nowhere() {
  return html`<p class="empty">There is no such page. <a href="#/">Overview</a></p>`;
}

const root = document.getElementById("page");
root.textContent = "";
render(html`<${App} />`, root);
