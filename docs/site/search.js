// Sphinx's own scores, and more for the guides: who searches for a word wants it explained before it is listed.
var Scorer = {
  score: result => result[4] + (result[0].startsWith("guides/") ? 12 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: {0: 15, 1: 5, 2: -5},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
