"use strict";
// The page works from its table alone; this adds sorting, filtering and the plots. It asks the network for nothing.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
// Okabe and Ito's colours for kinds; a ramp of viridis for what is ordered.
const KINDS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8A800"];
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [220, 210, 40]];
const GREY = "#8a8a8a";
const state = {sort: "", down: false, filter: "", color: "", x: "", y: "", log: "auto"};
const table = byId("runs"), body = table.tBodies[0], rows = [...body.rows];
const columnOf = Object.fromEntries(data.columns.map((column) => [column.key, column]));
const settings = data.columns.filter((column) => column.setting);
const value = (k, key) => data.runs[k].values[key];
const isNumber = (v) => typeof v === "number";
const plain = (v) => (isNumber(v) ? String(+v.toPrecision(4)) : v === null || v === undefined ? "–" : String(v));
const distinct = (key) => [...new Set(data.runs.map((run) => run.values[key]))].filter((v) => v !== null && v !== undefined);
const areNumbers = (values) => values.length > 0 && values.every(isNumber);
const order = (values) => values.sort((a, b) => (isNumber(a) && isNumber(b) ? a - b : String(a) < String(b) ? -1 : 1));

function ramp(share) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1), low = Math.min(Math.floor(at), RAMP.length - 2);
  return `rgb(${RAMP[low].map((c, i) => Math.round(c + (RAMP[low + 1][i] - c) * (at - low))).join(",")})`;
}
const widelySpread = (values) => areNumbers(values) && Math.min(...values) > 0 && Math.max(...values) >= 30 * Math.min(...values);

// Colour of each run, and what the legend says of it.
function coloring() {
  const key = state.color;
  if (key === "run") {
    const few = data.runs.length <= KINDS.length;
    return {of: (k) => (few ? KINDS[k] : data.runs[k].best ? KINDS[0] : GREY),
            legend: few ? data.runs.map((run, k) => [KINDS[k], run.label]) : [[GREY, "runs"], [KINDS[0], "the best"]]};
  }
  const values = order(distinct(key)), name = columnOf[key].title;
  if (areNumbers(values)) {
    const scale = widelySpread(values) ? Math.log : (v) => v;
    const low = scale(values[0]), span = scale(values[values.length - 1]) - low || 1;
    const of = (v) => (isNumber(v) ? ramp((scale(v) - low) / span) : GREY);
    const legend = values.length <= 8 ? values.map((v) => [of(v), `${name} ${plain(v)}`]) : null;
    return {of: (k) => of(value(k, key)), legend, ends: [name, values[0], values[values.length - 1]]};
  }
  const of = (v) => (values.indexOf(v) < 0 ? GREY : KINDS[values.indexOf(v) % KINDS.length]);
  return {of: (k) => of(value(k, key)), legend: values.map((v) => [of(v), `${name} ${plain(v)}`])};
}

// Words that a row must have, or a column compared with a number: nu>0.1
function matches(row, k) {
  return state.filter.split(/\s+/).filter(Boolean).every((word) => {
    const found = word.match(/^(.+?)(<=|>=|=|<|>)(.+)$/);
    const named = found ? data.columns.filter((c) => c.key.endsWith("." + found[1])) : [];
    const column = found && (data.columns.find((c) => c.key === found[1] || c.title === found[1]) || (named.length === 1 && named[0]));
    if (!column) return row.textContent.toLowerCase().includes(word.toLowerCase());
    const have = value(k, column.key), want = isNumber(have) ? Number(found[3]) : found[3];
    const there = have !== null && have !== undefined;
    return there && {"<": have < want, ">": have > want, "=": String(have) === String(want) || have === want,
                     "<=": have <= want, ">=": have >= want}[found[2]];
  });
}
const visible = () => rows.map((row) => +row.dataset.run).filter((k) => !rows[k].hidden);

const SVG = "http://www.w3.org/2000/svg";
function element(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}
function ticks(low, high, log) {
  if (log) {
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const m of [1, 3]) if (m * 10 ** e >= low * 0.999 && m * 10 ** e <= high * 1.001) found.push(m * 10 ** e);
    return found.length > 1 ? found.filter((_, i) => found.length <= 9 || i % 2 === 0) : [low, high];
  }
  const raw = (high - low) / 4 || 1, size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw), found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) found.push(+t.toPrecision(12));
  return found;
}
// An empty plot with its two axes; returns where a value lies.
function frame(place, title, names, x, y, height) {
  const width = Math.max(260, Math.round(place.clientWidth)), left = 52, right = 12, top = 24, bottom = 40;
  const svg = element(place, "svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title});
  element(svg, "text", {x: left, y: 15, class: "title"}, title);
  const scale = (axis, a, b) => {
    const f = axis.log ? Math.log : (v) => v, low = f(axis.low), span = f(axis.high) - low || 1;
    return (v) => a + ((f(v) - low) / span) * (b - a);
  };
  const px = scale(x, left, width - right), py = scale(y, height - bottom, top);
  for (const t of ticks(y.low, y.high, false)) {
    element(svg, "line", {x1: left, x2: width - right, y1: py(t), y2: py(t), class: "grid"});
    element(svg, "text", {x: left - 6, y: py(t) + 4, "text-anchor": "end"}, plain(t));
  }
  const numbers = x.values || ticks(x.low, x.high, x.log);
  const marks = x.names ? x.names.map((name, i) => [i, name]) : numbers.map((t) => [t, plain(t)]);
  const room = Math.max(1, Math.floor((width - left) / Math.max(marks.length, 1) / 7));
  for (const [t, name] of marks)
    element(svg, "text", {x: px(t), y: height - bottom + 16, "text-anchor": "middle"},
            name.length > room && x.names ? name.slice(0, Math.max(room - 1, 1)) + "…" : name);
  element(svg, "line", {x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, class: "axis"});
  element(svg, "text", {x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle"}, names[0]);
  element(svg, "text", {x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle",
                        transform: `rotate(-90 12 ${(top + height - bottom) / 2})`}, names[1]);
  return {svg, px, py, width};
}
function padded(values, log) {
  // No Math.min(...values): so many arguments as many runs have points are too many.
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  if (log) return {low: low / 1.3, high: high * 1.3, log};
  const pad = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
  return {low: low - pad, high: high + pad, log};
}
function tell(event, text) {
  const tip = byId("tip");
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = event.clientX === undefined || event.type === "focus" ? event.target.getBoundingClientRect() : null;
  const x = box ? box.right : event.clientX, y = box ? box.top : event.clientY;
  tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, y - tip.offsetHeight - 8)}px`;
}

function drawScatter() {
  const place = byId("scatter");
  if (!place) return;
  byId("against").hidden = false;
  place.replaceChildren();
  const points = visible().filter((k) => isNumber(value(k, state.y)) && value(k, state.x) !== null && value(k, state.x) !== undefined);
  if (!points.length) { place.textContent = "No run here has this error and this setting."; return; }
  const xs = order([...new Set(points.map((k) => value(k, state.x)))]), numeric = areNumbers(xs);
  const canLog = numeric && xs[0] > 0;
  byId("log").disabled = !canLog;
  const log = canLog && (state.log === "auto" ? widelySpread(xs) : state.log === "yes");
  byId("log").checked = log;
  const at = (k) => (numeric ? value(k, state.x) : xs.indexOf(value(k, state.x)));
  const x = numeric ? {...padded(xs, log), values: xs.length <= 8 ? xs : null} : {low: -0.5, high: xs.length - 0.5, names: xs.map(plain)};
  const ends = (k) => data.runs[k].intervals[state.y] || [value(k, state.y), value(k, state.y)];
  const y = padded(points.flatMap((k) => [...ends(k), value(k, state.y)]), false);
  const names = [columnOf[state.x].title, columnOf[state.y].title];
  const {svg, px, py} = frame(place, `${names[1]} against ${names[0]}`, names, x, y, 340);
  const colors = coloring();
  for (const k of points) {
    const [low, high] = ends(k), color = colors.of(k), cx = px(at(k));
    if (high > low) element(svg, "line", {x1: cx, x2: cx, y1: py(low), y2: py(high), stroke: color, opacity: 0.5});
    const said = `${data.runs[k].label}: ${names[1]} ${data.runs[k].texts[state.y]}, ${names[0]} ${plain(value(k, state.x))}`;
    const dot = element(svg, "circle", {cx, cy: py(value(k, state.y)), r: data.runs[k].best ? 6.5 : 4.5, fill: color,
                                        stroke: data.runs[k].best ? "#000" : "#fff", tabindex: 0, "data-run": k, "aria-label": said});
    for (const kind of ["pointerenter", "focus"]) dot.addEventListener(kind, (event) => tell(event, said));
    for (const kind of ["pointerleave", "blur"]) dot.addEventListener(kind, (event) => tell(event, ""));
    dot.addEventListener("click", () => open(k, true));
  }
}

function drawCurves() {
  const place = byId("curves");
  if (!place) return;
  place.replaceChildren();
  const colors = coloring(), shown = visible();
  const withCurves = (stage) => shown.filter((k) => data.runs[k].curves[stage.name]);
  const stages = data.stages.filter((stage) => withCurves(stage).length);
  // All places first: how wide one is depends on how many there are.
  const panels = stages.map(() => place.appendChild(document.createElement("div")));
  for (const [i, stage] of stages.entries()) {
    const drawn = withCurves(stage), panel = panels[i];
    const all = drawn.flatMap((k) => data.runs[k].curves[stage.name]);
    const x = padded(all.map((p) => p[0]), false), y = padded(all.map((p) => p[1]), false);
    const {svg, px, py, width} = frame(panel, stage.title, ["epoch", stage.axis], x, y, 260);
    const lines = new Map();
    for (const k of drawn) {
      const line = data.runs[k].curves[stage.name].map((p) => `${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`);
      // A line of one point would not be seen.
      const attributes = {points: (line.length > 1 ? line : [line[0], line[0]]).join(" "), stroke: colors.of(k), "stroke-linecap": "round"};
      lines.set(k, element(svg, "polyline", {...attributes, class: data.runs[k].best ? "curve best" : "curve", "data-run": k}));
    }
    const mark = element(svg, "circle", {r: 4, visibility: "hidden"});
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), factor = width / box.width;
      const mx = (event.clientX - box.left) * factor, my = (event.clientY - box.top) * factor;
      let nearest = null, least = 30 ** 2;
      for (const k of drawn)
        for (const p of data.runs[k].curves[stage.name]) {
          const far = (px(p[0]) - mx) ** 2 + (py(p[1]) - my) ** 2;
          if (far < least) { least = far; nearest = [k, p]; }
        }
      mark.setAttribute("visibility", nearest ? "visible" : "hidden");
      for (const [k, line] of lines) line.classList.toggle("dim", nearest !== null && k !== nearest[0]);
      if (!nearest) { tell(event, ""); return; }
      const [k, p] = nearest;
      for (const [name, v] of [["cx", px(p[0])], ["cy", py(p[1])], ["fill", colors.of(k)]]) mark.setAttribute(name, v);
      tell(event, `${data.runs[k].label}, epoch ${p[0]}: ${plain(p[1])}`);
    });
    svg.addEventListener("pointerleave", (event) => {
      mark.setAttribute("visibility", "hidden");
      for (const line of lines.values()) line.classList.remove("dim");
      tell(event, "");
    });
  }
}

function drawLegends() {
  const {legend, ends, of} = coloring();
  rows.forEach((row, k) => { row.querySelector("i").style.background = of(k); });
  for (const place of document.querySelectorAll(".legend")) {
    place.replaceChildren();
    for (const [color, name] of legend || []) {
      const entry = place.appendChild(document.createElement("span"));
      entry.appendChild(document.createElement("i")).style.background = color;
      entry.append(name);
    }
    if (!legend && ends) {
      const bar = document.createElement("b");
      bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(ramp).join(",")})`;
      place.append(`${ends[0]}  ${plain(ends[1])}`, bar, plain(ends[2]));
    }
  }
}

// What is known of a run beside its row: figures, command, versions.
function open(k, scroll) {
  const row = rows[k], next = row.nextElementSibling, button = row.querySelector("button");
  if (next && next.classList.contains("more") && !scroll) {
    next.remove();
    button.setAttribute("aria-expanded", "false");
    return;
  }
  if (!(next && next.classList.contains("more"))) {
    const more = document.createElement("tr"), cell = more.appendChild(document.createElement("td"));
    more.className = "more";
    cell.className = "details";
    cell.colSpan = data.columns.length;
    const list = cell.appendChild(document.createElement("dl"));
    for (const [name, text] of data.runs[k].facts) {
      list.appendChild(document.createElement("dt")).textContent = name;
      list.appendChild(document.createElement("dd")).textContent = text;
    }
    if (data.runs[k].filters) {
      const image = cell.appendChild(document.createElement("img"));
      image.alt = `Filters of ${data.runs[k].label}`;
      image.src = `data:image/jpeg;base64,${data.runs[k].filters}`;
    }
    row.after(more);
    button.setAttribute("aria-expanded", "true");
  }
  if (scroll) row.scrollIntoView({block: "center"});
}

function arrange() {
  rows.forEach((row, k) => {
    if (row.nextElementSibling && row.nextElementSibling.classList.contains("more")) row.nextElementSibling.remove();
    row.querySelector("button").setAttribute("aria-expanded", "false");
    row.hidden = !matches(row, k);
  });
  const ranked = rows.map((_, k) => k);
  if (state.sort) {
    const none = (v) => v === null || v === undefined;
    ranked.sort((a, b) => {
      const u = value(a, state.sort), v = value(b, state.sort);
      // What has no value comes last either way.
      if (none(u) || none(v)) return none(u) - none(v) || a - b;
      const less = isNumber(u) && isNumber(v) ? u - v : String(u).localeCompare(String(v), "en", {numeric: true});
      return (state.down ? -less : less) || a - b;
    });
  }
  body.append(...ranked.map((k) => rows[k]));
  for (const cell of table.tHead.rows[0].cells) {
    if (cell.dataset.key === state.sort) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
  byId("shown").textContent = `${visible().length} of ${rows.length} runs`;
}
function update() {
  arrange();
  drawLegends();
  drawScatter();
  drawCurves();
  const kept = new URLSearchParams();
  for (const key in state) if (state[key] && state[key] !== "auto") kept.set(key, state[key]);
  history.replaceState(null, "", kept.size ? `#${kept}` : location.pathname + location.search);
}
function choices(id, options, chosen) {
  const select = byId(id);
  if (!select) return;
  for (const [key, title] of options) select.add(new Option(title, key, false, key === state[id]));
  if (!state[id]) state[id] = chosen;
  select.value = state[id];
  select.addEventListener("change", () => { state[id] = select.value; if (id === "x") state.log = "auto"; update(); });
}

for (const [key, text] of new URLSearchParams(location.hash.slice(1))) if (key in state) state[key] = key === "down" ? true : text;
for (const key of ["sort", "color", "x", "y"]) if (state[key] && !columnOf[state[key]]) state[key] = "";
for (const cell of table.tHead.rows[0].cells) {
  const button = document.createElement("button");
  button.append(...cell.childNodes);
  cell.append(button);
  button.addEventListener("click", () => {
    state.down = state.sort === cell.dataset.key && !state.down;
    state.sort = cell.dataset.key;
    update();
  });
}
rows.forEach((row, k) => {
  const cell = row.cells[0], button = document.createElement("button");
  button.append(...[...cell.childNodes].filter((node) => node.nodeName !== "I"));
  cell.append(button);
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => open(k, false));
});
const figures = data.columns.filter((column) => column.figure);
const others = data.columns.filter((column) => !column.figure && !column.setting && areNumbers(distinct(column.key)));
const judged = figures.filter((column) => areNumbers(distinct(column.key)));
if (judged.length) {
  choices("y", judged.map((c) => [c.key, c.title]), judged[0].key);
  const axis = [...settings, ...others];
  const moving = settings.find((c) => areNumbers(distinct(c.key)) && distinct(c.key).length > 1);
  choices("x", axis.map((c) => [c.key, c.title]), (moving || axis[0]).key);
}
// So many runs have no colour each: that of a setting says more.
const telling = data.runs.length > KINDS.length
  ? settings.find((c) => c.key !== state.x && distinct(c.key).length > 1 && distinct(c.key).length <= KINDS.length) : null;
choices("color", [["run", "run"], ...settings.map((c) => [c.key, c.title])], telling ? telling.key : "run");
byId("filter").value = state.filter;
byId("filter").addEventListener("input", (event) => { state.filter = event.target.value; update(); });
if (byId("log")) byId("log").addEventListener("change", (event) => { state.log = event.target.checked ? "yes" : "no"; update(); });
for (const part of document.querySelectorAll(".controls")) part.hidden = false;
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawScatter(); drawCurves(); } });
update();
