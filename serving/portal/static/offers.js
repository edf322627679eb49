// The ranked offers of each placement: a banner, the main list, a block of partners.

import { provider } from "./company.js";
import { el, icon } from "./dom.js";
import { whyThisList } from "./why.js";

const STYLES = { banner: "hero", home: "list", partners: "grid" };

/** One section for each placement; `actions` are what a card's buttons do, `isNew` marks fresh cards. */
export function placementSections(view, texts, actions, isNew) {
  return view.placements.map((placement) => section(view, placement, texts, actions, isNew));
}

function section(view, placement, texts, actions, isNew) {
  const id = placement.placement_id;
  const style = STYLES[id] ?? "list";
  const ground = groundOf(view.client, placement);
  const cards = placement.items.map((item) =>
    el("li", { class: "slot" }, card(view, item, style, texts, actions, isNew(item))),
  );
  const heading = el("h2", { id: `heading-${id}`, tabindex: "-1", class: "section-title" }, title(id, texts));
  return el(
    "section",
    { class: `placement placement-${style}`, "data-placement": id, "aria-labelledby": `heading-${id}` },
    el("div", { class: "section-head" }, heading, el("p", { class: "muted" }, texts.say(`ground.${ground}.lead`))),
    cards.length > 0
      ? el("ol", { class: "cards" }, cards)
      : emptyList(placement, texts),
    whyThisList(placement, ground, texts, () => actions.onExplain(id)),
  );
}

/** An empty list says why it is empty. */
function emptyList(placement, texts) {
  const why = placement.silences.map(({ text, n_offers }) =>
    el("li", {}, text, el("span", { class: "muted" }, ` – ${texts.count("offers", n_offers)}`)),
  );
  return el(
    "div",
    { class: "panel empty" },
    el("p", {}, texts.say(why.length > 0 ? "offers.none_because" : "offers.none")),
    why.length > 0 ? el("ul", { class: "silences" }, why) : null,
  );
}

function title(placementId, texts) {
  return texts.name("placement", placementId);
}

/** What the order rests on, as the texts about it are called. */
function groundOf(client, placement) {
  if (!client.is_profiling_allowed) return "general";
  const isFallback = placement.degraded && placement.degraded !== "store_unavailable";
  return isFallback ? "degraded" : placement.basis;
}

function card(view, item, style, texts, actions, isNew) {
  const titleId = `offer-${item.decision_id}-${item.slot}`;
  const node = el(
    "article",
    {
      class: `card card-${style}${isNew ? " card-new" : ""}`,
      "aria-labelledby": titleId,
      "data-offer": item.offer_id,
      "data-kind": item.kind,
      "data-change": item.change,
    },
    style === "hero" ? null : el("span", { class: "card-rank", title: texts.say("offer.rank") }, String(item.slot)),
    el(
      "div",
      { class: "card-body" },
      el("p", { class: "badges" }, badges(item, texts)),
      el("h3", { id: titleId, class: "card-title" }, item.title),
      changeParagraph(item, texts),
      reasons(item, texts),
    ),
    el("div", { class: "card-side" }, priceLine(item.price, view.currency, texts), buttons(item, texts, actions)),
  );
  actions.onCard(node, item);
  return node;
}

/** Whose offer it is and what it would change. */
export function badges(item, texts) {
  const change = item.change === "new" ? null : texts.name("change", item.change);
  return [
    el("span", { class: `badge badge-${item.kind}` }, provider(item, texts)),
    change ? el("span", { class: "badge badge-change" }, change) : null,
    item.change === "new" ? el("span", { class: "badge badge-plain" }, texts.say("change.new")) : null,
  ];
}

/** What taking it would change of what the company has, in a sentence; null for something new. */
export function changeLine(item, texts) {
  const { change, held, replaces } = item;
  if (change === "upgrade") return replaces && texts.say("becomes.upgrade", { title: replaces });
  if (change === "new" || held === null) return null;
  return texts.say(`becomes.${change}`, {
    count: texts.count("pieces", held.quantity),
    until: held.term_ends_on && texts.day(held.term_ends_on),
    renewed: texts.day(held.renewed_until),
  });
}

function changeParagraph(item, texts) {
  const line = changeLine(item, texts);
  return line ? el("p", { class: "becomes" }, line) : null;
}

/** How the offer is taken; nobody connects what has no price yet: it is asked for. */
export const wayOf = ({ change, price }) => (price === null && ["new", "upgrade"].includes(change) ? "request" : change);

/** What the button that takes the offer says. */
export const takeLabel = (item, texts) => texts.say(`take.${wayOf(item)}`);

/** Why this company is offered it. */
export function reasons(item, texts) {
  if (item.reasons.length === 0) return null;
  return el(
    "ul",
    { class: "reasons", "aria-label": texts.say("offer.reasons") },
    item.reasons.map((reason) => el("li", {}, icon("check"), el("span", {}, reason))),
  );
}

/** "12 500 ₽ в месяц", the amount in front. */
export function priceLine(price, currency, texts) {
  const [amount, period] = texts.price(price, currency);
  return el("p", { class: "price" }, el("strong", {}, amount), period ? ` ${period}` : "");
}

function buttons(item, texts, actions) {
  const button = (kind, key, label, action) =>
    el(
      "button",
      {
        type: "button",
        class: kind,
        "data-action": key,
        "aria-label": `${label}: ${item.title}`,
        on: { click: () => action(item) },
      },
      label,
    );
  return el(
    "div",
    { class: "card-buttons" },
    button("button primary", "take", takeLabel(item, texts), actions.onTake),
    el(
      "div",
      { class: "card-links" },
      button("link", "details", texts.say("offer.details"), actions.onDetails),
      button("link quiet", "dismiss", texts.say("offer.dismiss"), actions.onDismiss),
    ),
  );
}
