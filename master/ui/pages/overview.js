// What the cluster has, what is allocated, and what happened last.
import { html } from "../html.js";
import { Bars, Command, State } from "../parts.js";
import { Age } from "../clock.js";
import { word } from "../format.js";

const WAITING_SHOWN_MAX = 10;
const EVENTS_SHOWN_MAX = 15;

export function Overview({ state }) {
  const agents = [...state.agents.values()];
  const usable = agents.filter((agent) => agent.condition === "active");
  const all = (pick) => usable.flatMap((agent) => pick(agent) || []);
  return html`
    <div class="overview">
      <div class="card" id="capacity"><h2>Allocated, of all active agents</h2>
        ${usable.length ? html`<${Bars} total=${all((agent) => agent.info.resources)} allocated=${all((agent) => agent.allocated)} offered=${all((agent) => agent.offered)} />` : html`<p class="empty">No agent is active yet. Start one with: <code>proffer agent</code></p>`}
      </div>
      <div class="card"><h2>In numbers</h2><table class="figures"><tbody>
        <${Counts} page="agents" title="Agents" counts=${count(agents, (agent) => word(agent.condition))} />
        <${Counts} page="frameworks" title="Frameworks" counts=${count([...state.frameworks.values()], (framework) => (framework.connected ? "connected" : "disconnected"))} />
        <${Counts} page="tasks" title="Tasks" counts=${count([...state.tasks.values()], (task) => word(task.state))} />
        <${Counts} page="offers" title="Offers" counts=${state.offers.size ? { outstanding: state.offers.size } : {}} />
      </tbody></table></div>
      <div class="card" id="events"><h2>What happened</h2><${Events} state=${state} /></div>
      <div class="card" id="waiting"><h2>Waiting for a place</h2><${Waiting} state=${state} /></div>
    </div>
    <${Command} text="proffer agents; proffer tasks; proffer events -f" />`;
}

function Counts({ page, title, counts }) {
  const names = Object.keys(counts).sort();
  const sum = names.reduce((all, name) => all + counts[name], 0);
  return html`<tr id=${`count-${page}`}><th><a href=${`#/${page}`}>${title}</a></th><td class="number"><b>${sum}</b></td>
    <td>${names.map((name) => html`<span key=${name} class="figure">${names.length > 1 ? counts[name] : ""} <${State} text=${name} /></span>`)}</td></tr>`;
}

function Events({ state }) {
  if (state.events.length === 0) return html`<p class="empty">Nothing yet.</p>`;
  return html`<ul class="events">${state.events.slice(0, EVENTS_SHOWN_MAX).map((event, at) => html`<li key=${`${event.at_ms}-${at}`}><${Age} at=${event.at_ms} /><span class="subject">${event.subject}</span><span>${event.message}</span></li>`)}</ul>`;
}

function Waiting({ state }) {
  const waiting = [...state.demand.values()]
    .filter((demand) => Number(demand.unmet) > 0)
    .map((demand) => ({ framework: state.frameworks.get(demand.framework), demand }))
    .filter(({ framework }) => framework);
  if (waiting.length === 0) return html`<p class="empty">Nothing waits.</p>`;
  const rest = waiting.length - WAITING_SHOWN_MAX;
  return html`<ul class="events">${waiting.slice(0, WAITING_SHOWN_MAX).map(({ framework, demand }) => html`<li key=${`${framework.id}/${demand.group.name}`}>
      <${Age} at=${demand.waiting_since_ms} /><span><b>${demand.unmet}</b> of ${demand.group.target} × <a href=${`#/why/demand/${framework.id}/${demand.group.name}`} title="Why does it wait?">${demand.group.name}</a> of ${framework.info.name}</span></li>`)}
    ${rest > 0 ? html`<li>and ${rest} more</li>` : null}</ul>`;
}

function count(list, key) {
  const counts = {};
  for (const item of list) counts[key(item)] = (counts[key(item)] || 0) + 1;
  return counts;
}
