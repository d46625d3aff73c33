"use strict";
// Draws a report's charts as they come into view, and its table of trials. All that it shows is in the page's data.
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const columns = new Map(page.columns.map((column) => [column.name, column]));
  const rows = page.columns.length ? page.columns[0].values.length : 0;
  const marked = new Set(page.marked);
  const ABSENT = "–";

  // --- how figures are written, as everywhere in Trialrun ---

  function number(value) {
    if (Number.isInteger(value) && Math.abs(value) >= 1e5 && Math.abs(value) < 2 ** 53) return String(value);
    if (value === 0) return "0";
    const power = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(5)))));
    if (power >= -4 && power < 5) return String(Number(value.toPrecision(5)));
    const [digits, exponent] = value.toExponential(4).split("e");
    const sign = exponent[0] === "-" ? "-" : "+";
    return `${String(Number(digits))}e${sign}${exponent.slice(1).padStart(2, "0")}`;
  }

  function duration(seconds) {
    if (seconds < 59.95) return `${seconds < 9.995 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
    if (seconds < 3599.5) {
      const whole = Math.round(seconds);
      return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
    }
    const minutes = Math.round(seconds / 60);
    return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  }

  function memory(bytes) {
    let size = bytes;
    for (const unit of ["B", "KiB", "MiB"]) {
      if (size < 1024) return `${size.toFixed(0)} ${unit}`;
      size /= 1024;
    }
    return `${size.toFixed(2)} GiB`;
  }

  function written(column, value) {
    if (value === null) return ABSENT;
    if (typeof value !== "number") return String(value);
    if (column.unit === "s") return duration(value);
    return column.unit === "bytes" ? memory(value) : number(value);
  }

  // --- charts ---

  // Plotly reads a little HTML in its texts.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text) => (text.length > 80 ? `${text.slice(0, 79)}…` : text);

  const labels = [];
  function label(row) {
    labels[row] ??= page.columns
      .filter((column) => column.shown && column.name !== "id")
      .map((column) => `${plain(short(column.head))} ${plain(short(written(column, column.values[row])))}`)
      .join("<br>");
    return labels[row];
  }

  function values(reference) {
    const { column, row, rows: chosen } = reference;
    const of = column === "label" ? label : column === "row" ? (at) => at : (at) => shown(columns.get(column).values[at]);
    if (row !== undefined) return of(row);
    return (chosen ?? [...Array(rows).keys()]).map(of);
  }

  // An axis of words takes words alone.
  const shown = (value) => (typeof value === "boolean" ? String(value) : value);

  function colour(text) {
    return getComputedStyle(document.documentElement).getPropertyValue(text.slice(4, -1)).trim();
  }

  // A figure with the trials' columns and the page's colours in it.
  function filled(part) {
    if (typeof part === "number") return part;
    if (typeof part === "string") return part.startsWith("var(--") ? colour(part) : part;
    if (Array.isArray(part)) return part.map(filled);
    if (part === null || typeof part !== "object") return part;
    if ("column" in part && Object.keys(part).every((key) => key === "column" || key === "row" || key === "rows")) {
      return values(part);
    }
    return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, filled(value)]));
  }

  // Ticks of a logarithmic axis: within few decades at 1, 2 and 5, over more at the powers of ten.
  function decades(name, data) {
    const letter = name[0];
    const found = data.flatMap((trace) => ((trace[`${letter}axis`] ?? letter) === name.replace("axis", "") ? trace[letter] ?? [] : []));
    const positive = found.filter((value) => value > 0);
    if (!positive.length) return {};
    const [low, high] = [positive.reduce((a, b) => Math.min(a, b)), positive.reduce((a, b) => Math.max(a, b))];
    const span = Math.log10(high / low);
    if (span >= 2.5) return span < 8 ? { dtick: 1 } : {};
    // Without a format Plotly writes 2 for 0.2.
    return { dtick: "D2", tickformat: low >= 1e-3 && high < 1e6 ? "~g" : ".1~e" };
  }

  function layout(chart, data, place) {
    const soft = colour("var(--soft)");
    const line = colour("var(--line)");
    const axis = { gridcolor: line, linecolor: line, zeroline: false, automargin: true, tickcolor: line, exponentformat: "power" };
    const axes = Object.entries(chart.layout).filter(([name]) => /^[xy]axis/.test(name));
    const made = Object.fromEntries(axes.map(([name, own]) => [name, { ...axis, ...filled(own) }]));
    for (const [name, one] of Object.entries(made)) {
      if (name.startsWith("x")) one.showgrid ??= false;
      if (one.type === "log" && !one.tickvals) Object.assign(one, decades(name, data));
    }
    const named = data.some((trace) => trace.showlegend !== false && trace.name);
    return {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: soft },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 56, r: 16, t: named ? 34 : 14, b: 44, ...(data[0]?.type === "parcoords" ? { l: 70, r: 60, t: 70, b: 24 } : {}) },
      legend: { orientation: "h", x: 1, xanchor: "right", y: 1.02, yanchor: "bottom" },
      hoverlabel: { align: "left", namelength: -1 },
      hovermode: "closest",
      showlegend: named,
      width: place.clientWidth,
      height: chart.height,
      ...filled(Object.fromEntries(Object.entries(chart.layout).filter(([name]) => !/^[xy]axis/.test(name)))),
      ...made,
    };
  }

  const options = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  // Lines through parallel axes need WebGL, which a browser without a graphics card may lack.
  const webgl = (() => {
    try {
      return Boolean(document.createElement("canvas").getContext("webgl"));
    } catch {
      return false;
    }
  })();

  function draw(place) {
    const chart = page.charts[place.dataset.chart];
    if (chart.data[0].type === "parcoords" && !webgl) {
      place.style.height = "auto";
      place.textContent = "This chart needs WebGL, which this browser does not have.";
      return;
    }
    const data = filled(chart.data);
    Plotly.react(place, data, layout(chart, data, place), options);
    if (place.dataset.drawn) return;
    place.dataset.drawn = "yes";
    place.on("plotly_click", (event) => {
      const row = event.points[0]?.customdata;
      if (Number.isInteger(row)) show(row);
    });
    if (chart.choices) choose(place, chart);
  }

  // Which two columns a chart has against each other.
  function choose(place, chart) {
    const tools = place.parentElement.querySelector(".choices");
    for (const direction of ["x", "y"]) {
      const select = document.createElement("select");
      for (const option of chart.choices.options) {
        select.add(new Option(option.label, option.column, false, option.column === chart.choices[direction]));
      }
      select.addEventListener("change", () => {
        const chosen = chart.choices.options.find((option) => option.column === select.value);
        chart.data[0][direction] = { ...chart.data[0][direction], column: chosen.column };
        chart.layout[`${direction}axis`] = { title: { text: plain(chosen.label) }, ...chosen.axis };
        draw(place);
      });
      const named = document.createElement("label");
      named.append(direction === "x" ? "across " : "up ", select);
      tools.append(named);
    }
  }

  const places = [...document.querySelectorAll(".plot")];
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          seen.unobserve(entry.target);
          draw(entry.target);
        }
      }
    },
    { rootMargin: "300px" },
  );
  const all = () => places.filter((place) => !place.dataset.drawn).forEach(draw);
  const again = () => places.filter((place) => place.dataset.drawn).forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  addEventListener("beforeprint", all);

  // --- the table of trials ---

  const STEP = 100;
  const table = document.getElementById("trials");
  const state = { order: [...page.order], by: null, down: false, words: "", outcome: "", most: STEP };

  function kept() {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    const visible = page.columns.filter((column) => column.shown);
    const outcomes = columns.get("outcome")?.values;
    return state.order.filter((row) => {
      if (state.outcome && outcomes[row].split(" ")[0] !== state.outcome) return false;
      const text = words.length ? visible.map((column) => written(column, column.values[row])).join(" ").toLowerCase() : "";
      return words.every((word) => text.includes(word));
    });
  }

  // What has no value stands last, whichever way the others are sorted.
  function sort(column) {
    state.down = state.by === column && !state.down;
    state.by = column;
    const sign = state.down ? -1 : 1;
    const texts = column.values.some((value) => typeof value === "string");
    state.order = [...Array(rows).keys()].sort((one, other) => {
      const [a, b] = [column.values[one], column.values[other]];
      if (a === null || b === null) return (a === null) - (b === null) || one - other;
      const apart = texts ? String(a).localeCompare(String(b), "en", { numeric: true }) : a - b;
      return sign * apart || one - other;
    });
    fill();
  }

  function fill() {
    const visible = page.columns.filter((column) => column.shown);
    const found = kept();
    for (const head of table.tHead.rows[0].cells) {
      const column = columns.get(head.dataset.column);
      head.setAttribute("aria-sort", state.by !== column ? "none" : state.down ? "descending" : "ascending");
    }
    const body = document.createElement("tbody");
    for (const row of found.slice(0, state.most)) {
      const line = body.insertRow();
      line.dataset.row = row;
      if (marked.has(row)) line.className = "marked";
      for (const column of visible) {
        const cell = line.insertCell();
        const value = column.values[row];
        cell.textContent = written(column, value);
        if (typeof value === "number") {
          cell.className = "number";
          cell.dataset.value = value;
          cell.title = String(value);
        }
      }
    }
    table.tBodies[0]?.remove();
    table.append(body);
    count.textContent = found.length === rows ? `${rows.toLocaleString("en")} rows` : `${found.length.toLocaleString("en")} of ${rows.toLocaleString("en")} rows`;
    more.hidden = found.length <= state.most;
    more.textContent = `Show ${Math.min(STEP, found.length - state.most)} more`;
  }

  // The row of a trial that was clicked in a chart.
  function show(row) {
    if (!table) return;
    Object.assign(state, { words: "", outcome: "" });
    for (const input of document.querySelectorAll("#trial-tools input, #trial-tools select")) input.value = "";
    state.most = Math.max(state.most, state.order.indexOf(row) + 1);
    fill();
    const line = table.querySelector(`[data-row="${row}"]`);
    line.scrollIntoView({ block: "center" });
    line.classList.add("chosen");
  }

  function csv() {
    const field = (value) => {
      if (value === null) return "";
      // Spreadsheets take such text for a formula.
      const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = [page.columns.map((column) => field(column.name))];
    for (const row of kept()) lines.push(page.columns.map((column) => field(column.values[row])));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.map((line) => `${line.join(",")}\r\n`).join("")], { type: "text/csv" }));
    link.download = `${page.name.replace(/[^\w.-]+/g, "-")}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  const count = document.createElement("span");
  const more = document.createElement("button");

  function build() {
    const head = table.createTHead().insertRow();
    for (const column of page.columns.filter((each) => each.shown)) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.dataset.column = column.name;
      if (column.values.every((value) => value === null || typeof value === "number")) cell.className = "number";
      const button = document.createElement("button");
      button.textContent = column.head;
      button.title = `Sort by ${column.head}`;
      button.addEventListener("click", () => sort(column));
      cell.append(button);
      head.append(cell);
    }
    const filter = document.createElement("input");
    filter.type = "search";
    filter.placeholder = "Filter rows";
    filter.setAttribute("aria-label", "Filter rows by words");
    filter.addEventListener("input", () => { state.words = filter.value; fill(); });
    const outcomes = [...new Set((columns.get("outcome")?.values ?? []).map((text) => text.split(" ")[0]))].sort();
    const select = document.createElement("select");
    select.setAttribute("aria-label", "Filter rows by outcome");
    select.add(new Option("all outcomes", ""));
    for (const outcome of outcomes) select.add(new Option(outcome, outcome));
    select.addEventListener("change", () => { state.outcome = select.value; fill(); });
    const download = document.createElement("button");
    download.textContent = "Download CSV";
    download.title = "These rows with all their columns";
    download.addEventListener("click", csv);
    document.getElementById("trial-tools").append(filter, ...(outcomes.length > 1 ? [select] : []), count, download);
    more.addEventListener("click", () => { state.most += STEP; fill(); });
    table.parentElement.after(more);
    fill();
  }

  if (table) build();
  places.forEach((place) => seen.observe(place));
})();
