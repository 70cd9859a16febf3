"use strict";
const at = id => document.getElementById(id);
const stage = at("stage"), view = stage.getContext("2d");
const KINDS = {"false-alarm": "false alarm", "missed": "missed polyp", "still": "still"};
const drafts = new Map();  // name -> {mask, history, dirty}
let items = [], shown = [], current = null, frame = null, draft = null, tool = "brush", hidden = false;
let points = [], pointer = null, drawing = false, sending = false, queued = false;

function make(tag, text) { const made = document.createElement(tag); if (text !== undefined) made.textContent = text; return made; }
function say(text, bad) { at("message").textContent = text; at("message").toggleAttribute("data-bad", Boolean(bad)); }
function label(item) { return item.error ? "unreadable" : item.verdict ? (item.drawn ? "polyp, drawn" : item.verdict) : "open"; }
function time(item) { return item.taken.slice(0, 19).replace("T", " "); }

// ---- the list and the timeline ----
function arrange() {
  const only = at("open").checked;
  shown = items.filter(item => !only || item === current || !(item.verdict || item.error));
  if (at("order").value === "time") shown = [...shown].sort((a, b) => a.name.slice(5).localeCompare(b.name.slice(5)));
  at("list").replaceChildren(...shown.map(item => {
    const entry = make("li"), button = entry.appendChild(make("button"));
    const name = button.appendChild(make("b", KINDS[item.kind] || "unreadable"));
    name.title = item.name;
    button.appendChild(make("i", label(item)));
    button.appendChild(make("small", item.error ? item.name : time(item)));
    button.appendChild(make("small", item.error ? "" : "doubt " + item.doubt.toFixed(2)));
    mark(button, item);
    return entry;
  }));
  const byTime = [...items].sort((a, b) => a.name.slice(5).localeCompare(b.name.slice(5)));
  at("timeline").replaceChildren(...byTime.map(item => {
    const tick = make("button");
    tick.tabIndex = -1;
    tick.title = time(item) + ", " + (KINDS[item.kind] || "unreadable") + ", " + label(item);
    mark(tick, item);
    return tick;
  }));
  const count = {polyp: 0, clean: 0, skip: 0, open: 0};
  for (const item of items) if (!item.error) count[item.verdict || "open"] += 1;
  at("counts").textContent = count.open + " open, " + count.polyp + " polyp, " + count.clean + " clean, " + count.skip + " skipped";
  at("list").querySelector("[aria-current=true]")?.scrollIntoView({block: "nearest"});
}
function mark(button, item) {
  button.dataset.verdict = item.verdict;
  button.toggleAttribute("data-error", Boolean(item.error));
  button.setAttribute("aria-current", item === current);
  button.onclick = () => select(item);
}

// ---- one frame ----
async function picture(path) {
  const answer = await fetch(path, {cache: "no-store"});
  if (!answer.ok) throw new Error(answer.statusText);
  return createImageBitmap(await answer.blob());
}
function blankMask(item) {
  const mask = document.createElement("canvas");
  [mask.width, mask.height] = item.size;
  return mask;
}
async function readMask(item, which) {
  const mask = blankMask(item);
  if (which === "found" && item.found.length === 0) return mask;
  const on = mask.getContext("2d");
  on.drawImage(await picture(which + "/" + item.name), 0, 0);
  const pixels = on.getImageData(0, 0, mask.width, mask.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    pixels.data[i + 3] = pixels.data[i] > 127 ? 255 : 0;
    pixels.data[i] = pixels.data[i + 1] = pixels.data[i + 2] = 255;
  }
  on.putImageData(pixels, 0, 0);
  return mask;
}
async function select(item) {
  current = item;
  points = [];
  frame = draft = null;
  arrange();
  facts();
  buttons();
  if (!item || item.error) { blank(item ? item.error : "There is nothing to review."); return; }
  try {
    const [image, mask] = await Promise.all([
      picture("frame/" + item.name), drafts.has(item.name) ? null : readMask(item, item.drawn ? "mask" : "found")]);
    if (current !== item) return;
    frame = image;
    if (mask) drafts.set(item.name, {mask, history: [], dirty: false});
    draft = drafts.get(item.name);
  } catch {
    if (current === item) blank("The frame cannot be read: it was removed or changed.");
    return;
  }
  [stage.width, stage.height] = item.size;
  stage.hidden = false;
  at("blank").hidden = true;
  buttons();
  draw();
}
function blank(text) {
  stage.hidden = true;
  at("blank").hidden = false;
  at("blank").textContent = text;
  at("chip").textContent = "";
}
function facts() {
  const item = current, rows = {};
  if (item && !item.error) {
    Object.assign(rows, {
      kind: KINDS[item.kind], taken: time(item) + " UTC", frame: item.frame + (item.clip_ms === null ? "" : " at " + (item.clip_ms / 1000).toFixed(2) + " s"),
      "kept by": item.asked_by, shown: item.why ? "not judged: " + item.why : item.found.length + (item.found.length === 1 ? " region" : " regions"),
      "held back": item.held_back.length, "highest score": item.peak === null ? "\u2013" : item.peak.toFixed(2) + " (threshold " + item.threshold.toFixed(2) + ")",
      doubt: item.doubt.toFixed(2), bundle: item.bundle || "\u2013", digest: item.digest.slice(0, 12) || "\u2013", source: item.source || "\u2013", decision: label(item)});
  }
  at("facts").replaceChildren(...Object.entries(rows).flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
}
function filled() {
  const {data} = draft.mask.getContext("2d").getImageData(0, 0, draft.mask.width, draft.mask.height);
  for (let i = 3; i < data.length; i += 4) if (data[i] > 127) return true;
  return false;
}
function buttons() {
  const ready = Boolean(draft) && !sending;
  for (const id of ["clean", "skip", "accept", "reset", "empty", "hide"]) at(id).disabled = !ready;
  at("accept").disabled = !ready || !filled();
  at("accept").firstChild.data = ready && (draft.dirty || current.drawn) ? "Save drawn mask" : "Accept mask";
  at("withdraw").disabled = sending || !current || !current.verdict;
  at("undo").disabled = !ready || (!draft.history.length && !points.length);
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", button.dataset.tool === tool);
    button.disabled = !ready;
  }
  at("hide").setAttribute("aria-pressed", hidden);
}

// ---- drawing ----
function tinted(color, parts) {
  const layer = blankMask(current), on = layer.getContext("2d");
  parts(on);
  on.globalCompositeOperation = "source-in";
  on.fillStyle = color;
  on.fillRect(0, 0, layer.width, layer.height);
  return layer;
}
function draw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; paint(); });
}
function paint() {
  if (!draft || !frame) return;
  const line = Math.max(1, Math.round(stage.width / 500));
  view.globalAlpha = 1;
  view.drawImage(frame, 0, 0);
  if (!hidden) {
    view.globalAlpha = 0.25;
    view.drawImage(tinted("#00e678", on => on.drawImage(draft.mask, 0, 0)), 0, 0);
    view.globalAlpha = 1;
    view.drawImage(tinted("#00e678", on => {
      for (const x of [-line, 0, line]) for (const y of [-line, 0, line]) on.drawImage(draft.mask, x, y);
      on.globalCompositeOperation = "destination-out";
      on.drawImage(draft.mask, 0, 0);
    }), 0, 0);
    view.strokeStyle = "#ffbe00";
    view.lineWidth = line;
    view.setLineDash([4 * line, 3 * line]);
    for (const box of current.held_back) view.strokeRect(...box);
    view.setLineDash([]);
  }
  view.strokeStyle = "#ffffff";
  view.lineWidth = line;
  if (points.length) {
    view.beginPath();
    for (const point of [...points, ...(pointer ? [pointer] : [])]) view.lineTo(...point);
    view.stroke();
    for (const [x, y] of points) { view.beginPath(); view.arc(x, y, 2 * line, 0, 7); view.stroke(); }
  } else if (pointer && tool !== "polygon") {
    view.beginPath();
    view.arc(...pointer, width() / 2, 0, 7);
    view.stroke();
  }
  at("chip").textContent = KINDS[current.kind] + (draft.dirty ? ", edited" : "");
}
function width() { return Math.max(1, Number(at("size").value) / 400 * stage.width); }
function place(event) {
  const box = stage.getBoundingClientRect(), scale = Math.min(box.width / stage.width, box.height / stage.height);
  return [(event.clientX - box.left - box.width / 2) / scale + stage.width / 2,
    (event.clientY - box.top - box.height / 2) / scale + stage.height / 2];
}
function remember() {
  const copy = blankMask(current);
  copy.getContext("2d").drawImage(draft.mask, 0, 0);
  draft.history.push([copy, draft.dirty]);
  if (draft.history.length > 20) draft.history.shift();
}
function stroke(from, to) {
  const on = draft.mask.getContext("2d");
  on.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
  on.strokeStyle = "#ffffff";
  on.lineWidth = width();
  on.lineCap = "round";
  on.beginPath();
  on.moveTo(...from);
  on.lineTo(...to);
  on.stroke();
  draft.dirty = true;
}
function closePolygon() {
  if (points.length > 2) {
    remember();
    const on = draft.mask.getContext("2d");
    on.globalCompositeOperation = "source-over";
    on.fillStyle = "#ffffff";
    on.beginPath();
    for (const point of points) on.lineTo(...point);
    on.fill();
    draft.dirty = true;
  }
  points = [];
  buttons();
  draw();
}
stage.onpointerdown = event => {
  if (!draft || event.button || sending) return;
  event.preventDefault();
  pointer = place(event);
  if (tool === "polygon") {
    const near = points.length > 2 && Math.hypot(pointer[0] - points[0][0], pointer[1] - points[0][1]) < stage.width / 60;
    if (near) closePolygon(); else points.push(pointer);
  } else {
    stage.setPointerCapture(event.pointerId);
    remember();
    drawing = true;
    stroke(pointer, pointer);
  }
  buttons();
  draw();
};
stage.onpointermove = event => {
  if (!draft) return;
  const to = place(event);
  if (drawing && pointer) stroke(pointer, to);
  pointer = to;
  draw();
};
stage.onpointerup = stage.onpointercancel = () => { if (drawing) { drawing = false; buttons(); } };
stage.onpointerleave = () => { if (!drawing) { pointer = null; draw(); } };
stage.ondblclick = () => { if (tool === "polygon") closePolygon(); };

function undo() {
  if (!draft) return;
  if (points.length) points.pop();
  else if (draft.history.length) [draft.mask, draft.dirty] = draft.history.pop();
  buttons();
  draw();
}
async function replace(item, mask) {
  const made = await mask;
  if (current !== item || !draft) return;
  remember();
  draft.mask = made;
  draft.dirty = true;
  points = [];
  buttons();
  draw();
}

// ---- decisions ----
async function decide(verdict) {
  const item = current, work = draft;
  if (!item || sending || (!work && verdict !== null)) return;
  const body = {verdict};
  if (verdict === "polyp" && (work.dirty || item.drawn)) body.mask = work.mask.toDataURL("image/png").split(",")[1];
  sending = true;
  buttons();
  let answer = null, content = {};
  try {
    answer = await fetch("decide/" + item.name, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
    content = await answer.json();
  } catch { content = {error: answer ? "the frame is gone" : "the review has ended: nothing was kept"}; }
  sending = false;
  if (!answer || !answer.ok) { say(content.error || "not kept", true); buttons(); return; }
  drafts.delete(item.name);
  const changed = Object.assign(item, content);
  say(verdict === null ? "withdrawn" : "kept: " + label(changed));
  if (verdict === null || current !== item) { select(current); return; }
  const start = shown.indexOf(item);
  const left = [...shown.slice(start + 1), ...shown.slice(0, start)].find(other => !other.verdict && !other.error);
  if (!left) say("kept; every frame is decided");
  select(left || item);
}
function step(by) {
  const next = shown[shown.indexOf(current) + by];
  if (next) select(next);
}
function choose(name) { tool = name; points = []; buttons(); draw(); }
function resize(by) { at("size").value = Number(at("size").value) + by; draw(); }
const keys = {
  a: () => at("accept").click(), c: () => at("clean").click(), s: () => at("skip").click(), u: () => at("withdraw").click(),
  b: () => choose("brush"), e: () => choose("eraser"), p: () => choose("polygon"), z: undo, r: () => at("reset").click(), x: () => at("empty").click(),
  h: () => at("hide").click(), "[": () => resize(-4), "]": () => resize(4), arrowleft: () => step(-1), arrowright: () => step(1),
  enter: () => points.length && closePolygon(), escape: () => { points = []; buttons(); draw(); }, backspace: () => points.length && undo(),
};
document.onkeydown = event => {
  if (event.ctrlKey && event.key === "z") { undo(); event.preventDefault(); return; }
  const busy = event.target.matches("select, input") || (event.key === "Enter" && event.target.matches("button"));
  const act = keys[event.key.toLowerCase()];
  if (!act || busy || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
};
for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => choose(button.dataset.tool);
at("accept").onclick = () => decide("polyp");
at("clean").onclick = () => decide("clean");
at("skip").onclick = () => decide("skip");
at("withdraw").onclick = () => decide(null);
at("back").onclick = () => step(-1);
at("next").onclick = () => step(1);
at("undo").onclick = undo;
at("reset").onclick = () => replace(current, readMask(current, "found"));
at("empty").onclick = () => replace(current, blankMask(current));
at("hide").onclick = () => { hidden = !hidden; buttons(); draw(); };
at("size").oninput = draw;
at("order").onchange = at("open").onchange = arrange;
onbeforeunload = event => { if ([...drafts.values()].some(one => one.dirty)) event.preventDefault(); };

(async () => {
  const list = await (await fetch("items")).json();
  items = list.items;
  at("command").textContent = list.hint;
  at("others").hidden = !list.recordings;
  await select(items.find(item => !item.verdict && !item.error) || items[0] || null);
})();
