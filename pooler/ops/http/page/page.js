// Draws /v1/live. Everything that comes from outside goes through textContent; nothing is ever parsed as HTML.

const STEPS = 60; // of five seconds each, in a sparkline
const RETRY_MS = 2000;
const STALE_MS = 5000;
const TOKEN = "pooler-token";
const byId = (id) => document.getElementById(id);

let state = null; // the newest event
let receivedAt = 0;

// ---- words -------------------------------------------------------------------------------------------

const count = (number) => number.toLocaleString("en");

function bytes(number) {
  if (number === null) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) { number /= 1000; unit += 1; }
  return `${number.toFixed(unit && number < 100 ? 1 : 0)} ${units[unit]}`;
}

function seconds(number) {
  if (number === null) return "–";
  if (number < 10) return `${number.toFixed(1)} s`;
  if (number < 120) return `${Math.round(number)} s`;
  if (number < 7200) return `${Math.round(number / 60)} min`;
  return `${(number / 3600).toFixed(1)} h`;
}

function share(done, failed) {
  const all = done + failed;
  if (!all) return "–";
  const percent = 100 * done / all;
  // 100 is said only where nothing failed.
  return `${failed ? Math.min(99.9, percent).toFixed(1) : 100} %`;
}

const clock = (iso) => new Date(iso).toLocaleTimeString("en-GB");

// The words and the symbol say it; the colour only repeats it.
function remoteState(remote) {
  if (remote.paused) return ["‖ paused", "warn", 2];
  if (remote.maintenance_until) return [`‖ maintenance until ${clock(remote.maintenance_until)}`, "warn", 3];
  const at = state.service.together && remote.state_at.length < told() ? `, at ${remote.state_at.join(", ")}` : "";
  if (remote.state === "open") return [`▲ away, next try in ${seconds(remote.retry_s)}${at}`, "bad", 0];
  if (remote.state === "half_open") return [`▲ on trial${at}`, "bad", 1];
  if (remote.full_s !== null) return ["▲ full, uploads wait", "warn", 3];
  return ["✓ well", "good", 4];
}

const told = () => state.pods.filter((pod) => pod.told).length;

// ---- drawing -----------------------------------------------------------------------------------------

function set(node, name, value) {
  if (node[name] !== value) node[name] = value;
}

// On a narrow screen a table is laid out as a list, which would take its meaning from it: so it is told in words.
for (const [kind, role] of [["table", "table"], ["thead, tbody", "rowgroup"], ["tr", "row"], ["th", "columnheader"]]) {
  for (const node of document.querySelectorAll(kind)) node.setAttribute("role", role);
}

// rows(table, keys, draw): one row a key, in that order; a row that stays is neither moved nor made anew, so that
// focus and a selection stay with it. One that has to move takes the focus along.
function rows(id, items, keyOf, cells, none) {
  const table = byId(id);
  const body = table.tBodies[0];
  const labels = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const numeric = [...table.tHead.rows[0].cells].map((cell) => cell.className);
  const kept = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const wanted = items.length ? items : [null];
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  wanted.forEach((item, index) => {
    const key = item === null ? "\0none" : keyOf(item);
    let row = kept.get(key);
    kept.delete(key);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.key = key;
      row.setAttribute("role", "row");
      if (item === null) {
        row.className = "none";
        row.insertCell().colSpan = labels.length;
        row.cells[0].setAttribute("role", "cell");
      } else {
        labels.forEach((label, at) => {
          const cell = row.insertCell();
          cell.setAttribute("role", "cell");
          cell.dataset.label = label;
          cell.className = numeric[at];
        });
      }
    }
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] || null);
    if (item === null) set(row.cells[0], "textContent", none);
    else cells(item).forEach((value, at) => fill(row.cells[at], value));
  });
  for (const row of kept.values()) row.remove();
  while (body.rows.length > wanted.length) body.deleteRow(-1); // of two with one key
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

function fill(cell, value) {
  if (typeof value === "function") { value(cell); return; }
  const [text, kind] = Array.isArray(value) ? value : [value, ""];
  const shown = text === null || text === undefined ? "" : String(text);
  set(cell, "textContent", shown);
  cell.toggleAttribute("data-empty", shown === "");
  for (const name of ["good", "bad", "warn"]) cell.classList.toggle(name, name === kind);
}

function named(name, host) {
  return (cell) => {
    if (!cell.firstChild) cell.append(document.createElement("span"), " ", document.createElement("small"));
    set(cell.firstChild, "textContent", name);
    set(cell.lastChild, "textContent", host);
  };
}

function buttons(...wanted) {
  return (cell) => {
    const made = [...cell.children];
    wanted.forEach(([words, label, act], at) => {
      let button = made[at];
      if (!button) {
        button = document.createElement("button");
        button.type = "button";
        cell.append(button);
      }
      set(button, "textContent", words);
      button.setAttribute("aria-label", label);
      button.onclick = () => act(button);
    });
    made.slice(wanted.length).forEach((button) => button.remove());
  };
}

// The line is for the eye alone; the number beside it is for everybody.
function spark(files) {
  return (cell) => {
    let svg = cell.querySelector("svg");
    if (!svg) {
      svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.classList.add("spark");
      svg.setAttribute("viewBox", `0 0 ${STEPS - 2} 20`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("aria-hidden", "true");
      svg.append(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
      cell.append(document.createElement("span"), svg);
    }
    const whole = files.slice(0, -1); // the newest is not over yet
    const top = Math.max(1, ...whole);
    const points = whole.map((number, at) => `${at},${(19 - 18 * number / top).toFixed(1)}`).join(" ");
    if (svg.firstChild.getAttribute("points") !== points) svg.firstChild.setAttribute("points", points);
    set(cell.querySelector("span"), "textContent", ((whole.at(-1) ?? 0) / 5).toFixed(1));
  };
}

function draw() {
  set(byId("version"), "textContent", state.service.version);
  drawStrip();
  drawPods();
  drawRemotes();
  set(byId("running-count"), "textContent", state.service.running > state.running.length
    ? `${state.running.length} of ${count(state.service.running)}` : count(state.service.running));
  rows("running", state.running, (job) => job.origin, (job) => [
    job.task_id, job.source, job.destination, job.pod, bytes(job.bytes), `${bytes(job.bytes_per_s)}/s`, seconds(job.running_s),
    job.cancelled ? "being cancelled" : buttons(["Cancel", `Cancel ${job.task_id}`, (button) => cancel(button, job)]),
  ], "none runs");
  rows("failures", state.failures, (cause) => `${cause.remote} ${cause.error_code}`, (cause) => [
    cause.remote ?? "–", [cause.error_code, "bad"], count(cause.jobs), `${clock(cause.newest.at)} ${cause.newest.task_id}`,
    [cause.newest.error, cause.newest.reply && `server: ${cause.newest.reply}`].filter(Boolean).join(" — "),
  ], "none has failed since the start");
  rows("ended", state.ended, (job) => `${job.origin} ${job.at}`, (job) => [
    clock(job.at), job.task_id, job.remote ?? "–",
    job.status === "failed" ? [`✗ ${job.error_code}`, "bad"] : [job.status === "skipped" ? "✓ skipped" : "✓ copied", "good"],
    job.bytes ? bytes(job.bytes) : "", job.duration_ms ? `${count(job.duration_ms)} ms` : "",
    job.verified === "none" ? "" : job.verified,
  ], "none yet");
  rows("partitions", state.partitions, (at) => `${at.topic}-${at.partition}`, (at) => [
    `${at.topic}-${at.partition}`, at.pod,
    at.state === "stopped" ? ["▲ stopped", "bad"] : at.state === "paused" ? ["‖ paused", "warn"] : ["✓ running", "good"],
    at.lag === null ? "–" : count(at.lag), count(at.in_hand), seconds(at.oldest_age_s),
    [at.reason, at.way_on].filter(Boolean).join(": "),
  ], "none is assigned");
  rows("folders", state.folders, (folder) => folder.name, (folder) => [
    folder.name,
    folder.paused_at.length ? [`▲ ${folder.reason.replace("_", " ")} for ${seconds(folder.paused_s)}`, "bad"] : ["✓ well", "good"],
    bytes(folder.free_bytes), count(folder.waiting),
    folder.error && (state.service.together ? `${folder.paused_at.join(", ")}: ${folder.error}` : folder.error),
  ], "none is configured");
  for (const wide of document.querySelectorAll(".wide")) set(wide, "tabIndex", wide.scrollWidth > wide.clientWidth ? 0 : -1);
}

function podState(pod) {
  if (pod.silent) return [pod.told ? "▲ silent" : `▲ silent for ${seconds(pod.heard_s)}, not counted`, "bad"];
  if (!pod.told) return ["… is being asked", "warn"];
  if (pod.draining) return ["‖ draining", "warn"];
  return pod.ready ? ["✓ ready", "good"] : [`▲ ${pod.reasons.join(", ")}`, "bad"];
}

function drawPods() {
  rows("pods", state.pods, (pod) => pod.pod, (pod) => [
    pod.me ? `${pod.pod} (this one)` : pod.pod, podState(pod),
    ...(pod.told
      ? [count(pod.running), pod.files_per_s.toFixed(1), `${bytes(pod.bytes_per_s)}/s`, pod.lag === null ? "–" : count(pod.lag),
        `${count(pod.window_records)}, ${bytes(pod.window_bytes)}`, pod.version]
      : ["", "", "", "", "", ""]),
  ], "");
}

function drawStrip() {
  const { service, pods } = state;
  const shown = pods.map((pod) => [pod.pod, ...podState(pod)]);
  const bad = shown.filter(([, , kind]) => kind !== "good");
  const words = service.together
    ? `${bad.length ? "▲" : "✓"} ${pods.length - bad.length} of ${pods.length} ready` : shown[0][1];
  const trouble = byId("pods-trouble");
  trouble.hidden = !service.together || !bad.length;
  set(trouble, "textContent", bad.map(([pod, said]) => `${pod}: ${said}`).join(" — "));
  const parts = [
    [service.together ? "Pods" : "State", words, bad.length ? "bad" : "good"],
    ["Lag", service.lag === null ? "–" : count(service.lag), ""],
    ["Running", count(service.running), ""],
    ["Oldest job", seconds(service.oldest_job_age_s), ""],
    ["Files/s", spark5(service), ""],
    ["MB/s", (service.bytes_per_s / 1e6).toFixed(1), ""],
    ["Failed, 5 min", failedShare(service), service.failed_5min ? "bad" : ""],
  ];
  const strip = byId("strip");
  parts.forEach(([title, text, kind], at) => {
    let part = strip.children[at];
    if (!part) {
      part = document.createElement("div");
      part.append(document.createElement("dt"), document.createElement("dd"));
      strip.append(part);
    }
    set(part.firstChild, "textContent", title);
    if (typeof text === "function") text(part.lastChild);
    else set(part.lastChild, "textContent", text);
    set(part.lastChild, "className", kind);
  });
}

const spark5 = (service) => (cell) => {
  spark(service.files)(cell);
  set(cell.querySelector("span"), "textContent", service.files_per_s.toFixed(1));
};

function failedShare({ done_5min: done, failed_5min: failed }) {
  const percent = failed ? 100 * failed / (done + failed) : 0;
  return failed ? `${percent < 0.1 ? "< 0.1" : percent.toFixed(percent < 10 ? 1 : 0)} %` : "0 %";
}

function drawRemotes() {
  const words = byId("filter").value.trim().toLowerCase();
  const onlyTrouble = byId("trouble").checked;
  const all = state.remotes.map((remote) => ({ remote, shown: remoteState(remote) }));
  const meant = all.filter(({ remote, shown }) =>
    (!words || `${remote.name} ${remote.host}`.toLowerCase().includes(words)) && (!onlyTrouble || shown[2] < 4));
  meant.sort((a, b) => a.shown[2] - b.shown[2] || a.remote.name.localeCompare(b.remote.name));
  const sick = all.filter(({ shown }) => shown[2] < 2).length;
  set(byId("remotes-count"), "textContent",
    `${meant.length} of ${all.length}${sick ? `, ${sick} in trouble` : ""}`);
  rows("remotes", meant, ({ remote }) => remote.name, ({ remote, shown }) => {
    return [
      named(remote.name, remote.host), [shown[0], shown[1]], `${remote.busy} busy, ${remote.idle} idle`,
      remote.limit_reason ? `${remote.limit}: ${remote.limit_reason}` : String(remote.limit),
      remote.waiting ? `${count(remote.waiting)}, ${seconds(remote.oldest_wait_s)}` : "0",
      spark(remote.files),
      [share(remote.done_5min, remote.failed_5min), remote.failed_5min ? "bad" : ""],
      [share(remote.done_1h, remote.failed_1h), remote.failed_1h ? "bad" : ""],
      remote.p95_s === null ? "–" : remote.p95_s < 1 ? `${Math.round(1000 * remote.p95_s)} ms` : seconds(remote.p95_s),
      remote.last_error ?? "",
      buttons(
        remote.paused
          ? ["Resume", `Resume ${remote.name}`, (button) => steer(button, remote.name, "resume")]
          : ["Pause", `Pause ${remote.name}`, (button) => steer(button, remote.name, "pause")],
        ["Drain", `Drain ${remote.name}`, (button) => steer(button, remote.name, "drain")],
        ["Probe", `Probe ${remote.name}`, (button) => probe(button, remote.name)],
        ["Try again", `Try ${remote.name} again`, (button) => steer(button, remote.name, "reset")],
      ),
    ];
  }, all.length ? "none is meant" : "none is configured, or the service is still connecting");
}

// ---- acting ------------------------------------------------------------------------------------------

const headers = () => {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

function tell(words, kind = "") {
  const message = byId("message");
  message.hidden = !words;
  message.dataset.kind = kind;
  message.textContent = words;
}

// `words` may be made of the answer.
async function act(button, path, query, words) {
  if (button.getAttribute("aria-disabled")) return;
  button.setAttribute("aria-disabled", "true"); // not disabled: that would take the focus from it
  try {
    const answer = await fetch(`v1/${path}?${new URLSearchParams(query)}`, { method: "POST", headers: headers() });
    if (answer.ok) tell(...(typeof words === "function" ? words(await answer.json()) : [words]));
    else {
      const problem = await answer.json().catch(() => ({}));
      tell(`Not done: ${problem.detail ?? `${answer.status} ${answer.statusText}`}`, "bad");
      if (answer.status === 401 || answer.status === 403) askForToken();
    }
  } catch (error) {
    tell(`Not known whether it was done: ${error.message}`, "bad");
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

const DONE = { pause: "paused", resume: "resumed", drain: "being drained", reset: "tried again" };
const steer = (button, name, verb) =>
  act(button, `remotes/${encodeURIComponent(name)}/${verb}`, { why: "from the page" }, `${name}: ${DONE[verb]}`);
const probe = (button, name) => {
  tell(`${name}: being tried out`);
  return act(button, `remotes/${encodeURIComponent(name)}/probe`, { why: "from the page" }, (came) => came.ok
    ? [`${name}: answers in ${seconds(came.seconds)}, ${[came.peer, came.tls_version].filter(Boolean).join(", ")}`]
    : [`${name}: ${came.error_code}: ${[came.error, came.dialogue.at(-1)].filter(Boolean).join(" — ")}`, "bad"]);
};
const cancel = (button, job) =>
  act(button, "jobs/cancel", { task_id: job.task_id, why: "from the page" }, `${job.task_id}: being cancelled`);

function askForToken() {
  byId("token-form").hidden = false;
  byId("token").focus();
}

byId("token-button").onclick = () => {
  const form = byId("token-form");
  form.hidden = !form.hidden;
  if (!form.hidden) byId("token").focus();
};
byId("token-form").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  byId("token").value = "";
  byId("token-form").hidden = true;
  tell("");
  again();
};
byId("token-forget").onclick = () => {
  sessionStorage.removeItem(TOKEN);
  byId("token-form").hidden = true;
  again();
};
byId("filter").oninput = () => state && drawRemotes();
byId("trouble").onchange = () => state && drawRemotes();
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    byId("filter").focus();
  }
});

// ---- reading -----------------------------------------------------------------------------------------

function take(text) {
  state = JSON.parse(text);
  receivedAt = performance.now();
  connected();
  if (!document.hidden) draw();
}

function connected() {
  const age = performance.now() - receivedAt;
  const lost = !state || age > Math.max(STALE_MS, 2500 * state.every_s);
  const link = byId("link");
  set(link.dataset, "state", lost ? "lost" : "live");
  set(link, "textContent", lost ? "no connection" : "live");
  set(byId("updated"), "textContent", state ? `· updated ${Math.floor(age / 1000)} s ago` : "");
}

// EventSource cannot send a token; the same stream is read with fetch.
let reading = null;
async function read(signal) {
  const answer = await fetch("v1/live", { headers: headers(), signal, cache: "no-store" });
  if (answer.status === 401 || answer.status === 403) {
    askForToken();
    tell("This service asks for a token.", "");
  }
  if (!answer.ok) throw new Error(`${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done: ended } = await reader.read();
    if (ended) return;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    const newest = events.findLast((event) => event.startsWith("data: "));
    if (newest) take(newest.slice("data: ".length));
  }
}

async function follow(signal) {
  while (!signal.aborted) {
    try {
      await read(signal);
      if (state) continue; // a stream has an end, and another one begins
    } catch (error) { if (signal.aborted) return; }
    connected();
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function again() {
  reading?.abort();
  reading = new AbortController();
  follow(reading.signal);
}

setInterval(connected, 1000);
document.addEventListener("visibilitychange", () => !document.hidden && state && draw());
again();
