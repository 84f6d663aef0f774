// The page of one instrument, made when it is opened.
const BLUE = "#0072B2", GREEN = "#009E73", GREY = "#8a949e";
const SEVERITIES = {
  error: { color: "#D55E00", symbol: "x", sign: "✕" },
  warning: { color: "#E69F00", symbol: "triangle-up", sign: "▲" },
  info: { color: "#56B4E9", symbol: "circle", sign: "●" },
};
const known = (value) => (Number.isFinite(value) ? value : null);
const dollars = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: Math.abs(value) < 10 ? 4 : 2 });
const measured = (value) => (value === null ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 6 }));
const whole = (value) => Math.round(value).toLocaleString("en");

/** A column of 32-bit numbers whose bytes were stored by significance. */
function column(bytes, place, count, Kind) {
  const mixed = new Uint8Array(4 * count);
  for (let byte = 0; byte < 4; byte += 1) {
    const from = place + byte * count;
    for (let row = 0; row < count; row += 1) mixed[4 * row + byte] = bytes[from + row];
  }
  return new Kind(mixed.buffer);
}

/** The bars and findings of an instrument; null where the report has none. */
async function seriesOf(symbol) {
  const place = Object.hasOwn(report.series, symbol) ? report.series[symbol] : null;
  if (place === null) return null;
  const buffer = await unpacked(byId(`series-${place}`));
  const bytes = new Uint8Array(buffer);
  const length = new DataView(buffer).getUint32(0, true);
  const told = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const at = (which, Kind) => column(bytes, 4 + length + 4 * told.bars * which, told.bars, Kind);
  const steps = at(0, Int32Array), raw = at(1, Float32Array), ratio = at(2, Float32Array), volume = at(3, Float32Array);
  let session = 0;
  const dates = Array.from(steps, (step) => report.sessions[session += step]);
  const tidy = (value) => known(value === null ? NaN : Number(value.toPrecision(7)));
  return {
    ...told, dates,
    raw: Array.from(raw, tidy),
    adjusted: Array.from(raw, (value, row) => tidy((value > 0 ? value : 1) * ratio[row])),
    volume: Array.from(volume, tidy),
  };
}

/** Findings of a severity on the plot: at the close of their session, or of the last one before it. */
function marks(series, severity) {
  const style = SEVERITIES[severity];
  const found = series.findings.filter((finding) => finding[0] && finding[2] === severity);
  const heights = found.map(([date]) => {
    let low = 0, high = series.dates.length;
    while (low < high) { const half = (low + high) >> 1; if (series.dates[half] <= date) low = half + 1; else high = half; }
    return series.raw[Math.max(0, low - 1)] ?? null;
  });
  return {
    type: "scatter", mode: "markers", name: `${severity} (${found.length.toLocaleString("en")})`,
    x: found.map(([date]) => date), y: heights, text: found.map(([, rule]) => rule),
    marker: { color: style.color, symbol: style.symbol, size: 9, line: { color: "#1b2128", width: 1 } },
    hovertemplate: `%{text}<extra>${severity}</extra>`,
  };
}

/** Linear, but where one price a hundred times too high would flatten all others. */
function scaleFor(series) {
  const prices = series.raw.filter((value) => value > 0);
  const [low, high] = prices.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, 0]);
  return high > 20 * low ? "log" : "linear";
}

const safe = (text) => text.replace(/[&<>]/g, (character) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[character]);

function figureOf(series, actions, scale) {
  const line = (values, name, color, width) => ({
    type: "scatter", mode: "lines", x: series.dates, y: values, name, line: { color, width },
    hovertemplate: `%{y:,.2f}<extra>${name}</extra>`,
  });
  const adjusted = series.adjusted.some((value) => value !== null);
  const data = [
    line(series.raw, "close as traded", BLUE, 1.6),
    ...(adjusted ? [line(series.adjusted, "close, total return", GREEN, 1.4)] : []),
    ...Object.keys(SEVERITIES).map((severity) => marks(series, severity)).filter((trace) => trace.x.length),
    { type: "bar", x: series.dates, y: series.volume, name: "volume", yaxis: "y2", marker: { color: GREY, line: { width: 0 } }, showlegend: false,
      hovertemplate: "%{y:,.4s} shares<extra>volume</extra>" },
  ];
  const splits = actions.filter((action) => textOf(action[2]) !== "dividend");
  const dividends = actions.filter((action) => textOf(action[2]) === "dividend");
  if (dividends.length) {
    data.push({
      type: "scatter", mode: "markers", name: `dividend (${dividends.length})`, yaxis: "y2",
      x: dividends.map((action) => textOf(action[1])), y: dividends.map(() => 0), cliponaxis: false,
      text: dividends.map((action) => safe(textOf(action[3]))), marker: { symbol: "diamond", color: "#CC79A7", size: 7, line: { color: "#1b2128", width: 1 } },
      hovertemplate: "%{text}<extra>dividend</extra>",
    });
  }
  return {
    data,
    layout: {
      xaxis: { type: "date", anchor: "y2", hoverformat: "%Y-%m-%d" },
      yaxis: { domain: [0.3, 1], title: { text: `dollars a share${scale === "log" ? " (log)" : ""}` }, type: scale, tickformat: ",~g" },
      yaxis2: { domain: [0, 0.22], title: { text: "volume" }, rangemode: "tozero", nticks: 4 },
      bargap: 0, hovermode: "x unified", hoversubplots: "axis", hoverdistance: 10,
      shapes: splits.map((action) => ({
        type: "line", xref: "x", yref: "paper", x0: textOf(action[1]), x1: textOf(action[1]), y0: 0, y1: 1,
        line: { color: GREY, width: 1.5, dash: "dot" },
      })),
      annotations: splits.map((action) => ({
        x: textOf(action[1]), xref: "x", y: 1, yref: "paper", yanchor: "top", xanchor: "left", showarrow: false,
        text: safe(`${textOf(action[2])} ${textOf(action[3])}`), bgcolor: "rgba(128,128,128,0.15)",
      })),
    },
  };
}

/** The series by month: what the plot shows, as numbers. */
function monthTable(symbol, series) {
  const months = new Map();
  series.dates.forEach((date, row) => {
    const month = date.slice(0, 7);
    const told = months.get(month) ?? { bars: 0, volume: 0 };
    months.set(month, {
      bars: told.bars + 1, volume: told.volume + (series.volume[row] ?? 0),
      raw: series.raw[row] ?? told.raw, adjusted: series.adjusted[row] ?? told.adjusted,
    });
  });
  const rows = [...months].reverse().map(([month, told]) => [
    month, whole(told.bars), told.raw === undefined ? "–" : dollars(told.raw),
    told.adjusted === undefined ? "–" : dollars(told.adjusted), whole(told.volume),
  ]);
  const columns = [["month", "text"], ["bars", "number"], ["last close", "number"], ["last close, total return", "number"], ["shares traded", "number"]];
  return make("details", {}, make("summary", {}, "The numbers, by month"), plainTable(`${symbol} by month, in dollars a share`, columns, rows));
}

function plainTable(caption, columns, rows) {
  const heads = columns.map(([title, kind]) => make("th", { scope: "col", class: kind }, title));
  const table = make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, ...heads)));
  table.append(make("tbody", {}, ...rows.map((cells) => rowOf(columns, cells))));
  return make("div", { class: "frame", role: "region", "aria-label": caption, tabindex: "0" }, table);
}

/** Rows of one of the report's lists that are about a symbol, without the column that names it. */
const rowsAbout = (name, symbol) => (report.tables[name]?.rows ?? []).filter((cells) => textOf(cells[0]) === symbol);

function listed(title, name, symbol, empty) {
  const { columns, rows, total } = report.tables[name];
  const about = rowsAbout(name, symbol).map((cells) => cells.slice(1));
  const cut = rows.length < total ? ` Only the ${rows.length.toLocaleString("en")} of ${total.toLocaleString("en")} that this report lists are looked through.` : "";
  const body = about.length ? plainTable(`${title} of ${symbol}: ${about.length.toLocaleString("en")}${cut && `.${cut}`}`, columns.slice(1), about) : make("p", { class: "empty" }, empty + cut);
  return make("section", {}, make("h3", {}, title), body);
}

function findingsOf(symbol, series) {
  const section = make("section", {}, make("h3", {}, "Findings"));
  if (!series) return null;
  if (!series.findings.length) {
    section.append(make("p", { class: "empty" }, "No findings in the span."));
    return section;
  }
  const columns = [["session", "date"], ["severity", "text"], ["rule", "text"], ["field", "text"], ["value", "number"], ["limit", "number"], ["message", "text"], ["provider", "text"]];
  const rows = series.findings.map(([date, rule, severity, field, value, limit, message, provider]) => [
    date ?? "whole batch", `${SEVERITIES[severity]?.sign ?? ""} ${severity}`, rule, field, measured(value), measured(limit), message, provider,
  ]);
  const used = new Set(series.findings.map(([, rule]) => rule).filter((rule) => Object.hasOwn(report.meanings, rule)));
  const meanings = make("dl", { class: "facts" }, ...[...used].map((rule) => make("div", { class: "wide" }, make("dt", {}, rule), make("dd", {}, report.meanings[rule]))));
  section.append(plainTable(`Findings of ${symbol}: ${series.findings.length.toLocaleString("en")}`, columns, rows));
  if (used.size) section.append(make("details", {}, make("summary", {}, "What these rules mean"), meanings));
  return section;
}

function factsOf(row) {
  const { columns } = report.tables.symbols;
  const facts = columns.map(([title], place) => [title, textOf(row[place])]).slice(2).filter(([, text]) => text !== "");
  return make("dl", { class: "facts" }, ...facts.map(([title, text]) =>
    make("div", { class: /provider|refused/.test(title) ? "wide" : null }, make("dt", {}, title), make("dd", {}, text))));
}

function coverageOf(symbol) {
  const row = [...document.querySelectorAll("#heatmap tr[data-symbol]")].find((each) => each.dataset.symbol === symbol);
  if (!row) return null;
  const axis = make("div", { class: "axis", "aria-hidden": "true" });
  document.querySelectorAll("#heatmap .mark").forEach((mark) => axis.append(mark.cloneNode(true)));
  const strip = make("div", { class: "strip" }, row.querySelector("svg").cloneNode(true));
  return make("section", {}, make("h3", {}, "Coverage by month"), axis, strip, make("p", { class: "note" }, row.querySelector("svg").getAttribute("aria-label") + "."));
}

function priceOf(symbol, series) {
  const actions = rowsAbout("actions", symbol);
  const adjusted = series.adjusted.some((value) => value !== null);
  const last = series.raw.findLast((value) => value !== null);
  const words = `${plural(series.bars, ["bar", "bars"])} from ${series.dates[0]} to ${series.dates.at(-1)}; `
    + `last close ${last === undefined ? "not known" : `${dollars(last)} dollars`}; ${plural(series.findings.length, ["finding", "findings"])}, `
    + `${plural(actions.length, ["corporate action", "corporate actions"])}.`;
  const refused = adjusted ? "" : ` No adjusted series: ${series.refusal ?? "no adjusted close is known"}.`;
  const title = `${symbol}: closes as traded and as total return, volume, findings`;
  const canvas = make("div", { class: "canvas", id: "plot-symbol", role: "img", "aria-label": `${title}. ${words}${refused}`, style: "height: 520px" });
  const scale = make("button", { type: "button", "aria-pressed": String(scaleFor(series) === "log") }, "Logarithmic prices");
  scale.addEventListener("click", () => {
    const log = scale.getAttribute("aria-pressed") !== "true";
    scale.setAttribute("aria-pressed", String(log));
    draw(canvas, figureOf(series, actions, log ? "log" : "linear"));
  });
  const figure = make("figure", { class: "plot" }, make("figcaption", {}, make("h3", {}, title), make("p", {}, words + refused)),
    make("div", { class: "tools" }, scale), canvas);
  return { figure, canvas, drawn: () => draw(canvas, figureOf(series, actions, scaleFor(series))) };
}

/** Fill the page of a symbol and draw its plot. */
async function openSymbol(symbol, page) {
  const row = rowsAbout("symbols", symbol)[0];
  const place = report.symbols.indexOf(symbol);
  const beside = (other, text, rel) => (report.symbols[other] === undefined ? null
    : make("a", { href: hashOf(report.symbols[other]), rel }, text.replace("%", report.symbols[other])));
  const name = textOf(row[1]);
  page.replaceChildren(
    make("nav", { class: "steps", "aria-label": "Symbols" }, make("a", { href: "#", id: "back" }, "← Whole report"),
      beside(place - 1, "‹ %", "prev"), beside(place + 1, "% ›", "next")),
    make("h2", { id: "symbol-title", tabindex: "-1" }, name && name !== symbol ? `${symbol}, ${name}` : symbol),
    factsOf(row),
  );
  const series = await seriesOf(symbol);
  if (page.dataset.symbol !== symbol) return;
  const price = series && series.bars ? priceOf(symbol, series) : null;
  const none = series ? "No bars in the span." : "The series of prices were left out of this report.";
  const parts = [
    price ? price.figure : make("p", { class: "empty" }, none), price ? monthTable(symbol, series) : null,
    findingsOf(symbol, series), coverageOf(symbol),
    listed("Corporate actions", "actions", symbol, "No corporate actions in the span."),
    listed("Gaps", "gaps", symbol, "No gaps in the span."),
    listed("Restatements", "restatements", symbol, "No restatements in the span."),
  ];
  page.append(...parts.filter((part) => part !== null));
  if (price) await price.drawn();
}
