// "Why this list": the decision behind a placement, for the curious.

import { el, fact } from "./dom.js";

/** A fold-out with the decision's basis, versions and probabilities. */
export function whyThisList(placement, ground, texts) {
  return el(
    "details",
    { class: "why" },
    el("summary", {}, texts.say("why.title")),
    el(
      "div",
      { class: "why-body" },
      el("p", {}, texts.say(`ground.${ground}.why`)),
      placement.items.length > 0 ? table(placement, texts) : null,
      el("p", { class: "muted small" }, texts.say("why.logging_note")),
      facts(placement, texts),
    ),
  );
}

function table(placement, texts) {
  const head = ["why.rank", "why.offer", probabilityKey(placement), "why.logging_probability"];
  return el(
    "table",
    {},
    el("thead", {}, el("tr", {}, head.map((key) => el("th", { scope: "col" }, texts.say(key))))),
    el(
      "tbody",
      {},
      placement.items.map((item) =>
        el(
          "tr",
          {},
          el("td", {}, String(item.slot)),
          el("td", {}, item.title),
          el("td", {}, item.probability === null ? "–" : texts.percent(item.probability)),
          el("td", {}, texts.percent(item.logging_probability)),
        ),
      ),
    ),
  );
}

function probabilityKey(placement) {
  return placement.target ? `why.${placement.target}_probability` : "why.no_probability";
}

function facts(placement, texts) {
  const { versions } = placement;
  const none = texts.say("why.none");
  return el(
    "dl",
    { class: "facts why-facts" },
    fact(texts.say("why.decision"), placement.decision_id),
    fact(texts.say("why.personalised"), texts.say(placement.is_personalised ? "yes" : "no")),
    fact(texts.say("why.basis"), texts.name("basis", placement.basis)),
    fact(texts.say("why.valid_until"), texts.moment(placement.valid_until)),
    fact(texts.say("why.bundle"), versions.bundle ?? none),
    fact(texts.say("why.catalogue"), versions.catalogue ?? none),
    fact(texts.say("why.policy"), versions.policy ?? none),
    fact(texts.say("why.state"), versions.state === null ? none : String(versions.state)),
  );
}
