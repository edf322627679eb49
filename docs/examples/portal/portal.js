// A portal's page in plain JavaScript: shows recommendations and reports what became of them.
//
// An event gets its id once, is kept in localStorage until the service has acknowledged it, and is sent again until
// then: over failed requests, closed pages and restarts. The service stores it once however often it comes.

const WORDS = {
  ru: {
    titles: { home: "Подходит вам", partners: "От партнёров" },
    connect: "Подробнее", opened: "Открыто", free: "Бесплатно", onRequest: "По договорённости",
    periods: { month: " в месяц", once: " разово", usage: " по факту использования" },
    nothing: "Сейчас предложений нет.",
  },
  en: {
    titles: { home: "For you", partners: "From our partners" },
    connect: "More", opened: "Opened", free: "Free", onRequest: "By agreement",
    periods: { month: " a month", once: " one-off", usage: " by usage" },
    nothing: "There are no offers now.",
  },
};
const SEEN_SHARE = 0.5; // of a card on the screen …
const SEEN_MS = 1000; // … for so long is an impression
const TRIES = 4;
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 30_000;
const BATCH = 50; // what a browser still sends while it leaves is 64 KB at most
const KEPT_EVENTS = 500;

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
// Drawn evenly, so that many pages do not come back at one moment.
const backoff = (tries) => Math.random() * Math.min(FIRST_WAIT_MS * 2 ** tries, LONGEST_WAIT_MS);

/** Asks the service with a member token, or through a backend that knows its own key. */
export class Service {
  constructor(url, tokenUrl) {
    this.url = url;
    this.tokenUrl = tokenUrl;
    this.token = null;
    this.hasWarned = false;
  }

  async #headers() {
    const headers = { "Content-Type": "application/json" };
    if (this.tokenUrl) {
      this.token ??= await this.#newToken();
      headers.Authorization = `Bearer ${this.token}`;
    }
    return headers;
  }

  async #newToken() {
    let why;
    try {
      const answer = await fetch(this.tokenUrl, { method: "POST", cache: "no-store" });
      if (answer.ok) return (await answer.json()).token;
      why = `status ${answer.status}`;
    } catch (error) {
      why = error.message;
    }
    if (!this.hasWarned) {
      console.warn(`data-token-url="${this.tokenUrl}" gives no member token (${why}): let your backend answer there, ` +
        "or leave it empty and let your backend add its key");
    }
    this.hasWarned = true; // once for a page, however often it is tried
    throw new TypeError("no member token");
  }

  /** One try; a token that has expired is renewed once. */
  async post(path, body, options = {}) {
    for (let isRenewed = false; ; isRenewed = true) {
      const answer = await fetch(this.url + path, {
        method: "POST", headers: await this.#headers(), body: JSON.stringify(body), ...options,
      });
      if (answer.status !== 401 || !this.tokenUrl || isRenewed) return answer;
      this.token = null;
    }
  }

  /** While the page is left there is no time for an answer; what was not acknowledged is sent again next time. */
  sendLast(path, body) {
    const text = JSON.stringify(body);
    if (!this.tokenUrl) {
      navigator.sendBeacon(this.url + path, new Blob([text], { type: "application/json" }));
    } else if (this.token) {
      // A beacon carries no Authorization; a request that is kept alive does.
      const headers = { "Content-Type": "application/json", Authorization: `Bearer ${this.token}` };
      fetch(this.url + path, { method: "POST", headers, body: text, keepalive: true }).catch(() => {});
    }
  }
}

const isPassing = (status) => status === 408 || status === 429 || status >= 500;
// What the service says of the events themselves; whatever else is answered, they are kept and sent again.
const REFUSALS = [403, 409, 413, 422];

/** Milliseconds that the service asks to wait. */
const asked = (answer) => 1000 * (Number(answer?.headers.get("Retry-After")) || 0);

/** The lists for a client; null when the service cannot be had: the page does without. */
export async function recommend(service, question) {
  // One id for all tries: the answer of a decision that was made already is given again.
  const body = { ...question, request_id: crypto.randomUUID() };
  for (let tries = 0; tries < TRIES; tries += 1) {
    let answer = null;
    try {
      answer = await service.post("/v1/recommendations", body);
      if (answer.ok) return await answer.json();
      if (!isPassing(answer.status)) return null;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // fetch tells every network fault so
    }
    await wait(asked(answer) + backoff(tries));
  }
  return null;
}

/** Events that the service has not acknowledged yet. */
export class Outbox {
  constructor(service, client, member) {
    this.service = service;
    this.name = `recsys-outbox/${client}/${member}`; // a token of one may not report for another
    this.isSending = false;
    this.tries = 0;
    this.alone = 0; // so many of the oldest are sent one by one
    addEventListener("online", () => this.send());
    addEventListener("pagehide", () => this.#sendLast());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.#sendLast();
    });
  }

  get events() {
    try {
      return JSON.parse(localStorage.getItem(this.name) ?? "[]");
    } catch {
      return [];
    }
  }

  #keep(events) {
    localStorage.setItem(this.name, JSON.stringify(events.slice(-KEPT_EVENTS)));
  }

  put(event) {
    this.#keep([...this.events, { ...event, event_id: crypto.randomUUID(), occurred_at: new Date().toISOString() }]);
    this.send();
  }

  #forget(events) {
    const ids = new Set(events.map((event) => event.event_id));
    this.#keep(this.events.filter((event) => !ids.has(event.event_id)));
  }

  #next() {
    return this.events.slice(0, this.alone ? 1 : BATCH);
  }

  async send() {
    if (this.isSending) return;
    this.isSending = true;
    try {
      for (let batch = this.#next(); batch.length; batch = this.#next()) {
        const ms = await this.#sendBatch(batch);
        if (ms !== null) await wait(ms);
      }
    } finally {
      this.isSending = false;
    }
  }

  /** Sends some events; returns for how long to wait before the next try, null = they are done. */
  async #sendBatch(batch) {
    let answer = null;
    try {
      answer = await this.service.post("/v1/events", { events: batch }, { keepalive: true });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    if (!answer?.ok && !REFUSALS.includes(answer?.status)) {
      this.tries += 1;
      return Math.max(asked(answer), FIRST_WAIT_MS) + backoff(this.tries);
    }
    this.tries = 0;
    const done = answer.ok ? batch : await this.#untrue(batch, answer);
    // Where one of several is refused, and the service does not say which, they are sent one by one.
    this.alone = done.length ? Math.max(0, this.alone - 1) : batch.length;
    this.#forget(done);
    return null;
  }

  /** Those of a refused batch that will never be stored: the ones that the service names, or the only one. */
  async #untrue(batch, answer) {
    const failure = await answer.json().catch(() => ({}));
    const faults = failure.error?.details?.faults ?? [];
    console.info("events refused", failure.error?.message ?? answer.status);
    if (faults.length) return faults.map((fault) => batch[fault.index]);
    return batch.length > 1 ? [] : batch;
  }

  #sendLast() {
    const batch = this.events.slice(0, BATCH);
    if (batch.length) this.service.sendLast("/v1/events", { events: batch });
  }
}

/** Reports a card once half of it was on the screen for a second. */
class Sight {
  constructor(report) {
    this.report = report;
    this.timers = new Map();
    this.observer = new IntersectionObserver((entries) => entries.forEach((entry) => this.#look(entry)), {
      threshold: SEEN_SHARE,
    });
  }

  watch(card) {
    this.observer.observe(card);
  }

  #look({ target, isIntersecting }) {
    clearTimeout(this.timers.get(target));
    if (!isIntersecting) return;
    this.timers.set(target, setTimeout(() => {
      this.observer.unobserve(target);
      this.report(target);
    }, SEEN_MS));
  }
}

const element = (name, text = "", className = "") => {
  const made = document.createElement(name);
  made.textContent = text; // never as HTML: titles and reasons come from elsewhere
  made.className = className;
  return made;
};

const priceText = (price, words, language) => {
  if (price === null) return words.onRequest;
  if (price.amount_minor === 0) return words.free;
  const digits = price.amount_minor % 100 ? 2 : 0;
  const format = { style: "currency", currency: price.currency ?? "XXX", minimumFractionDigits: digits };
  return new Intl.NumberFormat(language, format).format(price.amount_minor / 100) + words.periods[price.period];
};

/** Shows the lists and reports what becomes of them. */
export async function show(page, language) {
  const words = WORDS[language];
  const { service: url, tokenUrl, client, member, placements } = page.dataset;
  const service = new Service(url, tokenUrl);
  const outbox = new Outbox(service, client, member);
  outbox.send(); // what an earlier page could not
  const told = new WeakMap();
  const sight = new Sight((card) => outbox.put({ ...told.get(card), event_type: "impression" }));
  const answer = await recommend(service, {
    client_id: client,
    channel: "web",
    language,
    placements: placements.split(",").map((placement_id) => ({ placement_id })),
  });
  const status = page.querySelector("[role=status]");
  const lists = (answer?.placements ?? []).filter((list) => list.items.length);
  status.textContent = lists.length ? "" : words.nothing;
  for (const list of lists) {
    const cards = element("ul");
    cards.dataset.placement = list.placement_id;
    for (const item of list.items) {
      const card = element("li");
      const button = element("button", words.connect);
      const why = item.reasons.find((each) => !each.code.startsWith("price_")); // the price stands above
      const reason = element("p", why?.text ?? "", "reason");
      card.append(element("h3", item.title), element("p", priceText(item.price, words, language), "price"), reason, button);
      cards.append(card);
      // A decision that could not be logged is learnt from by nobody.
      if (answer.logged === false) continue;
      told.set(card, { client_id: client, decision_id: list.decision_id, slot: item.rank, offer_id: item.offer_id });
      button.addEventListener("click", () => {
        outbox.put({ ...told.get(card), event_type: "click" });
        button.textContent = words.opened;
        button.disabled = true;
      });
      sight.watch(card);
    }
    page.append(element("h2", words.titles[list.placement_id] ?? list.placement_id), cards);
  }
  page.setAttribute("aria-busy", "false");
}

const main = document.querySelector("main[data-service]");
const parameters = new URLSearchParams(location.search);
// For trying it out; a portal knows who is logged in and does not ask the address.
main.dataset.client ||= parameters.get("client") ?? "guest";
const language = parameters.get("lang") === "en" ? "en" : "ru";
document.documentElement.lang = language;
await show(main, language);
