// An impression is a card at least half of which was on the screen for a second; each is reported once.

import { sendEvents } from "./api.js";

const SHARE = 0.5;
const DWELL_MS = 1000;
const BATCH_MS = 250;

export class ImpressionReporter {
  constructor() {
    this.reported = new Set();
    this.timers = new Map();
    this.items = new WeakMap();
    this.queue = new Map();
    this.observer = new IntersectionObserver((entries) => entries.forEach((entry) => this.#look(entry)), {
      threshold: SHARE,
    });
  }

  /** Forgets the cards of the page before; what was reported stays reported. */
  reset() {
    this.observer.disconnect();
    this.timers.forEach(clearTimeout);
    this.timers.clear();
  }

  watch(card, clientId, item) {
    this.items.set(card, { clientId, item });
    this.observer.observe(card);
  }

  #look(entry) {
    const card = entry.target;
    clearTimeout(this.timers.get(card));
    this.timers.delete(card);
    if (entry.isIntersecting && entry.intersectionRatio >= SHARE) {
      this.timers.set(card, setTimeout(() => this.#seen(card), DWELL_MS));
    }
  }

  #seen(card) {
    this.observer.unobserve(card);
    const { clientId, item } = this.items.get(card);
    const key = `${item.decision_id} ${item.slot}`;
    if (this.reported.has(key)) return;
    this.reported.add(key);
    if (this.queue.size === 0) setTimeout(() => this.#send(), BATCH_MS);
    const events = this.queue.get(clientId) ?? [];
    const { decision_id, slot, offer_id } = item;
    this.queue.set(clientId, [...events, { event_type: "impression", decision_id, slot, offer_id }]);
  }

  #send() {
    for (const [clientId, events] of this.queue) {
      // A lost report of a sight must never disturb the page.
      sendEvents(clientId, events).catch(() => undefined);
    }
    this.queue.clear();
  }
}
