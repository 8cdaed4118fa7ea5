"""The style sheet and the script of the report's charts."""

STYLE = """
.charts { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.chart { margin: 0; position: relative; }
.chart svg { display: block; width: 100%; height: auto; margin-top: 8px; touch-action: pan-y;
  overflow: visible; }
.unit { color: var(--muted); font-weight: 400; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; color: var(--soft);
  margin-top: 4px; }
.legend i, .tip i { display: inline-block; width: 10px; height: 10px; border-radius: 3px;
  margin-right: 6px; }
svg text { fill: var(--muted); font-size: 12px; font-variant-numeric: tabular-nums; }
svg .end { text-anchor: end; } svg .mid { text-anchor: middle; }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--line); }
svg .cursor { stroke: var(--muted); stroke-dasharray: 3 3; }
svg .skipped { stroke: var(--bad); stroke-width: 2; }
svg path { fill: none; stroke-linejoin: round; stroke-linecap: round; }
svg .line { stroke-width: 2; } svg .thin { stroke-width: 1; opacity: 0.35; }
svg .band { opacity: 0.15; }
svg .scale { stroke: var(--line); stroke-width: 2; }
svg.bar { display: block; }
svg .interval { stroke: var(--bar, var(--series-1)); stroke-width: 6; opacity: 0.35;
  stroke-linecap: round; }
svg .share { fill: var(--bar, var(--series-1)); }
.tip { position: absolute; pointer-events: none; background: var(--raised); color: var(--ink);
  border: 1px solid var(--line); border-radius: 8px; padding: 6px 10px; font-size: 13px;
  box-shadow: 0 4px 14px rgb(0 0 0 / 0.15); white-space: nowrap; z-index: 1; }
.tip b { font-weight: 600; font-variant-numeric: tabular-nums; }
"""

SCRIPT = """
for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const chart = JSON.parse(svg.dataset.chart), [x0, x1, left, right] = chart.x;
  const figure = svg.closest("figure"), tip = figure.querySelector(".tip");
  const cursor = svg.querySelector(".cursor");
  const shown = v => chart.percent ? (100 * v).toFixed(1) + "%"
    : Math.abs(v) >= 1000 ? v.toLocaleString("en", {maximumFractionDigits: 0})
    : String(Number(v.toPrecision(5)));
  const line = (text, bold, colour) => {
    const row = document.createElement("div");
    const add = (name, fields) => row.append(Object.assign(document.createElement(name), fields));
    if (colour) add("i", {style: "background:" + colour});
    row.append(text);
    if (bold) add("b", {textContent: bold});
    return row;
  };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
    const x = x0 + (x1 - x0) * ((event.clientX - box.left) / scale - left) / (right - left);
    const nearest = chart.series.map(s => s.points.filter(p => p[1] !== null)
      .reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
    const step = nearest.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a)[0];
    const at = left + (right - left) * (step - x0) / (x1 - x0);
    cursor.setAttribute("x1", at); cursor.setAttribute("x2", at);
    cursor.setAttribute("visibility", "visible");
    const there = chart.series.map((s, i) => [s, nearest[i]]).filter(([, p]) => p[0] === step);
    tip.replaceChildren(line(chart.over + " ", step.toLocaleString("en")),
      ...there.map(([s, p]) => line(s.name + " ", shown(p[1]), s.colour)));
    tip.hidden = false;
    const outer = figure.getBoundingClientRect(), place = box.left - outer.left + at * scale;
    const beside = place > outer.width / 2 ? -tip.offsetWidth - 12 : 12;
    tip.style.left = place + beside + "px";
    tip.style.top = box.top - outer.top + 12 + "px";
  });
  svg.addEventListener("pointerleave", () => {
    tip.hidden = true;
    cursor.setAttribute("visibility", "hidden");
  });
}
"""
