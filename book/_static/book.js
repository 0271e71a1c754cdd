// Punctuation stays on the line of the formula before it: a browser may break a line there.
document.addEventListener("DOMContentLoaded", () => {
  for (const formula of document.querySelectorAll("span.math")) {
    const after = formula.nextSibling;
    if (after === null || after.nodeType !== Node.TEXT_NODE) continue;
    const [marks] = after.data.match(/^[.,;:!?)\]’”]*/);
    if (marks === "") continue;
    const together = document.createElement("span");
    together.style.whiteSpace = "nowrap";
    formula.before(together);
    together.append(formula, marks);
    after.data = after.data.slice(marks.length);
  }
});
