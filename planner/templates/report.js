// A member of the front that is picked, in its chart or in the table, is shown by all that know it.
const rows = [...document.querySelectorAll(".sortable tbody tr")];
const known = new Set();
let picked = -1;
function show(number) {
  picked = known.has(number) ? number : -1;
  for (const name of ["front", "staircase", "tokens"]) views[name].signal("picked", picked).runAsync();
  rows.forEach(row => row.classList.toggle("is-picked", Number(row.dataset.number) === picked));
  document.querySelectorAll(".when-picked").forEach(key => { key.hidden = picked < 0; });
}
drawn.then(() => {
  views.staircase.data("front steps").forEach(member => known.add(member.number));
  rows.forEach(row => row.classList.toggle("known", known.has(Number(row.dataset.number))));
  views.front.addEventListener("click", (event, item) => {
    const number = item && item.datum && item.datum.number;
    show(number === picked || number === undefined ? -1 : number);
  });
});
document.querySelectorAll(".sortable").forEach(table => {
  const heads = [...table.querySelectorAll("th")], body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const sort = (head, column) => {
    const falls = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b, "en", { numeric: true });
    const sorted = [...body.rows].sort((a, b) => order(value(a, column), value(b, column)));
    body.append(...(falls ? sorted.reverse() : sorted));
  };
  heads.forEach((head, column) => {
    head.addEventListener("click", () => sort(head, column));
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(head, column); });
  });
  body.addEventListener("click", event => {
    const row = event.target.closest("tr.known");
    if (row) show(Number(row.dataset.number) === picked ? -1 : Number(row.dataset.number));
  });
});
