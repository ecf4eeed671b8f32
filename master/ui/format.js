// Turns what the master says into what people read.

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value) {
  let number = Number(value);
  let unit = 0;
  while (number >= 1024 && unit < BYTE_UNITS.length - 1) { number /= 1024; unit += 1; }
  return `${number >= 100 || Number.isInteger(number) ? Math.round(number) : number.toFixed(1)} ${BYTE_UNITS[unit]}`;
}

export function milli(value) {
  return String(Math.round(Number(value)) / 1000);
}

const IN_BYTES = new Set(["mem", "disk"]);

/** Sums a resource list into {name: number}; ranges and sets count items, scalars keep their unit. */
export function totals(resources) {
  const sums = {};
  for (const entry of entries(resources)) {
    sums[entry.name] = (sums[entry.name] || 0) + entry.amount;
  }
  return sums;
}

function entries(resources) {
  const list = Array.isArray(resources) ? resources : (resources && resources.resources) || [];
  return list.map((entry) => {
    const name = entry.name || (entry.key && entry.key.name);
    const quantity = entry.quantity || entry;
    if (quantity.ranges !== undefined) {
      const parts = quantity.ranges.ranges || quantity.ranges.parts || quantity.ranges;
      return { name, amount: parts.reduce((sum, part) => sum + Number(part.high ?? part.end ?? part[1]) - Number(part.low ?? part.begin ?? part[0]) + 1, 0) };
    }
    if (quantity.set !== undefined) return { name, amount: (quantity.set.items || quantity.set).length };
    return { name, amount: Number(quantity.scalar ?? 0) };
  });
}

export function amount(name, value) {
  if (IN_BYTES.has(name)) return bytes(value);
  if (name === "ports") return String(value);
  return milli(value);
}

export function resourcesText(resources) {
  const sums = totals(resources);
  return Object.keys(sums).map((name) => `${amount(name, sums[name])} ${name}`).join(", ") || "–";
}

export function age(thenMs) {
  const then = Number(thenMs);
  if (!then) return "–";
  const seconds = Math.max(0, Math.floor((Date.now() - then) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

/** `TASK_STATE_RUNNING`, `running` → `running`. */
export function word(value) {
  return String(value || "").replace(/^(TASK_STATE|AGENT_CONDITION|STATUS_REASON)_/, "").toLowerCase().replaceAll("_", " ");
}

const TONES = {
  running: "good", active: "good", connected: "good", finished: "good", ready: "good",
  staging: "busy", taken: "busy", starting: "busy", killing: "busy", draining: "busy", awaited: "busy",
  failed: "bad", error: "bad", gone: "bad", unreachable: "bad", disconnected: "bad", dropped: "bad",
};

export function tone(text) {
  return TONES[text] || "calm";
}
