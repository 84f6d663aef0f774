// Putting it together: theme, the way between the report and the pages of symbols, printing.
const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function theme() {
  const button = byId("theme");
  const stored = kept.read("market-data-theme");
  if (stored === "dark" || stored === "light") root.dataset.theme = stored;
  const name = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    kept.write("market-data-theme", root.dataset.theme);
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
}

const overview = byId("overview");
const page = byId("symbol-page");
const symbols = new Set(report.symbols);
let left = { scroll: 0, symbol: null };

function hashed() {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
}

/** Show what the address names: the page of a symbol, or the report, at the place it was left. */
async function route() {
  const name = hashed();
  if (symbols.has(name)) {
    if (!overview.hidden) left.scroll = scrollY;
    left.symbol = page.dataset.symbol = name;
    delete page.dataset.drawn;
    overview.hidden = true;
    page.hidden = false;
    document.title = `${name}, ${report.title}`;
    const opened = openSymbol(name, page);
    scrollTo({ top: 0, behavior: "instant" });
    byId("symbol-title").focus({ preventScroll: true });
    await opened;
    page.dataset.drawn = "";
    return;
  }
  document.title = report.title + (report.synthetic ? " (synthetic data)" : "");
  if (overview.hidden) {
    overview.hidden = false;
    page.hidden = true;
    page.replaceChildren();
    delete page.dataset.symbol;
    delete page.dataset.drawn;
    fit();
    if (name) byId(name)?.scrollIntoView({ behavior: "instant" });
    else scrollTo({ top: left.scroll, behavior: "instant" });
    const link = [...document.querySelectorAll(`a[href="${CSS.escape(hashOf(left.symbol ?? ""))}"]`)].find((each) => each.offsetParent);
    if (!name) link?.focus({ preventScroll: true });
  }
}

function jump() {
  const field = byId("jump");
  byId("symbol-names").append(...report.symbols.map((symbol) => make("option", { value: symbol })));
  const go = (strict) => {
    const asked = field.value.trim();
    const found = symbols.has(asked) ? asked : report.symbols.find((symbol) => symbol.toUpperCase() === asked.toUpperCase());
    field.setCustomValidity(found || !strict ? "" : `${asked} is not in this report`);
    if (!found) { if (strict) field.reportValidity(); return; }
    field.value = "";
    location.hash = hashOf(found);
  };
  field.addEventListener("input", (event) => { field.setCustomValidity(""); if (event.inputType === "insertReplacementText") go(false); });
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") go(true); });
}

/** On paper everything is open, and plots are as wide as the sheet. */
function printing() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((each) => { each.open = true; });
    fit(680);
  });
  addEventListener("afterprint", () => {
    opened.forEach((each) => { each.open = false; });
    fit();
  });
}

async function start() {
  theme();
  jump();
  document.querySelectorAll("table[data-table]").forEach((table) => new ListedTable(table));
  heatmap();
  printing();
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address names a symbol or a section
    byId("content").focus();
  });
  addEventListener("hashchange", route);
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => fit(), 150); });
  const routed = route();
  await afterPaint();
  root.dataset.ready = "";
  performance.mark("ready");
  await plotly();
  overviewPlots.watch();
  await routed;
  await afterPaint();
  if (!overview.hidden) await overviewPlots.all();
  root.dataset.drawn = "";
  performance.mark("drawn");
}

if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
else start();
