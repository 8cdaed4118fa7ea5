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
