"use strict";
// Everything is made from the data in this file, as text: nothing of it is read as HTML, and nothing is loaded.
const DATA = JSON.parse(document.getElementById("data").textContent);
const COUNT = DATA.texts.name.codes.length, PAGE = 50, MOST_GROUPS = 25, MOST_DOTS = 400;
const FILTERS = ["study", "endpoint", "feature set", "model", "person", "data version", "status"];
const GROUPS = ["feature sets", "model", "study", "endpoint", "person", "data version"];
const state = { filters: { status: DATA.current }, text: "", metric: "", group: "feature sets", sort: "", down: true,
  page: 0 };

const byId = id => document.getElementById(id);
const text = (name, row) => DATA.texts[name].values[DATA.texts[name].codes[row]];
const make = (tag, content, attributes = {}) => {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[content].flat());
  return made;
};
const drawn = (tag, attributes, content) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (content !== undefined) made.textContent = content;
  return made;
};
const number = value => Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en")
  : Math.abs(value) >= 10 || (value !== 0 && Math.abs(value) < .001) ? value.toPrecision(3) : value.toFixed(3);
const shown = value => !value ? "\u2013"
  : number(value[0]) + (value.length === 3 ? ` (${number(value[1])} to ${number(value[2])})` : "");
// A metric's name without its horizon, and the horizon in years where it has one.
const title = metric => {
  const found = /^(.+)_(\d+)$/.exec(metric);
  return found ? `${found[1].replaceAll("_", " ")}, ${+(found[2] / 365.25).toFixed(1)} years`
    : metric.replaceAll("_", " ");
};
const short = value => /^[0-9a-f]{40,}$/.test(value) ? value.slice(0, 12) : value;
const better = (metric, a, b) => (DATA.directions[metric] < 0 ? b - a : a - b) > 0;
const setsOf = row => text("feature sets", row).split("+");

const matches = row => Object.entries(state.filters).every(([name, wanted]) => wanted === ""
    || (name === "feature set" ? setsOf(row).includes(wanted) : text(name, row) === wanted))
  && (state.text === "" || text("experiment", row).toLowerCase().includes(state.text));
const selected = () => Array.from({ length: COUNT }, (_, row) => row).filter(matches);

// Of the metrics that the rows have, the kind most looked at (they stand in that order), at the horizon that most rows
// have; of two such the longer one.
const mainMetric = rows => {
  const known = Object.keys(DATA.metrics).map(name => [name, rows.filter(row => DATA.metrics[name][row]).length])
    .filter(([, times]) => times > 0);
  const base = name => name.replace(/_\d+$/, "");
  const kind = known.filter(([name]) => base(name) === base(known[0][0]));
  return kind.reduce((one, other) => other[1] >= one[1] ? other : one, ["", 0])[0];
};

function drawStudies() {
  const heads = ["study", "last run", "people", "experiments", "endpoint", "best experiment", "metric", "estimate",
    "report"];
  byId("studies").tHead.append(make("tr", heads.map(head => make("th", head, { scope: "col" }))));
  const studies = Map.groupBy ? Map.groupBy(Array.from({ length: COUNT }, (_, row) => row), row => text("study", row))
    : group(Array.from({ length: COUNT }, (_, row) => row), row => text("study", row));
  const lastRun = rows => rows.map(row => text("date", row)).sort().at(-1);
  const ordered = [...studies].sort(([, a], [, b]) => lastRun(a) < lastRun(b) ? 1 : -1);
  for (const [study, rows] of ordered) {
    const now = rows.filter(row => text("status", row) === DATA.current);
    const people = [...new Set(rows.map(row => text("person", row)))].filter(Boolean).sort().join(", ");
    const endpoints = group(now.length ? now : rows, row => text("endpoint", row));
    let first = true;
    for (const [endpoint, own] of [...endpoints].sort()) {
      const metric = mainMetric(own), values = DATA.metrics[metric] || [];
      const best = own.filter(row => values[row]).reduce((one, row) => one === null
        || better(metric, values[row][0], values[one][0]) ? row : one, null);
      const report = rows.map(row => text("report", row)).find(Boolean);
      const lead = first ? [study, lastRun(rows).replace("T", " "), people, String(now.length)] : ["", "", "", ""];
      byId("studies").tBodies[0].append(make("tr", [...lead, endpoint].map(cell => make("td", cell))
        .concat(make("td", best === null ? "\u2013" : text("experiment", best)),
          make("td", metric ? title(metric) : "\u2013"), make("td", best === null ? "\u2013" : shown(values[best]),
            { class: "n" }),
          make("td", report && first ? make("a", "report", { href: report }) : ""))));
      first = false;
    }
  }
}

function group(rows, key) {
  const found = new Map();
  for (const row of rows) {
    const name = key(row);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(row);
  }
  return found;
}

function choice(name, label, options, value, changed) {
  const list = make("select", options.map(([own, words]) => make("option", words, { value: own })), { id: `f-${name}` });
  list.value = value;
  list.addEventListener("change", () => { changed(list.value); state.page = 0; draw(); });
  byId("filters").append(make("div", [make("label", label, { for: `f-${name}` }), list]));
}

function drawFilters() {
  for (const name of FILTERS) {
    const values = name === "feature set"
      ? [...new Set(DATA.texts["feature sets"].values.flatMap(value => value.split("+")))].sort()
      : DATA.texts[name].values;
    const options = [["", "all"], ...values.filter(Boolean).map(value => [value, short(value)])];
    const start = values.includes(state.filters[name]) ? state.filters[name] : "";
    state.filters[name] = start;
    choice(name.replace(" ", "-"), name, options, start, value => { state.filters[name] = value; });
  }
  const box = make("input", [], { id: "f-text", type: "search" });
  box.addEventListener("input", () => { state.text = box.value.toLowerCase(); state.page = 0; draw(); });
  byId("filters").append(make("div", [make("label", "experiment contains", { for: "f-text" }), box]));
  byId("filters").addEventListener("submit", event => event.preventDefault());
  state.metric = mainMetric(selected());
  choice("metric", "metric", Object.keys(DATA.metrics).map(name => [name, title(name)]), state.metric,
    value => { state.metric = value; state.sort = ""; });
  choice("group", "plot by", GROUPS.map(name => [name, name]), state.group, value => { state.group = value; });
}

function sorted(rows) {
  const values = DATA.metrics[state.metric] || [];
  const value = state.sort === "" ? row => values[row] ? values[row][0] : null : row => text(state.sort, row);
  const down = state.sort === "" && state.down === null ? DATA.directions[state.metric] >= 0 : state.down;
  return rows.map(row => [value(row), row]).sort(([a], [b]) => {
    if (a === null || b === null || a === "" || b === "") return (a === null || a === "") - (b === null || b === "");
    const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
    return down ? -order : order;
  }).map(([, row]) => row);
}

const COLUMNS = ["study", "endpoint", "feature sets", "model", "person", "data version", "date", "status"];

function drawHead() {
  const heads = ["experiment", "", ...COLUMNS, "fingerprint", "report"].map(name => {
    if (name === "fingerprint" || name === "report") return make("th", name, { scope: "col" });
    const button = make("button", name === "" ? title(state.metric || "metric") : name, { type: "button" });
    const head = make("th", button, { scope: "col", class: name === "" ? "n" : "" });
    if (state.sort === name) head.setAttribute("aria-sort", direction() ? "descending" : "ascending");
    button.addEventListener("click", () => {
      state.down = state.sort === name ? !direction() : name === "" || name === "date";
      state.sort = name;
      state.page = 0;
      draw();
    });
    return head;
  });
  byId("runs").tHead.replaceChildren(make("tr", heads));
}

const direction = () => state.down === null ? DATA.directions[state.metric] >= 0 : state.down;

function drawRows(rows) {
  const values = DATA.metrics[state.metric] || [];
  const body = rows.slice(state.page * PAGE, (state.page + 1) * PAGE).map(row => {
    const report = text("report", row);
    return make("tr", [make("td", text("experiment", row)), make("td", shown(values[row]), { class: "n" }),
      ...COLUMNS.map(name => make("td", short(text(name, row)).replace("T", name === "date" ? " " : "T"),
        { class: ["date", "data version", "status"].includes(name) ? "short" : "" })),
      make("td", short(text("fingerprint", row))),
      make("td", report ? make("a", "report", { href: report }) : "")]);
  });
  byId("runs").tBodies[0].replaceChildren(...body);
  const last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
  const step = (words, target, possible) => {
    const button = make("button", words, { type: "button" });
    button.disabled = !possible;
    button.addEventListener("click", () => { state.page = target; draw(); });
    return button;
  };
  byId("pages").replaceChildren(step("previous", state.page - 1, state.page > 0),
    step("next", state.page + 1, state.page < last), `page ${state.page + 1} of ${last + 1}`);
}

const median = ordered => (ordered[Math.floor((ordered.length - 1) / 2)] + ordered[Math.ceil((ordered.length - 1) / 2)]) / 2;

function drawPlot(rows) {
  const values = DATA.metrics[state.metric] || [];
  const found = [...group(rows.filter(row => values[row]), row => text(state.group, row))].map(([name, own]) => {
    const ordered = own.map(row => values[row][0]).sort((a, b) => a - b);
    const best = own.reduce((one, row) => better(state.metric, values[row][0], values[one][0]) ? row : one);
    return { name, ordered, best, median: median(ordered) };
  }).sort((a, b) => better(state.metric, a.median, b.median) ? -1 : 1);
  const groups = found.slice(0, MOST_GROUPS);
  byId("plot-title").textContent = state.metric ? `${title(state.metric)} by ${state.group}` : "";
  byId("plot-note").textContent = !groups.length ? "No run has this metric." : "Each dot is a run, the line the median, "
    + "the orange square the best of the group with its interval; the best of many is flattered by chance. Runs of "
    + "different studies, endpoints or data were evaluated on different people: filter before you compare."
    + `${groups.some(own => own.ordered.length > MOST_DOTS) ? " Of large groups only some dots are drawn." : ""}${
      found.length > MOST_GROUPS
      ? ` The first ${MOST_GROUPS} of ${found.length} groups.` : ""}`;
  if (!groups.length) { byId("plot").replaceChildren(); return; }
  const all = groups.flatMap(own => [own.ordered[0], own.ordered.at(-1), ...values[own.best]]);
  let low = Math.min(...all), high = Math.max(...all);
  if (low === high) { low -= .5; high += .5; }
  const left = 250, width = 900, line = 24, height = groups.length * line + 34;
  const x = value => left + (width - left - 20) * (value - low) / (high - low);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${title(state.metric)} by ${state.group}; the table below has the values` });
  for (let tick = 0; tick <= 4; tick += 1) {
    const value = low + (high - low) * tick / 4;
    svg.append(drawn("line", { class: "grid", x1: x(value), x2: x(value), y1: 4, y2: height - 24 }),
      drawn("text", { x: x(value), y: height - 8, "text-anchor": "middle" }, number(value)));
  }
  groups.forEach((own, place) => {
    const y = place * line + 18, [estimate, lower, upper] = values[own.best];
    const label = short(own.name) || "none", words = label.length > 28 ? `${label.slice(0, 27)}\u2026` : label;
    svg.append(drawn("text", { x: left - 10, y: y + 4, "text-anchor": "end" }, `${words} (${own.ordered.length})`));
    const every = Math.max(1, Math.ceil(own.ordered.length / MOST_DOTS));
    own.ordered.forEach((value, rank) => {
      if (rank % every === 0) svg.append(drawn("circle", { class: "dot", cx: x(value), cy: y, r: 3.5 }));
    });
    if (upper !== undefined) {
      svg.append(drawn("line", { class: "range", x1: x(lower), x2: x(upper), y1: y, y2: y }));
    }
    svg.append(drawn("line", { class: "median", x1: x(own.median), x2: x(own.median), y1: y - 8, y2: y + 8 }),
      drawn("rect", { class: "best", x: x(estimate) - 4, y: y - 4, width: 8, height: 8 }));
  });
  byId("plot").replaceChildren(svg);
}

function draw() {
  // A metric that no chosen run has would leave an empty plot: take one that they have.
  if (state.metric && !selected().some(row => DATA.metrics[state.metric][row])) {
    const other = mainMetric(selected());
    if (other) { state.metric = other; byId("f-metric").value = other; }
  }
  const rows = sorted(selected());
  byId("count").textContent = `${rows.length.toLocaleString("en")} of ${COUNT.toLocaleString("en")} runs`;
  drawHead();
  drawRows(rows);
  drawPlot(rows);
}

state.down = null;
byId("about").textContent = `Made ${DATA.made} UTC from the store of runs. Settings and aggregates only: no rows of `
  + "subjects. It names the people who ran the studies; this one file needs no network.";
drawStudies();
drawFilters();
draw();
