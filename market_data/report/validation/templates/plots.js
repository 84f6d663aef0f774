// Plots: plotly.js is unpacked when the page can be read, and a plot is drawn when it comes near the screen.
let library = null;

/** plotly.js, unpacked once; null where the browser cannot. */
function plotly() {
  library ??= (async () => {
    try {
      const source = new TextDecoder().decode(await unpacked(byId("plotly")));
      document.head.append(make("script", {}, source));
      return window.Plotly ?? null;
    } catch {
      return null;
    }
  })();
  return library;
}

const PLOTTED = new Set();
const FONT = { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif", size: 12 };
const CONFIG = { displayModeBar: false, responsive: false, showTips: false, doubleClick: "reset" };

const narrow = () => window.innerWidth < 600;

/** A layout without colours: those are the style sheet's, so that they follow the theme. */
function layoutFor(element, layout) {
  const axes = Object.fromEntries(Object.entries(layout).filter(([name]) => /^[xy]axis/.test(name)).map(
    ([name, axis]) => [name, { fixedrange: narrow(), automargin: true, ...axis }],
  ));
  return {
    font: FONT, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 16, t: 36, b: 40 }, width: element.clientWidth, height: element.clientHeight,
    hoverlabel: { bgcolor: "#1d232b", bordercolor: "#a9b4c0", font: { color: "#ffffff" } },
    dragmode: narrow() ? false : "zoom",
    ...layout, ...axes,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, ...layout.legend },
  };
}

async function draw(element, figure) {
  element.classList.add("waiting");
  const Plotly = await plotly();
  element.classList.remove("waiting");
  if (!Plotly) {
    element.replaceChildren(make("p", { class: "empty" }, "This browser cannot unpack the plots; the numbers are in the table."));
    return;
  }
  if (!element.isConnected) return;
  await Plotly.react(element, figure.data, layoutFor(element, figure.layout), CONFIG);
  PLOTTED.add(element);
}

function fit(width) {
  for (const element of PLOTTED) {
    if (!element.isConnected) PLOTTED.delete(element);
    else if (element.clientWidth || width) window.Plotly.relayout(element, { width: width ?? element.clientWidth });
  }
}

/** The overview's plots, each when it is about to be seen; `all` draws those left. */
const overviewPlots = {
  waiting: new Map(),
  watch() {
    const seen = new IntersectionObserver((entries) => {
      entries.filter((entry) => entry.isIntersecting).forEach((entry) => this.show(entry.target));
    }, { rootMargin: "600px" });
    for (const [name, figure] of Object.entries(report.plots)) {
      const element = byId(`plot-${name}`);
      this.waiting.set(element, figure);
      seen.observe(element);
    }
  },
  show(element) {
    const figure = this.waiting.get(element);
    this.waiting.delete(element);
    return figure ? draw(element, figure) : null;
  },
  all() {
    return Promise.all([...this.waiting.keys()].map((element) => this.show(element)));
  },
};
