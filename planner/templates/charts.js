// Draws every chart of the page. Colours are the style sheet's, so light and dark need no more.
const views = {};
const drawn = Promise.all([...document.querySelectorAll("figure.chart")].map(figure => {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const options = { mode: "vega-lite", renderer: "svg", actions: false, tooltip: { disableDefaultStyle: true }, logLevel: 1 };
  return vegaEmbed(figure.querySelector("div"), spec, options).then(({ view }) => { views[figure.id] = view; });
}));
