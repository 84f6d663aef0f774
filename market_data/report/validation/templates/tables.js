// Tables that are filtered and sorted: all rows lie in the page's data, the shown ones in the document.
const LONG = 60;
const textOf = (cell) => (Array.isArray(cell) ? cell[0] : cell);
const keyOf = (cell) => (Array.isArray(cell) ? cell[1] : cell === "" ? null : cell.toLowerCase());

/** Unknown values come last, whichever way the rest is sorted. */
function compare(one, other, way) {
  if (one === null || other === null) return (one === null) - (other === null);
  if (one === other) return 0;
  return (one < other ? -1 : 1) * way;
}

function rowOf(columns, cells) {
  return make("tr", {}, ...cells.map((cell, place) => {
    const text = textOf(cell);
    const kind = columns[place][1];
    if (kind !== "symbol") return make("td", { class: kind === "text" && text.length > LONG ? "text long" : kind }, text);
    return make("th", { scope: "row", class: "symbol" }, make("a", { href: hashOf(text) }, text));
  }));
}

class ListedTable {
  constructor(table) {
    this.name = table.dataset.table;
    Object.assign(this, report.tables[this.name]);
    this.limit = this.shown;
    this.sorted = { place: null, way: 1 };
    this.body = table.tBodies[0];
    this.heads = [...table.tHead.rows[0].cells];
    this.heads.forEach((head, place) => this.makeSortable(head, place));
    this.filter = document.querySelector(`[data-filter="${this.name}"]`);
    this.more = document.querySelector(`[data-more="${this.name}"]`);
    this.filter.addEventListener("input", () => { this.limit = this.shown; this.show(); });
    this.more.addEventListener("click", () => { this.limit += 1000; this.show(); });
    this.more.hidden = this.rows.length <= this.limit;
  }

  makeSortable(head, place) {
    const button = make("button", { type: "button" }, head.textContent);
    button.addEventListener("click", () => this.sortBy(place));
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
  }

  sortBy(place) {
    const again = this.sorted.place === place;
    const first = this.columns[place][1] === "number" ? -1 : 1;
    this.sorted = { place, way: again ? -this.sorted.way : first };
    this.heads.forEach((head, other) => {
      const way = this.sorted.way === 1 ? "ascending" : "descending";
      head.setAttribute("aria-sort", other === place ? way : "none");
    });
    this.show();
  }

  /** The rows that have every word of the filter, in the order asked for. */
  chosen() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (cells) => {
      const text = cells.map(textOf).join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const rows = words.length ? this.rows.filter(has) : [...this.rows];
    const { place, way } = this.sorted;
    return place === null ? rows : rows.sort((one, other) => compare(keyOf(one[place]), keyOf(other[place]), way));
  }

  show() {
    const rows = this.chosen();
    const shown = rows.slice(0, this.limit);
    this.body.replaceChildren(...shown.map((cells) => rowOf(this.columns, cells)));
    this.more.hidden = rows.length <= this.limit;
    byId(`${this.name}-shown`).textContent = this.told(shown.length, rows.length);
  }

  told(shown, matching) {
    const all = plural(this.total, this.noun);
    const count = shown.toLocaleString("en");
    if (this.filter.value.trim()) {
      const some = matching.toLocaleString("en");
      return `Showing ${count} of ${some} that match, of ${all} in all.`;
    }
    return shown === this.total ? `${all}.` : `Showing ${count} of ${all}.`;
  }
}

/** The coverage heatmap: its rows stand in the document, and are hidden and moved. */
function heatmap() {
  const table = byId("heatmap");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.querySelectorAll("tr[data-symbol]")];
  const short = new Map(rows.map((row) => [row, row.querySelector("rect:not(.full)") !== null]));
  const filter = byId("heat-filter");
  const order = byId("heat-sort");
  const onlyShort = byId("heat-short");
  const name = (row) => row.dataset.symbol;
  const byName = (one, other) => compare(name(one), name(other), 1);
  const orders = {
    symbol: byName,
    coverage: (one, other) => one.dataset.coverage - other.dataset.coverage || byName(one, other),
    lacking: (one, other) => other.dataset.lacking - one.dataset.lacking || byName(one, other),
  };
  const choose = () => {
    const text = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !name(row).toLowerCase().includes(text) || (onlyShort.checked && !short.get(row));
      shown += !row.hidden;
    }
    const all = plural(rows.length, ["symbol", "symbols"]);
    byId("heat-shown").textContent = shown === rows.length ? `${all}.` : `Showing ${shown.toLocaleString("en")} of ${all}.`;
  };
  filter.addEventListener("input", choose);
  onlyShort.addEventListener("change", choose);
  order.addEventListener("change", () => body.append(...rows.sort(orders[order.value])));
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-symbol]");
    if (row && !event.target.closest("a")) location.hash = hashOf(name(row));
  });
}
