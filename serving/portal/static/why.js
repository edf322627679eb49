// "Why this list": the decision behind a placement, for the curious.

import { el, fact } from "./dom.js";

const FACTORS = ["context", "value", "levers"];

/** A fold-out with the decision's basis, versions and probabilities; `explain` fetches the rest when it is unfolded. */
export function whyThisList(placement, ground, texts, explain) {
  const account = once(explain);
  const made = new Map(placement.items.map((item) => [item.offer_id, el("td", { colspan: 3 })]));
  const status = el("p", { class: "muted small", role: "status" });
  const hidden = el("div", { class: "hidden-offers" });
  const fold = el(
    "details",
    { class: "why", on: { toggle: () => fold.open && fill(showPlaces) } },
    el("summary", {}, texts.say("why.title")),
    el(
      "div",
      { class: "why-body" },
      el("p", {}, texts.say(`ground.${ground}.why`)),
      placement.items.length > 0 ? table(placement, made, texts) : null,
      el("p", { class: "muted small" }, texts.say("why.made_note"), " ", texts.say("why.logging_note")),
      facts(placement, texts),
      hiddenFold(hidden, texts, () => fill(showHidden)),
      status,
    ),
  );

  async function fill(show) {
    try {
      show(await account());
      status.textContent = "";
    } catch {
      status.textContent = texts.say("why.failed");
    }
  }

  function showPlaces({ made_of }) {
    for (const [offerId, node] of made) node.textContent = madeOf(made_of[offerId], texts);
  }

  function showHidden(found) {
    hidden.replaceChildren(funnel(found, texts), ...stages(found, texts));
  }

  return fold;
}

/** A question that is asked once and, if it failed, again. */
function once(ask) {
  let asked = null;
  return () => {
    asked ??= ask().catch((error) => {
      asked = null;
      throw error;
    });
    return asked;
  };
}

function table(placement, made, texts) {
  const head = ["why.rank", "why.offer", probabilityKey(placement), "why.logging_probability"];
  return el(
    "table",
    {},
    el("thead", {}, el("tr", {}, head.map((key) => el("th", { scope: "col" }, texts.say(key))))),
    el(
      "tbody",
      {},
      placement.items.flatMap((item) => [
        el(
          "tr",
          { class: "place" },
          el("td", {}, String(item.slot)),
          el("td", {}, item.title),
          el("td", {}, item.probability === null ? "–" : texts.percent(item.probability)),
          el("td", {}, texts.percent(item.logging_probability)),
        ),
        el("tr", { class: "made" }, el("td"), made.get(item.offer_id)),
      ]),
    ),
  );
}

function probabilityKey(placement) {
  return placement.target ? `why.${placement.target}_probability` : "why.no_probability";
}

/** "P 23% × C 1.4 × V 0.87 × L 1 = 0.28"; nothing of an offer that has left the list meanwhile. */
function madeOf(place, texts) {
  if (!place) return "";
  const factors = FACTORS.map((name) => `${texts.say(`factor.${name}`)}\u00a0${texts.factor(place[name])}`);
  const probability = `${texts.say("factor.probability")}\u00a0${texts.percent(place.probability)}`;
  return `${[probability, ...factors].join(" × ")} =\u00a0${texts.factor(place.priority)}`;
}

function hiddenFold(content, texts, onOpen) {
  const fold = el(
    "details",
    { class: "hidden-fold", on: { toggle: () => fold.open && onOpen() } },
    el("summary", {}, texts.say("hidden.title")),
    content,
  );
  return fold;
}

/** How many offers are left, as one line; a stage that takes none away is passed over. */
function funnel({ n_offers, funnel: left, n_shown }, texts) {
  const steps = [
    { stage: "catalogue", n_left: n_offers },
    ...left.filter(({ n_left }, place) => n_left < (place > 0 ? left[place - 1].n_left : n_offers)),
    { stage: "shown", n_left: n_shown },
  ];
  return el(
    "ol",
    { class: "funnel", "aria-label": texts.say("hidden.funnel") },
    steps.map(({ stage, n_left }) =>
      el("li", {}, el("strong", {}, texts.number(n_left)), ` ${texts.name("left", stage)}`),
    ),
  );
}

function stages({ not_shown }, texts) {
  const names = [...new Set(not_shown.map(({ stage }) => stage))];
  return names.map((stage) => {
    const offers = not_shown.filter((offer) => offer.stage === stage);
    return el(
      "section",
      { class: "stage-refused" },
      el("h3", {}, texts.name("refused", stage), el("span", { class: "counter" }, texts.number(offers.length))),
      el("ul", {}, sameReason(offers).map((group) => refused(group))),
    );
  });
}

/** Offers that one sentence, and one cure, speaks of; in the order in which they come. */
function sameReason(offers) {
  const groups = new Map();
  for (const offer of offers) {
    const key = JSON.stringify([offer.text, offer.cure]);
    groups.set(key, [...(groups.get(key) ?? []), offer]);
  }
  return [...groups.values()];
}

function refused(group) {
  const [{ text, cure }] = group;
  return el(
    "li",
    {},
    el("p", {}, text),
    el("p", { class: "muted small" }, group.map(({ title }) => title).join(" · ")),
    cure ? el("p", { class: "cure small" }, cure) : null,
  );
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
