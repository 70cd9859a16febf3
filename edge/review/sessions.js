"use strict";
const at = id => document.getElementById(id);
const stage = at("stage"), view = stage.getContext("2d"), line = at("line"), strip = line.getContext("2d");
const STATES = {boot: "blue", selftest: "blue", "no-signal": "white", running: "green", paused: "blue", degraded: "amber", bypass: "red"};
const JUMPS = ["found", "mark", "still"];
const color = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const cache = new Map();  // part -> promise of its lines
let sessions = [], session = null, now = 0, shown = null, playing = null, hidden = false, wanted = 0, dragging = false;

function make(tag, text) { const made = document.createElement(tag); if (text !== undefined) made.textContent = text; return made; }
function say(text, bad) { at("message").textContent = text; at("message").toggleAttribute("data-bad", Boolean(bad)); }
function clock(ms) {
  const all = Math.max(0, ms) / 1000, hours = Math.floor(all / 3600), rest = (all % 60).toFixed(1).padStart(4, "0");
  return (hours ? hours + ":" : "") + String(Math.floor(all / 60) % 60).padStart(2, "0") + ":" + rest;
}
function label(event) {
  if (event.event === "found") return event.regions + (event.regions === 1 ? " region found" : " regions found");
  if (event.event === "lost") return "lost";
  if (event.event === "state") return event.state.replace("-", " ").toUpperCase();
  return event.event + " kept";
}

// ---- one picture ----
function parts() { return [...session.segments, ...session.clips]; }
function partAt(ms) { return parts().find(part => part.begin_ms <= ms && ms <= part.end_ms) || null; }
function nearest(ms) {
  const after = parts().filter(part => part.begin_ms > ms).sort((a, b) => a.begin_ms - b.begin_ms)[0];
  const before = parts().filter(part => part.end_ms < ms).sort((a, b) => b.end_ms - a.end_ms)[0];
  return after && (!before || after.begin_ms - ms < ms - before.end_ms) ? after.begin_ms : before ? before.end_ms : null;
}
function lines(part) {
  const key = session.name + "/" + part.name;
  if (!cache.has(key)) {
    if (cache.size > 7) cache.delete(cache.keys().next().value);
    cache.set(key, fetch("lines/" + key, {cache: "no-store"}).then(answer => {
      if (!answer.ok) throw new Error(answer.statusText);
      return answer.json();
    }));
    cache.get(key).catch(() => cache.delete(key));
  }
  return cache.get(key);
}
function indexAt(found, ms) {
  let low = 0, high = found.length - 1;
  while (low < high) { const middle = (low + high + 1) >> 1; if (found[middle].at_ms <= ms) low = middle; else high = middle - 1; }
  return low;
}
async function seek(ms, step = 0) {
  const mine = ++wanted, of = session, part = partAt(ms);
  now = ms;
  strokes();
  if (!part) { blank(parts().length ? "Nothing is recorded at this time." : "No segment of this session is complete."); return; }
  try {
    const found = await lines(part);
    let index = indexAt(found.lines, ms) + step;
    if (index < 0 || index >= found.lines.length) { await seek(index < 0 ? nearest(part.begin_ms - 1) ?? ms : nearest(part.end_ms + 1) ?? ms); return; }
    if (step) now = found.lines[index].at_ms;
    const answer = await fetch("picture/" + of.name + "/" + part.name + "/" + index, {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.statusText);
    const image = await createImageBitmap(await answer.blob());
    if (session !== of || (mine < wanted && !playing)) return;
    shown = {image, part, line: found.lines[index], bundle: found.bundle};
    draw();
    strokes();
    facts();
  } catch { if (mine === wanted) blank("The picture cannot be read: it was removed or changed."); }
}
function blank(text) {
  shown = null;
  stage.hidden = true;
  at("blank").hidden = false;
  at("blank").textContent = text;
  at("chip").textContent = "";
}
function draw() {
  const {image, part, line: seen} = shown;
  [stage.width, stage.height] = part.size;
  stage.hidden = false;
  at("blank").hidden = true;
  view.drawImage(image, 0, 0);
  const scale = part.size[0] / part.frame_size[0], regions = seen.regions || [];
  if (!hidden) {
    view.strokeStyle = color("green");
    view.lineWidth = Math.max(1.5, part.size[0] / 400);
    for (const region of regions) {
      view.beginPath();
      for (const [x, y] of region.contour) view.lineTo((x + .5) * scale, (y + .5) * scale);
      view.closePath();
      view.stroke();
    }
    view.setLineDash([6, 4]);
    for (const {box: [x, y, w, h]} of seen.boxes || []) view.strokeRect(x * scale, y * scale, w * scale, h * scale);
    view.setLineDash([]);
  }
  const unjudged = seen.regions === null, some = regions.length > 0;
  const state = seen.state === "running" ? "" : seen.state.replace("-", " ").toUpperCase() + ", ";
  at("chip").textContent = unjudged ? state + "– not judged: " + seen.reason : state + (some ? regions.length + (regions.length === 1 ? " region" : " regions") : "none found");
  at("chip").toggleAttribute("data-found", some);
  at("chip").toggleAttribute("data-unjudged", unjudged);
}

// ---- the timeline ----
function span() { return Math.max(1, session.end_ms); }
function strokes() {
  const width = line.width = line.clientWidth * devicePixelRatio, height = line.height = line.clientHeight * devicePixelRatio;
  const x = ms => Math.max(0, Math.min(1, ms / span())) * width, least = 2 * devicePixelRatio;
  const bar = (begin, end, top, tall, fill) => { strip.fillStyle = fill; strip.fillRect(x(begin), top * height, Math.max(least, x(end) - x(begin)), tall * height); };
  strip.fillStyle = "#000";
  strip.fillRect(0, 0, width, height);
  strip.strokeStyle = color("edge");
  strip.beginPath();
  for (let at = -height; at < width; at += 8 * devicePixelRatio) { strip.moveTo(at, height * .8); strip.lineTo(at + height * .8, 0); }
  strip.stroke();
  for (const clip of session.clips) bar(clip.begin_ms, clip.end_ms, 0, .8, "#1d3a33");
  for (const part of session.segments) bar(part.begin_ms, part.end_ms, 0, .8, color("edge"));
  let found = null, state = null;
  for (const event of [...session.events, {event: "end", at_ms: session.end_ms}]) {
    if (event.event === "found") found = event.at_ms;
    else if (found !== null && ["lost", "end"].includes(event.event)) { bar(found, event.shown_ms ?? event.at_ms, .15, .5, color("green")); found = null; }
    if (["state", "end"].includes(event.event)) {
      if (state && state.state !== "running") bar(state.at_ms, event.at_ms, .8, .2, color(STATES[state.state] || "edge"));
      state = event;
    }
  }
  for (const event of session.events) if (["mark", "still"].includes(event.event)) bar(event.at_ms, event.at_ms, 0, .8, color("white"));
  bar(now, now, 0, 1, color("red"));
  line.setAttribute("aria-valuemax", Math.round(session.end_ms));
  line.setAttribute("aria-valuenow", Math.round(now));
  line.setAttribute("aria-valuetext", clock(now));
  at("clock").textContent = clock(now) + " / " + clock(session.end_ms);
}
function pointed(event) {
  const box = line.getBoundingClientRect();
  return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * session.end_ms;
}
line.onpointerdown = event => { if (!session) return; line.setPointerCapture(event.pointerId); dragging = true; stop(); seek(pointed(event)); };
line.onpointermove = event => { if (dragging) seek(pointed(event)); };
line.onpointerup = line.onpointercancel = () => { dragging = false; };

// ---- playing ----
function stop() { if (playing) { playing = null; at("play").firstChild.data = "Play"; } }
async function play() {
  if (playing) { stop(); return; }
  if (!session || !parts().length) return;
  if (now >= session.end_ms - 50) now = 0;
  const mine = playing = {}, speed = () => Number(at("speed").value);
  at("play").firstChild.data = "Pause";
  let last = performance.now();
  while (playing === mine) {
    await new Promise(requestAnimationFrame);
    const moment = performance.now();
    let to = now + (moment - last) * speed();
    last = moment;
    if (to >= session.end_ms) { now = session.end_ms; stop(); break; }
    if (!partAt(to)) to = parts().map(part => part.begin_ms).filter(begin => begin > to).sort((a, b) => a - b)[0] ?? session.end_ms;
    await seek(to);
    last = Math.max(last, performance.now() - 200);  // a slow picture does not make a jump
  }
}

// ---- the side ----
function facts() {
  const rows = {pseudonym: session.pseudonym, began: session.began.slice(0, 19).replace("T", " ") + " UTC", length: clock(session.end_ms),
    "the run": session.ended ? "ended" : "is running, or was cut short", segments: session.segments.length, clips: session.clips.length,
    "not recorded": session.dropped === null ? "–" : session.dropped + " frames"};
  if (shown) Object.assign(rows, {frame: shown.line.frame, state: shown.line.state, picture: shown.line.black ? "black: not in the body, or no field of view" : shown.part.size.join(" × "),
    bundle: shown.bundle ? shown.bundle.name + " " + shown.bundle.engine : "–", digest: shown.bundle ? shown.bundle.digest.slice(0, 12) : "–"});
  at("facts").replaceChildren(...Object.entries(rows).flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
}
function events() {
  const all = [...session.events, ...session.gaps.map(([ms, why]) => ({at_ms: ms, event: "gap", reason: why}))].sort((a, b) => a.at_ms - b.at_ms);
  at("list").replaceChildren(...all.map(event => {
    const entry = make("li"), button = entry.appendChild(make("button"));
    entry.dataset.event = event.event === "state" && event.state === "running" ? "running" : event.event;
    button.appendChild(make("b", event.event === "gap" ? "not recorded" : label(event)));
    button.appendChild(make("i", clock(event.at_ms)));
    button.appendChild(make("small", event.name || event.reason || ""));
    button.onclick = () => { stop(); seek(partAt(event.at_ms) ? event.at_ms : nearest(event.at_ms) ?? event.at_ms); };
    return entry;
  }));
}
function select(name) {
  stop();
  session = sessions.find(one => one.name === name) || null;
  at("list").replaceChildren();
  at("facts").replaceChildren();
  if (!session || session.error) { const why = session ? session.error : "There is no recording."; session = null; blank(why); return; }
  at("command").textContent = at("command").dataset.folder + "/" + session.name;
  shown = null;
  events();
  facts();
  const first = session.events.find(event => JUMPS.includes(event.event) && partAt(event.at_ms));
  seek(first ? first.at_ms : nearest(-1) ?? 0);
}
function jump(by) {
  if (!session) return;
  stop();
  const times = session.events.filter(event => JUMPS.includes(event.event)).map(event => event.at_ms);
  const to = by > 0 ? times.find(ms => ms > now + 1) : times.reverse().find(ms => ms < now - 1);
  if (to === undefined) say(by > 0 ? "there is no later event" : "there is no earlier event"); else { say(""); seek(to); }
}
function move(by) { if (session && shown) { stop(); seek(now, by); } }
const keys = {" ": play, h: () => at("hide").click(), p: () => jump(-1), n: () => jump(1), arrowleft: () => move(-1), arrowright: () => move(1)};
document.onkeydown = event => {
  const busy = event.target.matches("select") || (event.key === " " && event.target.matches("button"));
  const act = keys[event.key.toLowerCase()];
  if (!act || busy || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
};
at("play").onclick = play;
at("before").onclick = () => jump(-1);
at("after").onclick = () => jump(1);
at("back").onclick = () => move(-1);
at("next").onclick = () => move(1);
at("hide").onclick = () => { hidden = !hidden; at("hide").setAttribute("aria-pressed", hidden); if (shown) draw(); };
at("session").onchange = () => select(at("session").value);
onresize = () => { if (session) strokes(); };

(async () => {
  const list = await (await fetch("sessions")).json();
  sessions = list.sessions;
  at("others").hidden = !list.marks;
  at("command").dataset.folder = list.folder;
  at("counts").textContent = sessions.length + (sessions.length === 1 ? " session" : " sessions");
  at("session").replaceChildren(...sessions.map(one => {
    const option = make("option", one.error ? one.name + ": unreadable" : one.pseudonym + ", " + one.began.slice(0, 16).replace("T", " "));
    option.value = one.name;
    return option;
  }));
  select(sessions.length ? sessions[0].name : "");
})();
