"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, attributes = {}, text = "") => {
    const found = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    if (text) found.textContent = text;
    return found;
  };
  const draw = (name, attributes = {}, text = "") => {
    const found = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    if (text) found.textContent = text;
    return found;
  };

  // light and dark: the system's, until somebody asks for the other
  const theme = document.getElementById("theme");
  const isDark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const named = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; named(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", named);
  named();

  // where the reader is
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const here = (id) => {
    for (const [name, link] of links) name === id ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    const list = document.querySelector("nav ol"), link = links.get(id);
    if (link) list.scrollTo({ left: link.offsetLeft - list.clientWidth / 2 + link.clientWidth / 2 });
  };
  const watcher = new IntersectionObserver((seen) => { for (const one of seen) if (one.isIntersecting) here(one.target.id); }, { rootMargin: "-12% 0px -80% 0px" });
  all("main > section").forEach((section) => watcher.observe(section));

  // tables: a click on a title sorts, the next one turns the order; what has no number comes last
  const sort = (table, column, way) => {
    const body = table.tBodies[0], rows = [...body.rows];
    const key = (row) => row.cells[column].dataset.value;
    const numbers = rows.some((row) => key(row) !== undefined);
    const compare = (a, b) => {
      if (!numbers) return way * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
      const [x, y] = [key(a), key(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return way * (Number(x) - Number(y));
    };
    rows.sort(compare).forEach((row) => body.append(row));
  };
  for (const table of all("table.sorts")) {
    all("thead th", table).forEach((title, column) => {
      if (!title.textContent) return;
      const button = make("button", { type: "button" }, title.textContent);
      button.addEventListener("click", () => {
        const way = title.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        all("th", title.parentNode).forEach((other) => other.removeAttribute("aria-sort"));
        title.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
        sort(table, column, way);
      });
      title.replaceChildren(button);
    });
  }

  // the table of arms: by name and by what they are
  for (const filter of all(".filter")) {
    filter.hidden = false;
    const text = filter.querySelector("input"), marks = filter.querySelector("select"), said = filter.querySelector("output");
    const rows = [...document.getElementById(`table-${text.dataset.filter}`).tBodies[0].rows];
    const apply = () => {
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean), mark = marks.value;
      let shown = 0;
      for (const row of rows) {
        const fits = words.every((word) => row.cells[0].textContent.toLowerCase().includes(word));
        row.hidden = !(fits && (!mark || row.dataset.mark === (mark === "-" ? "" : mark)));
        shown += !row.hidden;
      }
      said.textContent = shown < rows.length ? `${shown} of ${rows.length} arms` : "";
    };
    text.addEventListener("input", apply);
    marks.addEventListener("change", apply);
  }

  // tips: of every dot, by pointer, touch, or arrow keys in the figure
  const tip = document.getElementById("tip");
  let at = null;
  const hide = () => { if (at) at.classList.remove("at"); at = null; tip.hidden = true; };
  const show = (dot, x, y) => {
    if (at) at.classList.remove("at");
    at = dot;
    dot.classList.add("at");
    tip.textContent = dot.dataset.tip;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(6, Math.min(x + 14, innerWidth - width - 6))}px`;
    tip.style.top = `${y + 18 + height > innerHeight ? Math.max(6, y - height - 12) : y + 18}px`;
  };
  // a browser's own tip would come beside ours
  for (const dot of all(".dot")) {
    const title = dot.querySelector("title");
    dot.dataset.tip = title.textContent;
    title.remove();
  }
  const dotOf = (event) => event.target.closest && event.target.closest("[data-tip]");
  document.addEventListener("pointermove", (event) => {
    const dot = dotOf(event);
    if (dot) show(dot, event.clientX, event.clientY);
    else if (at && event.pointerType === "mouse") hide();
  });
  document.addEventListener("pointerdown", (event) => {
    const dot = dotOf(event);
    if (dot) show(dot, event.clientX, event.clientY); else hide();
  });
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const figure = document.activeElement.closest && document.activeElement.closest("figure .scroll, figure .keys");
    if (!step || !figure) return;
    const dots = all("[data-tip]", figure);
    if (!dots.length) return;
    event.preventDefault();
    const next = dots[(dots.indexOf(at) + step + dots.length) % dots.length];
    const box = next.getBoundingClientRect();
    show(next, box.left + box.width / 2, box.top + box.height / 2);
  });

  // configurations: lines over the dimensions of an arm, and the loss along each of them
  const short = (value) => typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
  const along = (axis, value) => {
    if (value === null || value === undefined) return null;
    if (axis.values) return axis.values.length > 1 ? axis.values.indexOf(String(value)) / (axis.values.length - 1) : 0.5;
    const [low, high, own] = axis.log ? [axis.low, axis.high, value].map(Math.log) : [axis.low, axis.high, value];
    return high > low ? Math.min(1, Math.max(0, (own - low) / (high - low))) : 0.5;
  };
  const ends = (axis) => axis.values ? axis.values.map((text, place) => [axis.values.length > 1 ? place / (axis.values.length - 1) : 0.5, text])
    : [[0, short(axis.low)], [1, short(axis.high)]];
  const tipOf = (arm, row) => [arm.arm, ...arm.axes.map((axis, i) => `${axis.name} ${row.values[i] === null ? "-" : short(row.values[i])}`),
    `${arm.loss.name} ${short(row.loss)}`, row.selected ? "selected" : row.candidate ? "candidate" : ""].filter(Boolean).join("\n");

  const parallel = (figure, arm) => {
    const axes = [...arm.axes, arm.loss], width = Math.max(280, figure.clientWidth), tall = axes.length > 2 && width < 130 * axes.length;
    const [w, h] = tall ? [width, 82 * axes.length] : [width, 330], margin = tall ? [96, 30] : [64, 56];
    const crowded = !tall && axes.some((axis, i) => i && 6.6 * (axes[i - 1].name.length + axis.name.length + 8) / 2 > w / axes.length);
    const svg = draw("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `Configurations of ${arm.arm}: one line each over ${axes.map((a) => a.name).join(", ")}` });
    const place = (i) => axes.length > 1 ? i / (axes.length - 1) : 0.5;
    // one below the other where the page is narrow
    const spot = (i, t) => tall ? [20 + t * (w - 40), 34 + place(i) * (h - 74)] : [margin[0] + place(i) * (w - 2 * margin[0]), h - margin[1] - t * (h - 2 * margin[1])];
    const ranges = axes.map(() => null), paths = [];
    const worst = arm.rows.length - 1 || 1;
    const order = [...arm.rows].sort((a, b) => b.loss - a.loss);
    const last = (rows) => [...rows].sort((a, b) => a[0].selected - b[0].selected || a[0].candidate - b[0].candidate);
    const value = (row, i) => along(axes[i], i < arm.axes.length ? row.values[i] : row.loss);
    order.forEach((row, rank) => {
      const points = axes.map((_, i) => [i, value(row, i)]).filter(([, t]) => t !== null).map(([i, t]) => spot(i, t));
      const share = Math.round(100 * rank / worst);
      const path = draw("path", { d: "M" + points.map((p) => p.map((c) => c.toFixed(1)).join(" ")).join("L"), class: "path" + (row.selected ? " selected" : row.candidate ? " candidate" : ""),
        style: `--own: color-mix(in oklab, var(--accent) ${share}%, var(--c9e9e9e))` });
      path.dataset.tip = tipOf(arm, row);
      paths.push([row, path]);
    });
    last(paths).forEach(([, path]) => svg.append(path));
    const brush = () => paths.forEach(([row, path]) => path.classList.toggle("out",
      ranges.some((range, i) => { const t = value(row, i); return range && (t === null || t < range[0] || t > range[1]); })));
    axes.forEach((axis, i) => {
      const [[x0, y0], [x1, y1]] = [spot(i, 0), spot(i, 1)];
      svg.append(draw("line", { x1: x0, y1: y0, x2: x1, y2: y1, class: "axis" }));
      const title = tall ? { x: 20, y: y0 - 12 } : { x: x0, y: crowded && i % 2 ? 34 : 16, "text-anchor": i === 0 ? "start" : i === axes.length - 1 ? "end" : "middle", dx: i === 0 ? -40 : i === axes.length - 1 ? 40 : 0 };
      svg.append(draw("text", { ...title, class: "name" }, axis.name + (axis.log ? " (log)" : "")));
      for (const [t, text] of ends(axis)) {
        const [x, y] = spot(i, t);
        svg.append(draw("text", tall ? { x, y: y + 17, "text-anchor": t < 0.1 ? "start" : t > 0.9 ? "end" : "middle" } : { x: x + (i === axes.length - 1 ? 7 : -7), y: y + 4, "text-anchor": i === axes.length - 1 ? "start" : "end" }, text));
      }
      const box = draw("rect", { class: "brush", visibility: "hidden" });
      const hit = draw("rect", tall ? { x: x0 - 8, y: y0 - 9, width: x1 - x0 + 16, height: 18, class: "hit" } : { x: x0 - 9, y: y1 - 8, width: 18, height: y0 - y1 + 16, class: "hit" });
      const where = (event) => {
        const own = svg.getBoundingClientRect(), [px, py] = [(event.clientX - own.left) * w / own.width, (event.clientY - own.top) * h / own.height];
        return Math.min(1, Math.max(0, tall ? (px - x0) / (x1 - x0) : (y0 - py) / (y0 - y1)));
      };
      let from = null;
      hit.addEventListener("pointerdown", (event) => { from = where(event); hit.setPointerCapture(event.pointerId); ranges[i] = null; box.setAttribute("visibility", "hidden"); brush(); });
      hit.addEventListener("pointermove", (event) => {
        if (from === null) return;
        const [low, high] = [from, where(event)].sort((a, b) => a - b), [p, q] = [spot(i, low), spot(i, high)];
        if (high - low < 0.015) return;
        ranges[i] = [low, high];
        const place = tall ? { x: p[0], y: p[1] - 7, width: q[0] - p[0], height: 14 } : { x: p[0] - 7, y: q[1], width: 14, height: p[1] - q[1] };
        for (const [key, number] of Object.entries(place)) box.setAttribute(key, number);
        box.setAttribute("visibility", "visible");
        brush();
      });
      hit.addEventListener("pointerup", () => { from = null; });
      svg.append(hit, box);
    });
    const keys = make("div", { class: "keys", tabindex: "0", role: "group", "aria-label": `Configurations of ${arm.arm}; arrow keys go from one to the next` });
    keys.append(svg);
    return keys;
  };

  const slice = (arm, i) => {
    const axis = arm.axes[i], w = 300, h = 190, left = 44, bottom = 24;
    const svg = draw("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `${arm.loss.name} of ${arm.arm} against ${axis.name}` });
    const x = (t) => left + t * (w - left - 10), y = (t) => h - bottom - t * (h - bottom - 10);
    svg.append(draw("path", { d: `M${left} 10V${h - bottom}H${w - 10}`, class: "axis", fill: "none" }));
    for (const [t, text] of ends(axis)) svg.append(draw("text", { x: x(t), y: h - 6, "text-anchor": t < 0.1 ? "start" : t > 0.9 ? "end" : "middle" }, text));
    for (const [t, text] of ends(arm.loss)) svg.append(draw("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, text));
    const curve = (arm.fits[i] || []).map((loss, k, { length }) => [x(k / (length - 1)), y(along(arm.loss, loss))]);
    for (const row of [...arm.rows].sort((a, b) => a.selected - b.selected)) {
      const t = along(axis, row.values[i]);
      if (t === null) continue;
      const dot = draw("circle", { cx: x(t), cy: y(along(arm.loss, row.loss)), r: row.selected ? 5 : 3.4, class: "point" + (row.selected ? " selected" : "") });
      dot.style.setProperty("--own", row.candidate ? "var(--accent)" : "var(--c9e9e9e)");
      dot.dataset.tip = tipOf(arm, row);
      svg.append(dot);
    }
    if (curve.length) svg.append(draw("path", { d: "M" + curve.map((p) => p.map((c) => c.toFixed(1)).join(" ")).join("L"), class: "fit" }));
    const box = make("div", { class: "keys", tabindex: "0" });
    box.append(make("h4", {}, axis.name + (axis.log ? " (log)" : "")), svg);
    return box;
  };

  const charts = {
    configurations(figure, data) {
      const bar = make("div", { class: "bar" }), label = make("label", {}, "Arm "), choice = make("select"), said = make("span");
      data.arms.forEach((arm, i) => choice.append(make("option", { value: i }, arm.arm)));
      choice.value = String(data.first);
      label.append(choice);
      bar.append(label, said);
      const stage = make("div");
      figure.append(bar, stage);
      const show = () => {
        hide();
        const arm = data.arms[Number(choice.value)], slices = make("div", { class: "slices" });
        arm.axes.forEach((_, i) => slices.append(slice(arm, i)));
        said.textContent = arm.said;
        stage.replaceChildren(parallel(figure, arm), slices);
      };
      choice.addEventListener("change", show);
      let width = figure.clientWidth;
      new ResizeObserver(() => { if (Math.abs(figure.clientWidth - width) > 8) { width = figure.clientWidth; show(); } }).observe(figure);
      show();
    },
  };
  for (const figure of all("figure[data-chart]")) charts[figure.dataset.chart](figure, JSON.parse(figure.querySelector("script").textContent));
})();
