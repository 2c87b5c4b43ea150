// Sphinx's own scores, and more for the guides: who searches for a word wants it explained before it is listed.
// An option comes first where the query has its dashes, else behind the guides: many commands have a `--resize`.
// Lists of everything come last.
const LISTS = ["CHANGELOG", "gallery"];
const GUIDE = 12;
var Scorer = {
  score([page, , anchor, , score]) {
    if (anchor.startsWith("#cmdoption-")) return location.search.includes("--") ? 100 + score : Scorer.term + GUIDE - 1;
    return score + (page.startsWith("guides/") ? GUIDE : LISTS.includes(page) ? -100 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: {0: 15, 1: 5, 2: -5},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

// The words of a question that no page answers by having them: "what does --budget do?" asks for "budget".
const ASKING = new Set("what which why how when where who does do did can could should i my me a an the of".split(" "));
function splitQuery(query) {
  const words = query.split(/[^\p{Letter}\p{Number}_\p{Emoji_Presentation}]+/u).filter(Boolean);
  const asked = words.filter(word => !ASKING.has(word.toLowerCase()));
  return asked.length ? asked : words;
}
