// What the cluster has, what is used, and what happened last.
import { html } from "../html.js";
import { Bars, Command, State } from "../parts.js";
import { age, totals, word } from "../format.js";

export function Overview({ state }) {
  const agents = [...state.agents.values()];
  const usable = agents.filter((agent) => word(agent.condition) === "active");
  const sum = (pick) => usable.reduce((all, agent) => add(all, totals(pick(agent))), {});
  const asList = (sums) => Object.entries(sums).map(([name, scalar]) => ({ name, scalar }));
  const waiting = [...state.frameworks.values()].flatMap((framework) => (framework.demand || []).map((demand) => ({ framework, demand }))).filter(({ demand }) => Number(demand.unmet) > 0);
  return html`
    <div class="cards">
      <div class="card" id="capacity"><h2>Capacity of active agents</h2>
        ${usable.length ? html`<${Bars} total=${asList(sum((agent) => agent.info.resources))} allocated=${asList(sum((agent) => agent.allocated))} offered=${asList(sum((agent) => agent.offered))} />` : html`<p class="empty">No agent is active yet.</p>`}
      </div>
      <${Counts} title="Agents" id="count-agents" counts=${count(agents, (agent) => word(agent.condition))} />
      <${Counts} title="Frameworks" id="count-frameworks" counts=${count([...state.frameworks.values()], (framework) => (framework.connected ? "connected" : "disconnected"))} />
      <${Counts} title="Tasks" id="count-tasks" counts=${count([...state.tasks.values()], (task) => word(task.state))} />
      <div class="card"><h2>Waiting for a place</h2>
        ${waiting.length ? html`<ul class="events">${waiting.slice(0, 10).map(({ framework, demand }) => html`<li key=${`${framework.id}/${demand.group.name}`}>${demand.unmet} × ${demand.group.name} of ${framework.info.name}, since ${age(demand.waiting_since_ms)}</li>`)}</ul>` : html`<p class="empty">Nothing waits.</p>`}
      </div>
      <div class="card"><h2>What happened</h2>
        ${state.events.length ? html`<ul class="events">${state.events.slice(0, 12).map((event, at) => html`<li key=${`${event.at_ms}-${at}`}><time>${age(event.at_ms)}</time>${event.message}</li>`)}</ul>` : html`<p class="empty">Nothing since this page was opened.</p>`}
      </div>
    </div>
    <${Command} text="proffer agents; proffer tasks; proffer events -f" />`;
}

function Counts({ title, id, counts }) {
  const names = Object.keys(counts).sort();
  return html`<div class="card" id=${id}><h2>${title}</h2>
    ${names.length ? html`<ul class="figures">${names.map((name) => html`<li key=${name}><b>${counts[name]}</b><${State} text=${name} /></li>`)}</ul>` : html`<p class="empty">None.</p>`}
  </div>`;
}

function count(list, key) {
  const counts = {};
  for (const item of list) counts[key(item)] = (counts[key(item)] || 0) + 1;
  return counts;
}

function add(all, more) {
  for (const [name, value] of Object.entries(more)) all[name] = (all[name] || 0) + value;
  return all;
}
