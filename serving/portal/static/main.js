// The page: which company and language, what is shown, and what the buttons do.

import * as api from "./api.js";
import { companyCard, serviceList } from "./company.js";
import { askDismissalReason, confirmTaking, showDetails } from "./dialogs.js";
import { byId, el, icon } from "./dom.js";
import { ImpressionReporter } from "./impressions.js";
import { languageOfAddress, Texts } from "./language.js";
import { placementSections, wayOf } from "./offers.js";
import { Search, showExamples } from "./picker.js";

const state = { texts: null, examples: [], clientId: null, view: null, asked: 0, thanks: null };
const impressions = new ImpressionReporter();
const TOAST_MS = 6000;

async function start() {
  state.texts = await Texts.load(languageOfAddress());
  translatePage();
  new Search(pickClient, () => state.texts);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => pickLanguage(button.dataset.language));
  }
  window.addEventListener("popstate", () => followAddress().catch(showError));
  state.examples = (await api.fetchExamples()).clients;
  await followAddress();
}

async function followAddress() {
  const language = languageOfAddress();
  if (language !== state.texts.language) {
    state.texts = await Texts.load(language);
    translatePage();
  }
  const asked = new URLSearchParams(location.search).get("client");
  state.clientId = asked || state.examples[0]?.client_id || null;
  if (state.clientId === null) return showEmpty();
  history.replaceState(null, "", addressOf(state.clientId, language));
  return refresh({ isFresh: true });
}

function addressOf(clientId, language) {
  return `${location.pathname}?${new URLSearchParams({ client: clientId, lang: language })}`;
}

function goTo(clientId, language) {
  if (clientId !== state.clientId) state.thanks = null;
  history.pushState(null, "", addressOf(clientId, language));
  return followAddress().catch(showError);
}

const pickClient = (clientId) => goTo(clientId, state.texts.language);
const pickLanguage = (language) => goTo(state.clientId ?? "", language);

/** Asks for the page anew and shows it; `isFresh` when nothing on it should count as changed. */
async function refresh({ isFresh = false, focus = null } = {}) {
  state.asked += 1;
  const mine = state.asked;
  byId("page").setAttribute("aria-busy", "true");
  const before = new Set(isFresh ? [] : shownOffers(state.view));
  const view = await api.fetchView(state.clientId, state.texts.language);
  if (mine !== state.asked) return;
  state.view = view;
  render((item) => !isFresh && !before.has(item.offer_id));
  announce(state.texts.count("announce.offers", shownOffers(view).length));
  if (focus) byId(focus)?.focus();
}

function shownOffers(view) {
  return (view?.placements ?? []).flatMap((placement) => placement.items.map((item) => item.offer_id));
}

function render(isNew) {
  const { view, texts } = state;
  impressions.reset();
  const actions = {
    onTake: guarded(take),
    onExplain: (placementId) => api.fetchExplanation(view.client.client_id, texts.language, placementId),
    onDismiss: guarded(dismiss),
    onDetails: guarded(openDetails),
    onCard: (card, item) => impressions.watch(card, view.client.client_id, item),
  };
  byId("company").replaceChildren(companyCard(view, texts, { onProfiling: guarded(switchProfiling) }));
  byId("services").replaceChildren(serviceList(view, texts));
  byId("offers").replaceChildren(...placementSections(view, texts, actions, isNew));
  byId("notices").replaceChildren(...notices(view, texts));
  state.examples = state.examples.map((one) => (one.client_id === view.client.client_id ? view.client : one));
  showExamples(state.examples, state.clientId, texts, pickClient);
  document.title = `${view.client.name ?? view.client.client_id} – ${texts.say("brand")}`;
  byId("page").setAttribute("aria-busy", "false");
}

function notices(view, texts) {
  const found = [];
  if (state.thanks) {
    const what = texts.say("notice.applied_what", { title: state.thanks });
    found.push(notice("check", "calm", texts.say("notice.applied"), what));
  }
  if (view.complaint_until) {
    const day = texts.day(view.complaint_until);
    found.push(notice("info", "calm", texts.say("notice.complaint"), texts.say("notice.complaint_until", { day })));
  }
  const degraded = view.placements.find((placement) => placement.degraded)?.degraded;
  if (degraded) found.push(notice("alert", "warning", texts.say("notice.degraded"), texts.name("degraded", degraded)));
  if (view.client.is_known && !view.client.is_profiling_allowed) {
    found.push(notice("info", "calm", texts.say("notice.general"), texts.say("notice.general_how")));
  }
  return found;
}

function notice(mark, kind, title, more) {
  return el("div", { class: `notice notice-${kind}` }, icon(mark), el("p", {}, el("strong", {}, title), ` ${more}`));
}

const TAKING = {
  new: api.connectOffer,
  upgrade: api.connectOffer,
  renew: api.renewOffer,
  expand: api.expandOffer,
  retain: api.applyForOffer,
  request: api.applyForOffer,
};

async function take(item) {
  const { view, texts } = state;
  const nMore = await confirmTaking(view, item, texts);
  if (nMore === null) return;
  const way = wayOf(item);
  await TAKING[way](view.client.client_id, item, nMore);
  if (TAKING[way] === api.applyForOffer) state.thanks = item.title;
  toast(texts.say(`toast.${way}`, { title: item.title }));
  await refresh({ focus: headingOf(item) });
}

async function dismiss(item) {
  const { view, texts } = state;
  const reason = await askDismissalReason(item, texts);
  if (reason === null) return;
  await report(view, item, "dismissal", reason);
  toast(texts.say("toast.dismissed", { title: item.title }));
  await refresh({ focus: headingOf(item) });
}

async function openDetails(item) {
  const { view, texts } = state;
  const choosing = showDetails(view, item, texts);
  report(view, item, "click", null).catch(showError);
  const choice = await choosing;
  if (choice === "take") await take(item);
  if (choice === "dismiss") await dismiss(item);
}

async function switchProfiling(isAllowed) {
  await api.setProfiling(state.clientId, isAllowed);
  await refresh({ focus: "profiling" });
}

function report(view, { decision_id, slot, offer_id }, event_type, reason) {
  return api.sendEvents(view.client.client_id, [{ event_type, decision_id, slot, offer_id, reason }]);
}

function headingOf(item) {
  const placement = state.view.placements.find((one) => one.items.includes(item));
  return placement ? `heading-${placement.placement_id}` : null;
}

/** An action that tells its failure to the member instead of losing it. */
function guarded(action) {
  return (argument) => action(argument).catch(showError);
}

function showError(error) {
  const { texts } = state;
  byId("page").setAttribute("aria-busy", "false");
  const message = error instanceof api.ApiError ? error.message : "";
  const text = message ? texts.say("error.server", { message }) : texts.say("error.offline");
  const retry = () => refresh({ isFresh: true }).catch(showError);
  byId("notices").replaceChildren(
    notice("alert", "warning", text, ""),
    el("button", { type: "button", class: "button", on: { click: retry } }, texts.say("error.retry")),
  );
  announce(text);
}

function showEmpty() {
  byId("page").setAttribute("aria-busy", "false");
  byId("offers").replaceChildren(el("p", { class: "panel empty" }, state.texts.say("page.empty")));
}

function announce(text) {
  byId("announcer").textContent = text;
}

function toast(text) {
  const node = byId("toast");
  node.textContent = text;
  clearTimeout(state.toastTimer);
  state.toastTimer = setTimeout(() => node.replaceChildren(), TOAST_MS);
}

/** Puts the texts of the language into what stands in index.html. */
function translatePage() {
  const { texts } = state;
  document.documentElement.lang = texts.language;
  document.title = texts.say("brand");
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = texts.say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", texts.say(node.dataset.label));
  }
  for (const node of document.querySelectorAll("[data-placeholder]")) {
    node.placeholder = texts.say(node.dataset.placeholder);
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === texts.language));
  }
}

start().catch((error) => {
  // Without texts there is no language to apologise in, so the reason goes to the page as it is.
  if (state.texts) showError(error);
  else byId("offers").textContent = String(error);
});
