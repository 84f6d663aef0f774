// What the other parts share: the page's data, elements made of text alone, and packed bytes.
const root = document.documentElement;
root.classList.remove("no-script");

const byId = (id) => document.getElementById(id);
const report = JSON.parse(byId("data").textContent);

/** An element with attributes and children; strings become text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const hashOf = (symbol) => "#" + encodeURIComponent(symbol);
const plural = (count, [one, many]) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** The bytes of a packed element: base64 of gzip. */
async function unpacked(element) {
  const text = atob(element.textContent);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** What a browser may refuse to a file is asked for with care. */
const kept = {
  read(name) { try { return localStorage.getItem(name); } catch { return null; } },
  write(name, value) { try { localStorage.setItem(name, value); } catch { /* the choice lasts as long as the page */ } },
};

const afterPaint = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
