"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const place = (id) => document.getElementById(id);
  const drawing = place("chart").namespaceURI;

  // ---- what is shown

  const state = {section: 0, hidden: new Set(), whole: false, at: null};
  let chart = null;

  const section = () => data.sections[state.section];
  const nameOf = (one) => `${one.id}, seed ${one.seed}: ${one.title}`;
  const anchorOf = (index) => `#${encodeURIComponent(data.sections[index].id)}-seed-${data.sections[index].seed}-${index + 1}`;
  const shown = () => data.laws.map((_, law) => law).filter((law) => !state.hidden.has(law));

  // ---- elements and figures

  function make(space, name, attributes, children) {
    const element = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }
  const html = (name, attributes = {}, ...children) => make(document.documentElement.namespaceURI, name, attributes, children);
  const svg = (name, attributes = {}, ...children) => make(drawing, name, attributes, children);

  const number = (value, digits = 0) =>
    value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
  const fixed = (value, digits) => (value === null ? "–" : number(value, digits));
  const rate = (value) => number(value, value === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2);
  const limitText = (value) => (value === null ? "unlimited" : rate(value));

  // Palette first, then the same colours broken: one look a law for as many laws as there are.
  const COLOURS = 6;
  const BROKEN = ["", "7 3", "2 2"];
  const colour = (law) => `var(--law-${law % COLOURS})`;
  const strokeOf = (law) => `stroke:${colour(law)};stroke-dasharray:${BROKEN[Math.floor(law / COLOURS) % BROKEN.length] || "none"}`;
  const swatch = (kind, style = "") =>
    svg("svg", {width: 22, height: 10, "aria-hidden": "true"}, svg("path", {class: `line ${kind}`, d: "M0 5H22", style}));

  // Fill, text on it, and whether it is hatched: what a failure rules is hatched, so that colour is not all that tells.
  const REASONS = {
    unlimited: ["#d5dbe0", "#14181c"], demand: ["#a6cfe8", "#14181c"], set_point: ["#2f7fb8", "#ffffff"],
    draining: ["#e69f00", "#14181c"], slow_start: ["#4db38c", "#14181c"], learning: ["#f0e08a", "#14181c"],
    group_stalled: ["#d9663b", "#14181c", true], group_empty: ["#b85a9a", "#ffffff", true],
    rebalancing: ["#c9a7e0", "#14181c", true], signal_lost: ["#8a929a", "#14181c", true],
    never_committed: ["#f2c1a8", "#14181c", true], group_missing: ["#a05a3c", "#ffffff", true],
  };
  const OTHER = ["#6b7683", "#ffffff"];
  const looks = (reason) => REASONS[data.reasons[reason][0]] || OTHER;

  // ---- values of lines

  /** Place of the last of `seconds` that is not after `at`; 0 before the first. */
  function before(seconds, at) {
    let [low, high] = [0, seconds.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (seconds[middle] <= at + 1e-9) low = middle; else high = middle - 1;
    }
    return low;
  }
  const held = ([seconds, values], at) => values[before(seconds, at)];
  function nearest([seconds, values], at) {
    const index = before(seconds, at);
    const later = index + 1 < seconds.length && seconds[index + 1] - at < at - seconds[index];
    return values[later ? index + 1 : index];
  }
  const most = ([, values]) => values.reduce((top, value) => Math.max(top, value ?? 0), 0);
  function quantile([, values], part) {
    const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] : 0;
  }
  function sentence(ticks, index) {
    const figures = ticks.figures[index].split(" ");
    return data.words[ticks.words[index]].map((piece, at) => piece + (figures[at] ?? "")).join("");
  }
  const ticksOf = (law) => section().runs[law].ticks;

  // ---- scales

  /** A round step so that about `count` of them make `span`. */
  function roundStep(span, count) {
    const raw = span / Math.max(count, 1);
    const power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= raw * 0.999);
  }
  const TIME_STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200];
  const timeStep = (span, count) => TIME_STEPS.find((step) => step >= span / count) ?? 86400;

  /** Rates: what the slowest group takes and what laws make of it; what is far above is cut off, unless all is wanted. */
  function rateTop(one, laws) {
    const runs = laws.map((law) => one.runs[law]);
    const all = Math.max(most(one.capacity), most(one.demand), ...runs.flatMap((run) => [most(run.limit), most(run.production)]));
    if (state.whole) return all * 1.05;
    const near = Math.max(most(one.capacity), ...runs.map((run) => quantile(run.production, 0.97))) * 1.2;
    return Math.min(all * 1.05, most(one.demand) <= 2 * near ? Math.max(near, most(one.demand) * 1.08) : near);
  }
  /** Drain time: three times the peak of the best law, and five set-points at least. */
  function drainTop(one, laws) {
    const peaks = laws.map((law) => most(one.runs[law].drain));
    const all = Math.max(...peaks, 1.5 * data.set_point_seconds) * 1.08;
    return state.whole ? all : Math.min(all, Math.max(5 * data.set_point_seconds, 3 * Math.min(...peaks)));
  }

  // ---- the chart

  const LEFT = 64, RIGHT = 10, ROW = 15;

  function layOut(width) {
    const one = section();
    const laws = shown();
    const strips = laws.filter((law) => ticksOf(law));
    const tall = width < 560 ? 0.8 : 1;
    const frame = {width, one, laws, strips, plot: width - LEFT - RIGHT, groups: []};
    frame.x = (at) => LEFT + (at / one.duration_seconds) * frame.plot;
    frame.labels = eventLabels(frame);
    let top = 22 + frame.labels.rows * ROW;
    const panel = (height, value) => {
      const made = {top, bottom: top + height, most: value};
      made.y = (what) => made.bottom - (what / value) * height;
      top += height;
      return made;
    };
    frame.rates = panel(270 * tall, laws.length ? rateTop(one, laws) : most(one.demand));
    top += 30;
    frame.drains = panel(170 * tall, laws.length ? drainTop(one, laws) : 5 * data.set_point_seconds);
    frame.stripTop = top + (strips.length ? 30 : 0);
    frame.stripHeight = 20;
    frame.bottom = frame.stripTop + strips.length * (frame.stripHeight + 4);
    frame.height = frame.bottom + 36;
    return frame;
  }

  /** Names of events above the rates, in as many rows as keep them apart; three at most, the rest have a tip alone. */
  function eventLabels(frame) {
    const ends = [];
    const placed = [];
    for (const [from, , label] of frame.one.events) {
      const length = label.length * 6.1 + 10;
      const left = Math.max(0, Math.min(frame.x(from), frame.width - RIGHT - length));
      const row = [0, 1, 2].find((candidate) => (ends[candidate] ?? -1) < left);
      if (row === undefined) continue;
      ends[row] = left + length;
      placed.push({left, row, label});
    }
    return {placed, rows: ends.length};
  }

  function draw() {
    const box = place("chart");
    const frame = layOut(Math.max(300, Math.round(box.getBoundingClientRect().width) || 900));
    box.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    box.setAttribute("aria-label", inWords(frame));
    const cursor = svg("g", {visibility: "hidden"});
    box.replaceChildren(
      definitions(frame), ...events(frame), ...timeAxis(frame),
      ...valueAxis(frame, frame.rates, "Rates, messages/s"), ...valueAxis(frame, frame.drains, "Drain time = lag ÷ capacity, s"),
      svg("g", {"clip-path": "url(#in-rates)"}, ...rateLines(frame)),
      svg("g", {"clip-path": "url(#in-drains)"}, ...drainLines(frame)),
      ...strips(frame), cursor,
    );
    chart = {frame, cursor};
    place("clipped").textContent = clipped(frame);
    showReasons(frame);
    showReading();
  }

  function definitions(frame) {
    const clip = (id, panel) =>
      svg("clipPath", {id}, svg("rect", {x: LEFT, y: panel.top - 1, width: frame.plot, height: panel.bottom - panel.top + 2}));
    return svg("defs", {}, clip("in-rates", frame.rates), clip("in-drains", frame.drains), hatching("hatching"));
  }
  const hatching = (id) =>
    svg("pattern", {id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)"},
      svg("path", {class: "hatch", d: "M0 0V6"}));

  function events(frame) {
    const top = frame.rates.top, bottom = frame.bottom;
    const marks = frame.one.events.map(([from, to, label]) => {
      const title = svg("title", {}, from === to ? `${label}, at ${from} s` : `${label}, ${from} to ${to} s`);
      return from === to
        ? svg("path", {class: "instant", d: `M${frame.x(from)} ${top}V${bottom}`}, title)
        : svg("rect", {class: "shade", x: frame.x(from), y: top, width: Math.max(1, frame.x(to) - frame.x(from)), height: bottom - top}, title);
    });
    const names = frame.labels.placed.map(({left, row, label}) =>
      svg("text", {class: "soft", x: left, y: top - 6 - row * ROW}, label));
    return [...marks, ...names];
  }

  function timeAxis(frame) {
    const {duration_seconds: duration} = frame.one;
    const hours = duration > 7200;
    const step = timeStep(duration, frame.plot / 70);
    const parts = [];
    for (let at = 0; at <= duration; at += step) {
      const x = frame.x(at);
      parts.push(svg("path", {class: "grid", d: `M${x} ${frame.rates.top}V${frame.rates.bottom}M${x} ${frame.drains.top}V${frame.drains.bottom}`}));
      parts.push(svg("path", {class: "axis", d: `M${x} ${frame.bottom + 2}v4`}));
      parts.push(svg("text", {class: "soft", x, y: frame.bottom + 18, "text-anchor": "middle"}, hours ? number(at / 3600, step < 3600 ? 1 : 0) : number(at)));
    }
    parts.push(svg("text", {class: "soft", x: LEFT + frame.plot / 2, y: frame.bottom + 33, "text-anchor": "middle"}, hours ? "Time, h" : "Time, s"));
    return parts;
  }

  function valueAxis(frame, panel, title) {
    const step = roundStep(panel.most, (panel.bottom - panel.top) / 45);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (/^25|^2\.5/.test(String(step / 10 ** Math.floor(Math.log10(step)))) ? 1 : 0));
    const compact = panel.most >= 1e6;
    const parts = [svg("text", {x: 0, y: panel.top - 8 - (panel === frame.rates ? frame.labels.rows * ROW : 0)}, title)];
    for (let count = 0; count * step <= panel.most * 1.0001; count += 1) {
      const value = count * step;
      const text = compact ? value.toLocaleString("en", {notation: "compact"}) : number(value, digits);
      parts.push(svg("path", {class: count ? "grid" : "axis", d: `M${LEFT} ${panel.y(value)}H${LEFT + frame.plot}`}));
      parts.push(svg("text", {class: "soft", x: LEFT - 8, y: panel.y(value) + 4, "text-anchor": "end"}, text));
    }
    return parts;
  }

  /** A path; `steps`: each value holds until the next. A gap where there is no value. */
  function path([seconds, values], frame, panel, steps) {
    // Far above the panel is as good as just above it, and keeps coordinates small.
    const y = (value) => Math.max(panel.top - 2000, panel.y(value)).toFixed(1);
    let [d, open] = ["", false];
    seconds.forEach((at, index) => {
      const x = frame.x(at).toFixed(1);
      const value = values[index];
      if (steps && open) d += `H${x}`;
      if (value !== null) d += open ? (steps ? `V${y(value)}` : `L${x} ${y(value)}`) : `M${x} ${y(value)}`;
      open = value !== null;
    });
    return d;
  }

  function rateLines(frame) {
    const {one, rates} = frame;
    const runs = frame.laws.map((law) => [law, one.runs[law]]);
    return [
      svg("path", {class: "line demand", d: path(one.demand, frame, rates, false)}),
      svg("path", {class: "line capacity", d: path(one.capacity, frame, rates, false)}),
      ...runs.map(([law, run]) => svg("path", {class: "line production", style: strokeOf(law), d: path(run.production, frame, rates, false)})),
      ...runs.map(([law, run]) => svg("path", {class: "line", style: strokeOf(law), d: path(run.limit, frame, rates, true)})),
    ];
  }

  function drainLines(frame) {
    const y = frame.drains.y(data.set_point_seconds);
    return [
      svg("path", {class: "line target", d: `M${LEFT} ${y}H${LEFT + frame.plot}`}),
      ...frame.laws.map((law) => svg("path", {class: "line", style: strokeOf(law), d: path(frame.one.runs[law].drain, frame, frame.drains, false)})),
    ];
  }

  /** Spans in which one reason rules, of one law. */
  function spans(ticks, duration) {
    const found = [];
    ticks.bound_by.forEach((reason, index) => {
      const last = found[found.length - 1];
      if (last && last.reason === reason) return;
      if (last) last.to = ticks.seconds[index];
      found.push({reason, from: ticks.seconds[index], to: duration});
    });
    return found;
  }

  function strips(frame) {
    const parts = [];
    if (frame.strips.length) parts.push(svg("text", {x: 0, y: frame.stripTop - 8}, "Reason that rules (bound_by)"));
    frame.strips.forEach((law, row) => {
      const y = frame.stripTop + row * (frame.stripHeight + 4);
      const height = frame.stripHeight;
      const short = data.laws[law].replace(/^lagvalve-/, "…-");
      parts.push(svg("text", {class: "soft", x: LEFT - 8, y: y + 14, "text-anchor": "end", style: `fill:${colour(law)}`}, short, svg("title", {}, data.laws[law])));
      for (const {reason, from, to} of spans(ticksOf(law), frame.one.duration_seconds)) {
        const [fill, text, hatched] = looks(reason);
        const box = {x: frame.x(from), y, width: Math.max(0.6, frame.x(to) - frame.x(from)), height};
        parts.push(svg("rect", {...box, class: "bar", fill}));
        if (hatched) parts.push(svg("rect", {...box, fill: "url(#hatching)"}));
        const [name] = data.reasons[reason];
        if (!hatched && box.width > name.length * 6.4 + 10) parts.push(svg("text", {x: box.x + 5, y: y + 14, style: `fill:${text};font-size:11px`}, name));
      }
    });
    return parts;
  }

  function clipped(frame) {
    const above = (top, lines) => lines.filter(([, line]) => most(line) > top * 1.001).map(([name, line]) => `${name} (up to ${rate(most(line))})`);
    const runs = frame.laws.map((law) => [data.laws[law], frame.one.runs[law]]);
    const rates = above(frame.rates.most, [
      ["demand", frame.one.demand], ...runs.map(([law, run]) => [`limit of ${law}`, run.limit]),
      ...runs.map(([law, run]) => [`production under ${law}`, run.production]),
    ]);
    const drains = above(frame.drains.most, runs.map(([law, run]) => [`drain time under ${law}`, run.drain]));
    const list = [...rates, ...drains];
    return list.length ? `Above the scale: ${list.join(", ")}.` : "";
  }

  /** The chart for those who do not see it: what the table does not say. */
  function inWords(frame) {
    const laws = frame.laws.map((law) => {
      const run = frame.one.runs[law];
      const end = frame.one.duration_seconds;
      return `${data.laws[law]}: limit at the end ${limitText(held(run.limit, end))}, drain time up to ${number(most(run.drain), 1)} s, at the end ${number(held(run.drain, end) ?? 0, 1)} s`;
    });
    const told = frame.one.events.map(([from, to, label]) => (from === to ? `${label} at ${from} s` : `${label} from ${from} to ${to} s`));
    return `Rates, drain time and reasons over ${frame.one.duration_seconds} s. ${[...laws, ...told].join(". ")}.`;
  }

  // ---- the cursor

  function showReading() {
    const {frame, cursor} = chart;
    const panel = place("reading");
    panel.classList.toggle("empty", state.at === null);
    cursor.setAttribute("visibility", state.at === null ? "hidden" : "visible");
    if (state.at === null) {
      panel.replaceChildren(html("p", {class: "note"}, "Point at the chart for the values, the reason and the decision at an instant; with the chart focused, the arrow keys move the cursor and Escape takes it away."));
      return;
    }
    const {one} = frame;
    const x = frame.x(state.at);
    const dots = frame.laws.flatMap((law) => {
      const run = one.runs[law];
      const dot = (within, value) => value !== null && value <= within.most * 1.01
        ? [svg("circle", {class: "dot", cx: x, cy: within.y(value), r: 3.5, style: `fill:${colour(law)}`})] : [];
      return [...dot(frame.rates, held(run.limit, state.at)), ...dot(frame.drains, nearest(run.drain, state.at))];
    });
    cursor.replaceChildren(svg("path", {class: "cursor", d: `M${x} ${frame.rates.top}V${frame.bottom}`}), ...dots);
    panel.replaceChildren(html("h3", {}, `At ${number(state.at, 1)} s`), ...reading(frame));
  }

  function reading(frame) {
    const {one, laws} = frame;
    const at = state.at;
    const during = one.events.filter(([from, to]) => from <= at && at < Math.max(to, from + 1)).map(([, , label]) => label);
    const story = `capacity ${fixedRate(nearest(one.capacity, at))}/s, demand ${fixedRate(nearest(one.demand, at))}/s${during.length ? `; ${during.join(", ")}` : ""}`;
    const head = ["law", "limit/s", "written/s", "drain s"].map((text) => html("th", {}, text));
    const rows = laws.map((law) => {
      const run = one.runs[law];
      const cells = [limitText(held(run.limit, at)), fixedRate(nearest(run.production, at)), fixed(nearest(run.drain, at), 2)];
      return html("tr", {}, lawCell(law), ...cells.map((text) => html("td", {}, text)));
    });
    const decisions = frame.strips.flatMap((law) => {
      const ticks = ticksOf(law);
      if (at < ticks.seconds[0]) return [html("dt", {}, data.laws[law]), html("dd", {}, "No decision yet.")];
      const index = before(ticks.seconds, at);
      return [
        html("dt", {}, `${data.laws[law]}: ${data.reasons[ticks.bound_by[index]][0]}`),
        html("dd", {}, sentence(ticks, index)),
        html("dd", {class: "note"}, `decided at ${number(ticks.seconds[index], 1)} s`),
      ];
    });
    return [html("p", {class: "note"}, story), html("table", {}, html("tr", {}, ...head), ...rows), html("dl", {}, ...decisions)];
  }
  const fixedRate = (value) => (value === null ? "–" : rate(value));

  function moveTo(at) {
    const end = section().duration_seconds;
    state.at = at === null ? null : Math.min(end, Math.max(0, at));
    showReading();
  }

  function follow(event) {
    const box = place("chart").getBoundingClientRect();
    const {frame} = chart;
    const x = ((event.clientX - box.left) / box.width) * frame.width;
    const at = ((x - LEFT) / frame.plot) * section().duration_seconds;
    // To a sample: between two of them nothing is known.
    moveTo(Math.round(at / data.sample_seconds) * data.sample_seconds);
  }

  function pressed(event) {
    const step = event.shiftKey ? 10 : 1;
    const moves = {ArrowLeft: -step, ArrowRight: step};
    if (event.key === "Escape") moveTo(null);
    if (!(event.key in moves)) return;
    event.preventDefault();
    moveTo((state.at ?? 0) + moves[event.key]);
  }

  // ---- around the chart

  const lawCell = (law) => html("td", {class: "text"}, swatch("", strokeOf(law)), ` ${data.laws[law]}`);

  function showCosts() {
    const one = section();
    const head = [
      ["law", ""], ["J", "lost % + excess s + 5 × CoV"], ["lost %", "throughput that the yardstick had and this law had not"],
      ["excess s", "mean lag above the set-point, seconds of work"], ["CoV", "coefficient of variation of the limit once it should be steady"],
      ["settled s", "until production was within 10 % of what could be had"], ["peak s", "highest drain time after the first 2 s"],
      ["steady s", "mean drain time once it should be steady"], ["harm %", "withheld while nothing had to be"], ["missed", "expected ranges that were missed"],
    ].map(([text, title], column) => html("th", {title, scope: "col", class: column ? "" : "text"}, text));
    const row = (first, cost, attributes, missed) => {
      const cells = [
        fixed(cost.j, 2), fixed(cost.lost_percent, 2), fixed(cost.excess_seconds, 2), fixed(cost.cov, 3), cost.settled,
        fixed(cost.peak_drain_seconds, 1), fixed(cost.steady_drain_seconds, 2), fixed(cost.harm_percent, 2), missed,
      ];
      return html("tr", attributes, first, ...cells.map((text) => html("td", {}, text)));
    };
    const rows = one.runs.map(({cost}, law) => row(lawCell(law), cost, {}, String(cost.missed.length)));
    if (!data.laws.includes("oracle")) {
      rows.push(row(html("td", {class: "text"}, "oracle, for comparison"), one.oracle, {class: "yardstick"}, ""));
    }
    place("costs").replaceChildren(html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows)));
    place("missed").replaceChildren(...one.runs.flatMap(({cost}, law) =>
      cost.missed.map((text) => html("li", {}, `${data.laws[law]} missed ${text}`))));
  }

  function showLegend() {
    const choices = data.laws.map((law, index) => {
      const box = html("input", {type: "checkbox"});
      box.checked = !state.hidden.has(index);
      box.addEventListener("change", () => {
        if (box.checked) state.hidden.delete(index); else state.hidden.add(index);
        draw();
      });
      return html("label", {}, box, swatch("", strokeOf(index)), law);
    });
    const scale = html("input", {type: "checkbox"});
    scale.checked = state.whole;
    scale.addEventListener("change", () => { state.whole = scale.checked; draw(); });
    const still = [["capacity", "capacity of the slowest group"], ["demand", "demand"]].map(([kind, text]) => html("span", {}, swatch(kind), text));
    const thin = html("span", {}, swatch("", "stroke:currentColor"), "limit", swatch("production", "stroke:currentColor"), "production");
    const target = html("span", {}, swatch("target"), `set-point ${data.set_point_seconds} s`);
    place("legend").replaceChildren(...choices, thin, ...still, target, html("label", {class: "scale"}, scale, "whole range"));
  }

  function showReasons(frame) {
    const used = new Set(frame.strips.flatMap((law) => ticksOf(law).bound_by));
    const listed = [...used].sort((a, b) => a - b).map((reason) => {
      const [fill, , hatched] = looks(reason);
      const box = svg("svg", {width: 16, height: 12, "aria-hidden": "true"}, svg("rect", {width: 16, height: 12, fill}));
      if (hatched) box.append(svg("rect", {width: 16, height: 12, fill: "url(#hatching)"}));
      const [name, clause] = data.reasons[reason];
      return html("span", {title: clause}, box, name);
    });
    place("reasons").replaceChildren(...listed);
  }

  function showSection(index) {
    state.section = index;
    state.at = null;
    const one = section();
    place("section").selectedIndex = index;
    place("previous").disabled = index === 0;
    place("next").disabled = index === data.sections.length - 1;
    place("title").textContent = `${one.id} ${one.title}`;
    const groups = one.groups === 1 ? "one consumer group" : `${one.groups} consumer groups, the worst off at each instant`;
    place("about").textContent = `Seed ${one.seed}, ${number(one.duration_seconds)} s, ${groups}.`;
    document.title = `${nameOf(one)} – lagvalve simulate`;
    showCosts();
    draw();
  }

  function showChoice() {
    place("choice").hidden = data.sections.length < 2;
    place("section").replaceChildren(...data.sections.map((one) => html("option", {}, nameOf(one))));
    const oracle = data.laws.includes("oracle") ? [] : ["oracle"];
    const head = ["scenario and seed", ...data.laws, ...oracle].map((text) => html("th", {scope: "col"}, text));
    const rows = data.sections.map((one, index) => {
      const cells = one.runs.map(({cost}) => `${fixed(cost.j, 2)}${cost.missed.length ? ` (${cost.missed.length} missed)` : ""}`);
      if (oracle.length) cells.push(fixed(one.oracle.j, 2));
      return html("tr", {}, html("td", {}, html("a", {href: anchorOf(index)}, nameOf(one))), ...cells.map((text) => html("td", {}, text)));
    });
    place("overview").querySelector("div").replaceChildren(html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows)));
  }

  function showNotes() {
    place("notes").replaceChildren(
      html("p", {}, "Limits hold for governed writers; demand and production count all writers, production as its mean over 1 s; an unlimited limit has no line. Capacity is what the slowest group can follow without noise: its fullest member rules, and it is 0 while nobody reads. Drain time is that of the group worst off, from its unread messages and its undisturbed capacity."),
      html("p", {}, "J = lost throughput in % + mean lag above the set-point in seconds + 5 × coefficient of variation of the limit. The expected ranges are those of the scenario for the shipped law. Lines hold at most 600 points and keep every high, low and gap; values at the cursor are those of the nearest point."),
      html("p", {}, `Made by lagvalve ${data.version}. Same scenario, seed and law: the same page.`),
    );
  }

  /** The section that the address names, or the first. */
  function fromAddress() {
    const index = data.sections.findIndex((_, candidate) => anchorOf(candidate) === location.hash);
    showSection(Math.max(0, index));
  }

  const go = (index) => { location.hash = anchorOf(index); };
  place("section").addEventListener("change", (event) => go(event.target.selectedIndex));
  place("previous").addEventListener("click", () => go(state.section - 1));
  place("next").addEventListener("click", () => go(state.section + 1));
  place("chart").addEventListener("pointermove", follow);
  place("chart").addEventListener("pointerdown", follow);
  place("chart").addEventListener("keydown", pressed);
  window.addEventListener("hashchange", fromAddress);
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) < 1) return;
    width = entry.contentRect.width;
    draw();
  }).observe(place("pictures"));
  showNotes();
  showChoice();
  showLegend();
  fromAddress();
})();
